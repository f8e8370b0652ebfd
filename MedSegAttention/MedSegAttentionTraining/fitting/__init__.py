"""From slices to weights: the configuration, what is minimised, and the loop."""
