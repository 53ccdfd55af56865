"""Data only: corpus cards, the label table, matrices, prompts."""
