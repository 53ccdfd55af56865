"""Replies written by somebody who had not seen the parser, each batch committed before the parser read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.audio_lm import Reply, parse_reply


def rows_of(name: str) -> list[dict[str, Any]]:
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


ROWS = rows_of("replies_independent.jsonl")
UNTUNED = rows_of("replies_untuned.jsonl")
PARTS = sorted({row["part"] for row in ROWS})


def read(row: dict[str, Any]) -> Reply:
    """Read a row as a run does; a lettered question had its labels in their own order."""
    options = row["labels"] if row.get("lettered") else None
    return parse_reply(row["text"], row["labels"], language=row["language"], options=options)


@pytest.mark.parametrize("part", PARTS)
def test_strangers_replies_are_read_with_precision_before_coverage(part: str) -> None:
    rows = [row for row in ROWS if row["part"] == part]
    predicted = [(read(row).label, row) for row in rows]
    wrong = [(label, row["text"]) for label, row in predicted if label is not None and label != row["label"]]
    assert wrong == []
    right = sum(label is not None for label, _ in predicted)
    assert right / sum(row["label"] is not None for row in rows) >= 0.90


@pytest.mark.parametrize("part", PARTS)
def test_strangers_refusals_give_no_label(part: str) -> None:
    rows = [row for row in ROWS if row["part"] == part and row["status"] == "refused"]
    assert {row["language"] for row in rows} >= {"en", "zh", "ms", "id", "ta"}
    assert [row["text"] for row in rows if read(row).status != "refused"] == []


def test_the_batch_that_taught_nothing_is_read_as_at_its_first_look() -> None:
    """A change that mends its four misses belongs to a new batch: this one says what strangers may expect."""
    read_as = [(read(row).label, row["label"]) for row in UNTUNED]
    assert len(UNTUNED) == 176
    assert [pair for pair in read_as if pair[0] not in (None, pair[1])] == []
    assert sum(label is not None for label, _ in read_as) >= 114
    assert [
        row["text"] for row in UNTUNED if row["status"] == "refused" and read(row).status != "refused"
    ] == []


def test_emotions_of_others_comparisons_and_bounds_are_no_answer() -> None:
    texts_by_language = yaml.safe_load(
        Path(__file__).with_name("no_answers.yaml").read_text(encoding="utf-8")
    )
    labels = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
    assert set(texts_by_language) == {"en", "zh", "ms", "id", "ta"}
    for language, texts in texts_by_language.items():
        for text in texts:
            assert parse_reply(text, labels, language=language).label is None, text
