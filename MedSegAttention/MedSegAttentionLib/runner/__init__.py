"""Who runs inference."""
