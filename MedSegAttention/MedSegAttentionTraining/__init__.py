"""Training, evaluation and benchmarks of MedSegAttention. Does not ship with the extension."""
