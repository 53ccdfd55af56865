"""Cards: what is written is what is meant, and a slip is answered with file, line, key and the nearest valid name."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from bench.cards.corpus import CorpusCard
from bench.cards.registry import (
    corpus_cards,
    load_system,
    match_systems,
    matrix_files,
    system_card_files,
    system_names,
    with_settings,
)
from bench.cards.system import SystemCard, SystemFile
from bench.cards.typed_yaml import parse_typed, read_typed
from bench.errors import UsageError
from bench.execution.planning.matrix import Matrix, load_matrix

SYSTEM = "name: mine\nfamily: acoustic\ntrack: probed\nadapter: my_code:Model\n"


def corpus(text: str) -> CorpusCard:
    return parse_typed(text, "card.yaml", CorpusCard)


def refusal(text: str, model: type[CorpusCard] | type[SystemCard] | type[Matrix] = CorpusCard) -> str:
    with pytest.raises(UsageError) as caught:
        parse_typed(text, "folder/card.yaml", model)
    return str(caught.value)


def test_a_corpus_card_needs_a_name_and_nothing_else() -> None:
    card = corpus("name: mine\n")
    assert (card.pool_name, card.cluster, card.split.folds) == ("mine", "speaker", 5)


def test_raw_labels_are_text_whatever_yaml_makes_of_them() -> None:
    card = corpus("name: c\nlabels: {1: happy, '02': sad, 3.5: angry}\n")
    assert card.labels == {"1": "happy", "02": "sad", "3.5": "angry"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name: c\n\nlanguage: [en]\n", ["line 3", "unknown key 'language'", "did you mean 'languages'"]),
        ("name: c\nsplit:\n  fold: 3\n", ["line 3", "unknown key 'split.fold'", "did you mean 'folds'"]),
        ("name: c\nname: d\n", ["line 2", "'name' stands twice"]),
        ("title: x\n", ["'name' is missing"]),
        ("name: My Corpus\n", ["line 1", "name", "My Corpus"]),
        ("name: c\nlabels:\n  joy: hapy\n", ["line 2", "'hapy'", "did you mean 'happy'"]),
        ("name: c\nscale: [5, 1]\n", ["line 2", "from low to high"]),
        ("name: c\nscale: {valense: [1, 5]}\n", ["'valense'", "did you mean 'valence'"]),
        ("name: c\nlanguages: [en, english]\n", ["'english' is no BCP 47"]),
        ("name: c\nsplit: {folds: 2}\n", ["split.folds", "expected 3 or more, or loso, found 2"]),
        ("name: c\nelicitation: acting\n", ["'acting' is not allowed", "did you mean 'acted'"]),
        ("name: [\n", ["not valid YAML", "line 2"]),
        ("", ["an empty file"]),
        ("- a\n", ["expected keys and values", "list"]),
    ],
)
def test_a_slip_on_a_corpus_card_is_named_with_its_line(text: str, parts: list[str]) -> None:
    message = refusal(text)
    assert message.startswith("folder/card.yaml")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (SYSTEM + "adaptor: x\n", "line 5: unknown key 'adaptor'; did you mean 'adapter'"),
        (SYSTEM.replace("my_code:Model", "my_code.Model"), "expected 'package.module:Name'"),
        (SYSTEM + "probe: linear\n", "exactly one of 'adapter'"),
        ("name: a\nfamily: encoder\ntrack: probed\nprobe: linear\n", "a 'probe' needs 'features'"),
        (SYSTEM.replace("probed", "probe"), "did you mean 'probed'"),
        (SYSTEM + "weights: {hub: a/b}\n", "'weights.local' is missing"),
    ],
)
def test_a_slip_on_a_system_card_is_named(text: str, part: str) -> None:
    try:
        message = refusal(text, SystemCard)
    except AssertionError:
        pytest.fail("was accepted")
    assert part in message


def test_a_probe_cannot_read_frames() -> None:
    text = (
        "name: a\nfamily: encoder\ntrack: probed\nprobe: linear\nfeatures: {encoder: 'm:E', pooled: false}\n"
    )
    assert "pooled: true" in refusal(text, SystemCard)


def test_every_slip_of_a_card_is_told_at_once() -> None:
    assert len(refusal("name: c\ncluser: x\nlanguage: y\n").splitlines()) == 2


def test_a_missing_card_and_a_binary_one_are_plain_sentences(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_system(str(tmp_path / "none.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(UsageError, match="cannot be read as UTF-8"):
        load_system(str(tmp_path / "binary.yaml"))


ALIASES = "name: &a [x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefghijklm")
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (ALIASES, "once its aliases are written out"),
        (f"name: {'[' * 100_000}", "nested deeper than 100 levels"),
        (f"name:\n{'- ' * 100_000}x", "nested deeper than 100 levels"),
        (f"\ufeff{'- ' * 100_000}x", "nested deeper than 100 levels"),
        ("\n".join(f"{' ' * n}name:" for n in range(2_000)), "nested deeper than 100 levels"),
        (f"name: {'9' * 5000}", "holds a value that is none"),
        ("name: 2024-13-45", "put it in quotes"),
        (f"name: {'x' * (5 << 20)}", "characters; at most"),
        (f"name: x\nlanguages: {{{', '.join(f'a{i}: 1' for i in range(999))}}}", "…"),
    ],
    ids=[
        "aliases",
        "depth",
        "lists",
        "lists after a byte order mark",
        "tables",
        "digits",
        "date",
        "length",
        "long value",
    ],
)
def test_a_card_from_a_stranger_takes_neither_memory_nor_the_process(text: str, sentence: str) -> None:
    message = refusal(text)
    assert sentence in message
    assert len(message) < 500


def test_an_unknown_system_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=re.escape("unknown system 'majorty'; did you mean 'majority'?")):
        load_system("majorty")


def test_all_shipped_cards_and_matrices_are_valid_and_carry_their_licence() -> None:
    assert {"majority", "chance"} <= set(system_names())
    for path in system_card_files().values():
        assert read_typed(path, SystemFile).name == path.stem
    for card in corpus_cards().values():
        assert card.licence != "unknown"
        assert card.source
    for name in matrix_files():
        matrix, _ = load_matrix(name)
        for system in systems_of(matrix):
            load_system(system)


def systems_of(matrix: Matrix) -> set[str]:
    return {name for entry in matrix.entries for known in entry.systems for name in match_systems(known)}


def test_a_listing_of_systems_reads_every_file_once_and_nothing_of_corpora_or_arrays() -> None:
    script = """
