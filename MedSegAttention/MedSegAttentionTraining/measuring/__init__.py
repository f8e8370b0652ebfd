"""What a checkpoint reaches on reference masks, and what a network costs."""
