"""Where users' own tests find cards: the public name of :mod:`bench.cards.registry`."""

from bench.cards.registry import load_system, match_systems, system_names

__all__ = ["load_system", "match_systems", "system_names"]
