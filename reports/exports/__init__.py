"""Scores for other programs and papers: CSV, JSON, Parquet, LaTeX tables, model-index YAML for model cards, BibTeX."""
