"""Any file to 16 kHz samples and their hash, and what conditions do to them."""
