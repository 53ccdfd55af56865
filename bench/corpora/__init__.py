"""Prepared corpora: found, read, verified, described, and made from the owner's download."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bench.corpora.decoded import CorpusTable as CorpusTable
    from bench.corpora.decoded import open_table as open_table
    from bench.corpora.metadata import Metadata as Metadata
    from bench.corpora.metadata import read_metadata as read_metadata
    from bench.corpora.prepared import PreparedCorpus as PreparedCorpus
    from bench.corpora.prepared import data_folders as data_folders
    from bench.corpora.prepared import find_corpora as find_corpora
    from bench.corpora.prepared import open_corpus as open_corpus

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "decoded": ["CorpusTable", "open_table"],
        "metadata": ["Metadata", "read_metadata"],
        "prepared": ["PreparedCorpus", "data_folders", "find_corpora", "open_corpus"],
    },
)
