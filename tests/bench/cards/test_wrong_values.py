"""Every field of every kind of YAML file with every kind of wrong value: taken, or one sentence per fault in this suite's words."""

from __future__ import annotations

import copy
import datetime
import itertools
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.audio_lm.requests.prompts import parse_prompts
from bench.cards.corpus import CorpusCard
from bench.cards.labels import parse_labels
from bench.cards.system import ImportedCard, SystemFile
from bench.cards.typed_yaml import _Loader, check_typed, parse_typed
from bench.errors import UsageError
from bench.execution.final_training import TrainConfig
from bench.execution.planning.matrix import Matrix
from bench.leaderboard.publication import BoardRules
from tests.cli.test_bad_input import MATRIX

ROOT = Path(__file__).resolve().parents[3]
WRONG: tuple[Any, ...] = (
    None, True, 3, -1, 0, 2.5, math.nan, math.inf, 10**30, "", " ", "no such word", "Ünïcode/../x@1", "a" * 3000, [], [1], [None], ["x"],
    [["x"]], [{"a": 1}], {}, {"a": 1}, {"a": None}, {"a": ["b"]}, {"a": {"b": "c"}}, datetime.date(2026, 1, 2),
)  # fmt: skip
FOREIGN = re.compile(
    r"input should|validation error|string_|_type\b|pydantic|nonetype|traceback|type error|<class|\bdict\b|\bstr\b|\bint\b|\btuple\b|"
    r"\bbool\b|\bfloat\b|typeerror|valueerror|attributeerror|keyerror|valid (string|integer|dictionary|list|tuple|boolean|number)|"
    r"\bctx\b|another value|should match|function-|object at 0x|unhashable|has no attribute",
    re.IGNORECASE,
)
"""Words of Python and of the library that checks values, which nobody who writes a card should have to know."""
PYTHON = re.compile(r"\b(None|True|False|datetime)\b")
Reader = Callable[[Any], object]


def typed(model: type[Any]) -> Reader:
    return lambda data: check_typed(data, {}, "x.yaml", model)


def written(read: Callable[[str, str], object]) -> Reader:
    """A reader of text for values."""
    return lambda data: read(yaml.dump(data, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)), "x.yaml")


def shipped(path: str) -> Any:
    text = (ROOT / path).read_text(encoding="utf-8")
    return yaml.load(text, Loader=_Loader)


def labels() -> Any:
    """The label table with two of its labels: every label has the same fields."""
    table = shipped("tasks/labels.yaml")
    table["labels"] = {n: table["labels"][n] for n in ("neutral", "bored")}  # fmt: skip
    for entry in table["labels"].values():
        entry["synonyms"] = {"en": entry["synonyms"]["en"][:1]}
    return table


def prompts() -> Any:
    found = shipped("tasks/prompts/ms.yaml")
    found["prompts"] = dict(list(found["prompts"].items())[:2])
    return found