import sys
from bench.cards import registry
read, files = registry.read_typed, []
registry.read_typed = lambda path, model: files.append(path) or read(path, model)
for name in registry.system_names():
    registry.load_system(name)
assert len(files) == len(set(files)) == len(registry.system_card_files()), len(files)
print(*({"numpy", "torch", "bench.cards.corpus"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_card_edited_while_the_process_lives_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.yaml"
    monkeypatch.setattr("bench.cards.registry.system_card_files", lambda: {"mine": path})
    card = "name: mine\nfamily: reference\ntrack: reference\nadapter: adapters.baselines:Majority\n"
    path.write_text(card, encoding="utf-8")
    assert load_system("mine").title == ""
    path.write_text(f"{card}title: Mine\n", encoding="utf-8")
    assert load_system("mine").title == "Mine"


def test_a_pattern_means_the_systems_that_fit_it() -> None:
    assert match_systems("./mine.yaml") == ["./mine.yaml"]
    assert match_systems("majority") == ["majority"]
    adapted = match_systems("*-adapted")
    assert adapted == sorted(adapted)
    assert "wavlm-base-plus-adapted" in adapted
    assert "meralion-ser-small" not in adapted
    with pytest.raises(UsageError, match=r"no known system fits the pattern '\*-adaptd'"):
        match_systems("*-adaptd")


def test_the_full_matrix_holds_every_system_that_is_no_variation_of_another() -> None:
    matrix, _ = load_matrix("full")
    left = set(system_names()) - systems_of(matrix)
    variations = (
        "meralion-ser-ablation-", "meralion-ser-dimensions-", "qwen2-audio-7b-instruct-", "qwen2-audio-small-asked-",
    )  # fmt: skip
    assert {s for s in left if not s.startswith(variations)} == {
        "whisper-tiny.en-attentive",
        "whisper-tiny.en-layerwise",
    }
    # What is asked as it stands is never trained, and what is trained is never asked as it stands.
    tracks = {
        e.protocol: {load_system(s).track for s in systems_of(Matrix(name="m", entries=(e,)))}
        for e in matrix.entries
    }
    assert tracks["zero-shot"] == {"released"}
    assert "released" not in tracks["within"]


def test_the_papers_matrix_is_its_table() -> None:
    matrix, _ = load_matrix("paper")
    compared = systems_of(matrix) - {"chance", "majority"}
    assert len(compared) == 8
    assert all(load_system(s).track == "released" for s in compared)
    corpora = {pattern.partition(".")[0] for e in matrix.entries for pattern in e.tasks}
    assert corpora <= set(corpus_cards())
    asked = [load_system(s) for s in compared if s.endswith("-free")]
    assert all(s.params["prompts"] == ["paper"] for s in asked)


def test_set_changes_a_parameter_that_exists_and_no_other() -> None:
    card = parse_typed(SYSTEM + "params: {depth: 2}\n", "s.yaml", SystemCard)
    assert with_settings(card, {"depth": "3"}).params == {"depth": 3}
    assert card.params == {"depth": 2}
    with pytest.raises(UsageError, match="did you mean 'depth'"):
        with_settings(card, {"dept": "3"})
    with pytest.raises(UsageError, match="no parameter 'server'"):
        with_settings(card, {"server": "http://x"})


def test_set_reaches_what_the_code_takes_and_the_card_leaves_unsaid() -> None:
    """The card of Whisper tiny.en names no dtype, so ``--set …:dtype=bfloat16`` was refused."""
    card = load_system("whisper-tiny.en-superb")
    changed = with_settings(card, {"dtype": "bfloat16", "clip": "null", "class_weights": "true"})
    assert card.features is not None
    assert changed.features is not None
    assert changed.features.params == {**card.features.params, "dtype": "bfloat16"}
    assert changed.params == {**card.params, "clip": None, "class_weights": True}
    for given in ("weights", "device"):
        with pytest.raises(UsageError, match=f"no parameter '{given}'"):
            with_settings(card.model_copy(update={"probe": "linear"}), {given: "x"})


def test_the_analysis_plan_is_part_of_the_matrix_hash() -> None:
    text = "name: m\nentries: [{systems: majority}]\n"
    first = parse_typed(text, "m.yaml", Matrix)
    assert first.entries[0].systems == ("majority",)
    assert first.hash == parse_typed(text, "other.yaml", Matrix).hash
    assert first.hash != parse_typed(text + "plan: {margin: 0.05}\n", "m.yaml", Matrix).hash


def test_scale_may_be_one_for_all_or_one_each() -> None:
    assert corpus("name: c\nscale: [1, 5]\n").scale_of("arousal") == (1, 5)
    each = corpus("name: c\nscale: {valence: [-1, 1]}\n")
    assert (each.scale_of("valence"), each.scale_of("arousal")) == ((-1, 1), None)


def test_label_codes_and_language_tags_are_text_as_written(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(
        "name: codes\nlanguages: [no, en]\nlabels: {01: neutral, 010: happy, no: sad}\nsynthetic: false\n"
    )
    card = read_typed(path, CorpusCard)
    assert card.languages == ("no", "en")
    assert card.labels == {"01": "neutral", "010": "happy", "no": "sad"}
    assert card.synthetic is False
