"""From additive counts to scores, intervals, paired tests and ranks: pure functions of arrays."""
