"""Whole pages and sites: the report of a run, the board, and how they are written."""
