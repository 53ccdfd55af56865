"""``serbench score`` and ``serbench compare``: what a run's records say, computed again on the spot."""
