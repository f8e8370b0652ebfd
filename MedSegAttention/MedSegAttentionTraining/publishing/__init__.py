"""What people get: the checkpoint with its card, its ONNX file, the tables and pages of results."""
