"""What each command of ``python -m MedSegAttentionLib`` does. Each file adds its command to the parser and runs it."""
