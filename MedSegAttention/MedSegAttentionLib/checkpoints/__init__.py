"""A folder on disk to a verified network and its card. ``catalogue`` needs no torch; ``loading`` does."""