FULL_SYSTEM = {
    "name": "mine", "title": "Mine", "family": "audio-llm", "track": "released", "adapter": "adapters.audio_lm:AudioLM", "params": {"a": 1},
    "weights": {"local": "x", "hub": "a/b", "revision": "1", "pickled": False, "package": "p"}, "server": "http://h/v1",
    "features": {"encoder": "a.b:C", "params": {"a": 1}, "pooled": True, "every": 1}, "packages": ["numpy"],
    "serve": {"engine": "vllm", "plugin": "p", "model": "m", "requires": {"vllm": ">=0.1", "packages": {"a": ">1"}, "mend": "x"}, "lora": {"name": "l", "folder": "f", "rank": 3}, "arguments": ["a"], "environment": {"A": "1"}, "ready_minutes": 3, "started_here": False},
    "seeds": True, "licence": "MIT", "languages": ["en"], "training_corpora": [{"corpus": "a", "split": "all"}], "also_undisclosed": False,
    "parameters": 3, "sampling_rate": 16000, "description": "d",
    "encoder": {"architecture": "A", "normalisation": "n", "padding": "masked", "loaded_here": False},
    "modes": {"one": {"params": {"a": 2}, "feature_params": {"b": 1}, "pooled": True, "every": 1, "seeds": True, "track": "released"}},
}  # fmt: skip
FULL_MATRIX = yaml.safe_load(MATRIX) | {
    "description": "d", "conditions": ["clean", "noise-10db"], "synthetic": "never",
    "entries": [{"systems": ["majority"], "tasks": ["*"], "synthetic": True, "stands_in_for": "x", "protocol": "transfer", "training": ["other-pools"], "view": "four", "train_condition": "clean", "conditions": ["clean"], "seeds": [0, 1]}],
    "plan": {"primary_view": "native", "primary_metric": "ua", "families": "track", "across_tracks": [["a", "b"]], "population": "speakers", "margin": 0.02, "level": 0.9, "coverage_floor": 0.9, "resamples": 1000, "permutations": 1000, "seed": 1},
}  # fmt: skip
FILES: dict[str, tuple[Callable[[], Any], Reader]] = {
    "system": (lambda: copy.deepcopy(FULL_SYSTEM), typed(SystemFile)),
    "encoder": (lambda: shipped("adapters/systems/whisper-base.yaml"), typed(SystemFile)),
    "imported": (lambda: {k: v for k, v in FULL_SYSTEM.items() if k in ("name", "family", "track", "training_corpora")}, typed(ImportedCard)),
    "corpus": (lambda: shipped("tasks/corpora/crema-d.yaml"), typed(CorpusCard)),
    "corpus with a joined table": (lambda: shipped("tasks/corpora/iemocap.yaml"), typed(CorpusCard)),
    "matrix": (lambda: copy.deepcopy(FULL_MATRIX), typed(Matrix)),
    "prompts": (prompts, written(parse_prompts)),
    "labels": (labels, written(parse_labels)),
    "training": (lambda: shipped("adapters/training/paper.yaml"), typed(TrainConfig)),
    "board": (lambda: shipped("results/board.yaml"), typed(BoardRules)),
}  # fmt: skip


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and entry of a file; of long lists and tables of words the first ones."""
    yield path
    if isinstance(data, dict):
        for key in list(data)[:30]:
            yield from places(data[key], (*path, key))
    elif isinstance(data, list):
        for i in range(min(len(data), 2)):
            yield from places(data[i], (*path, i))


def changed(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    data = copy.deepcopy(data)
    if not path:
        return value
    at = data
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return data


@pytest.mark.parametrize("kind", FILES)
def test_a_wrong_value_is_told_in_plain_words(kind: str) -> None:
    make, read = FILES[kind]
    good = make()
    read(good)
    refused, bad = 0, []
    for path, value in itertools.product(places(good), WRONG):
        what = f"{'.'.join(map(str, path))} = {value!r:.40}"
        try:
            read(changed(good, path, value))
        except UsageError as error:
            refused += 1
            bad += [f"{what}: {line}" for line in str(error).splitlines() if foreign(line)]
        except Exception as error:  # noqa: BLE001 - what this test looks for
            bad.append(f"{what}: {type(error).__name__}: {error}")
    assert not bad, f"{len(bad)}:\n" + "\n".join(bad[:40])
    assert refused > 20


def foreign(line: str) -> bool:
    """Whether a sentence does not begin with its file, or says more of the value than a reader of YAML understands."""
    own = re.sub(r"'[^']*'|\([^()]*\)", "", line)  # what the file itself says may be anything
    return (
        not line.startswith("x.yaml") or bool(FOREIGN.search(own) or PYTHON.search(own)) or len(line) > 1200
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("name: my-service@1", "name: expected a name of small letters, digits and . _ + -, which begins with a letter or digit (owner/name where it is somebody's), found 'my-service@1'"),
        ("name:", "name: expected text, found nothing"),
        ("name: [a]", "name: expected text, found a list of 1"),
        ("seeds: maybe", "seeds: expected true or false, found 'maybe'"),
        ("parameters: many", "parameters: expected a whole number, found 'many'"),
        ("parameters: -1", "parameters: expected 0 or more, found -1"),
        ("params: 3", "params: expected keys and values, found 3"),
        ("languages: en", "languages: expected a list, found 'en'"),
        ("training_corpora: none", "training_corpora: expected a list, or undisclosed, found 'none'"),
        ("training_corpora: [{corpus: 3}]", "training_corpora.0.corpus: expected text, found 3"),
        ("training_corpora: [{split: a}]", "key 'training_corpora.0.corpus' is missing"),
        ("track: realeased", "track: 'realeased' is not allowed; did you mean 'released'?"),
        ("adapter: my adapter", "adapter: 'my adapter' does not name code"),
        ("modes: {fast: {track: quick}}", "modes.fast.track: 'quick' is not allowed"),
        ("modes: {fast: {probe: linear}}", "modes: expected exactly one of 'adapter' (a predictor) and 'probe'"),
    ],
)  # fmt: skip
def test_the_fault_of_a_card_has_its_line_and_key(line: str, said: str) -> None:
    card = {
        "name": "name: x",
        "family": "family: trained",
        "track": "track: adapted",
        "adapter": "adapter: a.b:C",
    }
    card[line.partition(":")[0]] = line
    with pytest.raises(UsageError) as caught:
        parse_typed("\n".join(card.values()), "x.yaml", SystemFile)
    number = list(card.values()).index(line) + 1
    assert str(caught.value).startswith(
        f"x.yaml, line {number}: {said}" if "modes: expected" not in said else "x.yaml"
    )
    assert said.removeprefix("modes: ") in str(caught.value)
