"""Figures for papers, drawn with matplotlib from records."""
