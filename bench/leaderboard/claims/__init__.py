"""The ledger of claims: questions asked of everything published, and the sentences that the records bear."""
