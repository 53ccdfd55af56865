"""What corpora, systems, label spaces and the analysis plan are, as validated YAML, and where they are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bench.cards.analysis_plan import AnalysisPlan as AnalysisPlan
    from bench.cards.caution import Caution as Caution
    from bench.cards.corpus import CorpusCard as CorpusCard
    from bench.cards.labels import label_table as label_table
    from bench.cards.registry import corpus_cards as corpus_cards
    from bench.cards.registry import load_system as load_system
    from bench.cards.registry import match_systems as match_systems
    from bench.cards.registry import system_names as system_names
    from bench.cards.system import SystemCard as SystemCard
    from bench.cards.system import SystemFile as SystemFile
    from bench.cards.weights import find_weights as find_weights

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "analysis_plan": ["AnalysisPlan"],
        "caution": ["Caution"],
        "corpus": ["CorpusCard"],
        "labels": ["label_table"],
        "registry": ["corpus_cards", "load_system", "match_systems", "system_names"],
        "system": ["SystemCard", "SystemFile"],
        "weights": ["find_weights"],
    },
)
