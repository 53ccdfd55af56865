"""How often the suite's intervals hold the truth and its tests err, on simulated corpora: ``make validity``."""
