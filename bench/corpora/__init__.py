"""Prepared corpora: found, read, verified, described, and made from the owner's download."""
