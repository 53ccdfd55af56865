"""Scores for Hugging Face model cards: ``model-index`` YAML."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import metadata
from typing import Any

from bench.scoring.records import Record
from reports import formatting


def model_index(system: str, records: Sequence[Record], address: str = "") -> str:
    """The ``model-index`` of a Hugging Face model card: the primary view's scores of a system, one result per task.

    The data set's revision is the hash of its clips and labels as they were scored, with its source and licence among its
    arguments; ``source`` is who computed the score.

    Args:
        system: its name.
        records: of the system.
        address: where the results stand, ``https://…``; blank: this project's repository, as its package states it.

    Returns:
        YAML; blank where the system has no score in them.
    """
    import yaml
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    source = address if address.startswith("https://") else repository()
    results = []
    for record in sorted(records, key=lambda r: (r.task, r.regime, r.facts.condition)):
        facts = record.facts
        card = facts.corpus_card
        for s in record.scores:
            shown = (s.metric in ("ua", "wa") and s.view == facts.main_view) or s.metric == "ccc"
            if not shown or s.rows != "all" or s.outside != "wrong":
                continue
            name = formatting.METRIC_TITLES[s.metric] + (f", {s.dimension}" if s.dimension else "")
            results.append(
                EvalResult(
                    task_type="audio-classification",
                    task_name="Speech emotion recognition",
                    dataset_type=facts.corpus,
                    dataset_name=card.title or facts.corpus,
                    dataset_config=facts.task,
                    dataset_split=f"{record.regime}, {facts.condition}, {facts.folds} folds",
                    dataset_revision=facts.content_hash,
                    dataset_args={"source": card.source, "licence": card.licence, "folds": facts.folds_hash},
                    metric_type=s.metric,
                    metric_name=f"{name} ({s.view})",
                    metric_value=s.estimate,
                    metric_args={"interval": [s.low, s.high], "level": facts.plan.level, "speakers": s.speakers, "coverage": s.coverage},
                    source_name=f"ser-bench {facts.code_version}, matrix {facts.matrix_hash}" if source else None,
                    source_url=source or None,
                )
            )  # fmt: skip
    if not results:
        return ""
    # The hub's own writer of YAML is ten times slower, which counts on a board of thousands of records.
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    index = {"model-index": eval_results_to_model_index(system, results)}
    return str(yaml.dump(index, Dumper=dumper, sort_keys=False, allow_unicode=True))


@cache
def repository() -> str:
    """The address of this project's repository by its package's metadata; blank where it is not installed."""
    try:
        stated = metadata.metadata("ser-bench").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return ""
    return next((url for name, _, url in (x.partition(", ") for x in stated) if name == "Repository"), "")
