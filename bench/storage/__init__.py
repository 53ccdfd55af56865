"""Bytes on disk: whole files, content hashes, the run folder, the journal, provenance. Knows nothing of speech."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bench.storage.atomic import replacing as replacing
    from bench.storage.atomic import write_json as write_json
    from bench.storage.atomic import write_text as write_text
    from bench.storage.hashing import digest as digest
    from bench.storage.hashing import hash_file as hash_file
    from bench.storage.hashing import hash_json as hash_json
    from bench.storage.journal import Journal as Journal
    from bench.storage.provenance import code_version as code_version
    from bench.storage.run_folder import RunFolder as RunFolder
    from bench.storage.run_folder import cache_folder as cache_folder
    from bench.storage.run_folder import open_run as open_run
    from bench.storage.source_code import adapter_hash as adapter_hash
    from bench.storage.source_code import closure as closure
    from bench.storage.source_code import package_hash as package_hash

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "atomic": ["replacing", "write_json", "write_text"],
        "hashing": ["digest", "hash_file", "hash_json"],
        "journal": ["Journal"],
        "provenance": ["code_version"],
        "run_folder": ["RunFolder", "cache_folder", "open_run"],
        "source_code": ["adapter_hash", "closure", "package_hash"],
    },
)
