"""Adapters: one file or folder per family of systems, and one YAML card per system in `systems/`."""
