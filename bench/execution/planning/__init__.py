"""From a matrix to the work it means, before anything is computed.

``matrix`` is what a user writes; ``systems`` finds weights and hashes what decides a system's answers; ``expansion`` spells
the matrix out, a row per system, task and training; ``cells`` turns rows into a ``plan``: records, cells with their
keys, and groups of cells that are computed together. ``estimates`` says how long that takes, ``forecast`` is ``--dry-run``.
"""
