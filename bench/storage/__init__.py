"""Bytes on disk: whole files, content hashes, the run folder, the journal, provenance. Knows nothing of speech."""
