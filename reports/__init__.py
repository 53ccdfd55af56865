"""From scored records to HTML, figures and tables."""
