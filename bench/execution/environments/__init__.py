"""Environments of their own for adapters whose pins clash with the suite's: found, built after consent, spoken to."""
