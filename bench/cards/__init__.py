"""What corpora, systems, label spaces and the analysis plan are, as validated YAML, and where they are found."""
