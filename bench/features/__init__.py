"""What frozen encoders give, kept by content, and the probes trained on it."""
