"""Forgeries that a stranger can make and hide: each is refused in one sentence, or stands below the line where nobody can know.

The board holds two honest records that its owner attested, and a stranger's record of the same clips whose labels nobody checked.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.corpora.naming import names_of_run
from bench.errors import DataError, UsageError
from bench.leaderboard import Board, attest, validate
from bench.leaderboard.neighbours import Truth, truth_of
from bench.scoring.comparisons import run_family
from bench.scoring.record_schema import AxisDescription
from bench.scoring.records import read_record
from bench.storage.hashing import hash_file
from bench.storage.run_folder import RunFolder
from reports.pages.board import write_board
from tests.forging import (
    HONEST,
    STRANGER,
    change_facts,
    change_statistics,
    change_tables,
    clean_code,
    honest_board,
    record_path,
    sent,
)

Rows = list[dict[str, Any]]
BELOW = ""
"""Expected of what nobody can know without the corpus: it passes, and does not compete."""


@pytest.fixture(scope="module")
def made(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERBENCH_CACHE", str(finished_run / "cache"))
        patch.delenv("SERBENCH_DATA", raising=False)
        shutil.copytree(finished_run / "run", folder / "run")
        honest_board(folder / "results", clean_code(folder / "run"), finished_run / "data")
    return folder / "results"


@pytest.fixture
def board(made: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setenv("SERBENCH_CACHE", str(finished_run / "cache"))
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    shutil.copytree(made, tmp_path / "results")
    names = names_of_run(RunFolder(made.parent / "run"), "tones.ms")
    assert names is not None
    with (finished_run / "data" / "tones" / "metadata.csv").open(encoding="utf-8") as table:
        truth = {names.clip(row["file_name"]): row["emotion"] for row in csv.DictReader(table)}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    return Board(tmp_path / "results")


def category(rows: Rows, view: str = "native", outside: str = "wrong", kind: str = "all") -> Iterator[dict[str, Any]]:  # fmt: skip
    return (
        r
        for r in rows
        if r["target"] == "category" and (r["view"], r["outside"], r["rows"]) == (view, outside, kind) and not r["axis"]
    )  # fmt: skip


def to_the_diagonal(rows: Rows) -> None:
    """Every wrong answer becomes a right one, in every view and group."""
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in [r for r in rows if r["target"] == "category"]:
        rows.remove(row)
        row["prediction"] = row["truth"]
        key = tuple(v for k, v in row.items() if k != "value")
        if key in sums:
            sums[key]["value"] += row["value"]
        else:
            sums[key] = row
    rows += sums.values()


def swap_truths(rows: Rows) -> None:
    """Happy clips are sad and sad ones happy: every speaker has as many of each, so no sum of the truth changes."""
    other = {"happy": "sad", "sad": "happy"}
    for row in rows:
        if row["target"] == "category":
            row["truth"] = other.get(row["truth"], row["truth"])


def move_truths(rows: Rows) -> None:
    """The first speaker's happy clips are sad ones, in every block."""
    speaker = min(r["cluster"] for r in rows)
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in [r for r in rows if r["target"] == "category" and r["cluster"] == speaker]:
        rows.remove(row)
        row["truth"] = "sad" if row["truth"] == "happy" else row["truth"]
        kept = sums.setdefault(tuple(v for k, v in row.items() if k != "value"), row)
        if kept is not row:
            kept["value"] += row["value"]
    rows += sums.values()


def one_more_speaker(facts: dict[str, Any]) -> None:
    facts["clusters"].append({"name": "cd" * 16, "fold": facts["clusters"][0]["fold"]})


def split_clusters(rows: Rows, share: float) -> None:
    for row in [r for r in rows if r["target"] == "category"]:
        if row["value"] * share >= min(1, share * 2):
            rows.append({**row, "cluster": "cd" * 16, "value": row["value"] * share})
            row["value"] *= 1 - share
    rows[:] = [r for r in rows if r["value"]]


def first(found: Rows, **wanted: Any) -> dict[str, Any]:
    return next(r for r in found if all(r[k] == v for k, v in wanted.items()))


def grow(**wanted: Any) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        first(rows, **wanted)["value"] += 1

    return change


def statistics(
    change: Callable[[Rows], None], facts: Callable[[dict[str, Any]], object] = lambda f: None
) -> Any:
    return lambda board: change_statistics(board, change, facts)


def facts(**update: Any) -> Any:
    return lambda board: change_facts(board, lambda f: f.update(update))


def card(**update: Any) -> Any:
    def change(f: dict[str, Any]) -> None:
        f["card"] |= update
        f |= {k: v for k, v in update.items() if k in ("family", "track", "title")}

    return lambda board: change_facts(board, change)


def named(name: str, **update: Any) -> Any:
    """The stranger's record under another name, on its card, in its scores and its files."""

    def change(board: Board) -> None:
        def rename(f: dict[str, Any]) -> None:
            f["card"] |= {"name": name, **update}
            f["system"] = name
            f |= {k: v for k, v in update.items() if k in ("family", "track")}
            for score in f["scores"]:
                score |= {"system": name, "track": f["track"]}
            f["statistics"]["file"] = STRANGER.replace("mallory~clever", name.replace("/", "~")) + ".parquet"

        change_facts(board, rename)
        for path in list(record_path(board).parent.iterdir()):
            path.rename(path.with_name(path.name.replace("mallory~clever", name.replace("/", "~"))))
        sent(board).seal()

    return change


def attested(by: str, said: str | None = None, **update: Any) -> Any:
    def change(board: Board) -> None:
        made = json.loads((board.root / "own/attested/owner.json").read_text())
        vouched = {**made["records"][HONEST], "record": hash_file(record_path(board)), **update}
        folder = sent(board).folder.root / "attested"
        folder.mkdir()
        text = json.dumps({"schema": 1, "by": said or by, "records": {STRANGER: vouched}})
        (folder / f"{by}.json").write_text(text)

    return change


def forget_tables(board: Board) -> None:
    shutil.rmtree(sent(board).folder.tables)
    sent(board).seal()


def right_answers(board: Board) -> None:
    """The tables answer what the labels say, since this forger holds the corpus, and the statistics follow: without it nobody can tell."""
    truth = json.loads((board.root.parent / "truth.json").read_text())

    def answer(rows: Rows, identity: dict[str, Any]) -> None:
        for row in rows:
            row["label"] = truth[row["clip"]]
            row["probabilities"] = [float(x == row["label"]) for x in identity["labels"]]

    change_tables(board, answer)
    change_statistics(board, to_the_diagonal)


def better_in_four(rows: Rows) -> None:
    """Answers of the view of four classes that were wrong are right there; their true classes stay."""
    own = [r for r in rows if r["target"] == "category" and r["view"] == "four" and not r["axis"]]
    rows[:] = [r for r in rows if r not in own]
    to_the_diagonal(own)
    rows += own


def rename_cluster(rows: Rows) -> None:
    speaker = min(r["cluster"] for r in rows)
    for row in rows:
        row["cluster"] = "cd" * 16 if row["cluster"] == speaker else row["cluster"]


def renamed(f: dict[str, Any]) -> None:
    min(f["clusters"], key=lambda c: str(c["name"]))["name"] = "cd" * 16


def sums(**changed: float) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        for row in rows:
            if row["moment"] in changed and row["target"] == "valence":
                row["value"] += changed[row["moment"]]

    return change


def link(board: Board) -> None:
    folder = sent(board).folder.root / "attested"
    folder.mkdir()
    (folder / "owner.json").symlink_to(board.root / "own/attested/owner.json")


def note(text: str) -> Any:
    return lambda board: (sent(board).folder.root / "submitted.json").write_text(text)


def other_labels(rows: Rows, _identity: dict[str, Any]) -> None:
    rows.pop()


def again(board: Board) -> None:
    shutil.copytree(board.root / "sent", board.root / "twice")


FORGERIES: dict[str, tuple[Callable[[Board], object], str]] = {
    "counts moved to the diagonal": (statistics(to_the_diagonal), r"count \d+ answers '\w+', its tables hold"),
    "true classes moved": (statistics(move_truths), "does not stand"),
    "true classes moved, without tables": (lambda b: (forget_tables(b), change_statistics(b, move_truths)), "says other true category"),
    "true classes swapped where there are as many": (statistics(swap_truths), BELOW),
    "half a clip moved": (statistics(lambda rows: split_clusters(rows, 0.5), one_more_speaker), "counted whole|are its speakers"),
    "a speaker split in two": (statistics(lambda rows: split_clusters(rows, 0.5), lambda f: (one_more_speaker(f), f.update(speakers=8))), "counted whole|for one seed than for another"),
    "a speaker more, with clips of others": (statistics(grow(target="category"), lambda f: (one_more_speaker(f), f.update(speakers=8))), "have no clip|count more|other true|put together|count 43 clips"),
    "a speaker of no clip": (statistics(lambda rows: None, lambda f: (one_more_speaker(f), f.update(speakers=8))), "of which 1 have no clip"),
    "clusters that are not the speakers": (facts(speakers=6), "its clusters are its speakers, and these are 6"),
    "a cluster renamed": (statistics(rename_cluster, renamed), "says other names of clusters"),
    "speakers dealt to other folds": (lambda b: change_facts(b, lambda f: f["clusters"].reverse() or [c.update(fold=x["fold"]) for c, x in zip(f["clusters"], [dict(c) for c in reversed(f["clusters"])], strict=True)]), "in fold|says other clusters of each fold|fold_mean"),
    "a coarser view with better answers": (statistics(better_in_four), "labels put together"),
    "more answered than asked": (statistics(grow(target="category", view="native", rows="ok", axis="")), "count more than those of all rows|count 43 clips"),
    "other truth for one seed": (statistics(grow(target="category", view="native", rows="all", outside="wrong", axis="", seed=1)), "for one seed than for another|clips, the task has"),
    "agreement out of nothing": (statistics(sums(sum_xy=50.0)), "no list of numbers has"),
    "ratings moved": (statistics(sums(sum_y=0.4, sum_yy=0.02)), "sum_y of|sum_yy of|no list|cannot|scale of 0 to 1"),
    "true ratings moved": (statistics(sums(sum_x=0.1)), "other true labels|does not stand|no list"),
    "another content": (facts(content_hash="0" * 32), "was made with content_hash"),
    "other statuses": (facts(statuses={"ok": 83, "failed": 1}, coverage=83 / 84), "its statistics give|its tables hold"),
    "a shipped name": (named("majority", family="reference", track="reference", adapter="clever:Clever"), "its card is not the one that this suite ships as 'majority'"),
    "a shipped name with another licence": (named("egemaps-linear", licence="free to all"), "its card is not the one"),
    "a name without its owner": (named("clever"), "is no system of this suite, so its name needs an owner"),
    "imported, and no owner": (lambda b: (named("chance")(b), change_first(b, imported={"table": "x.csv", "hash": "0" * 32, "rows": 84})), "was imported, so its name needs an owner"),
    "an encoder without weights": (card(family="encoder", adapter=None, probe="linear", features={"encoder": "clever:Clever"}), "an encoder whose card names no weights"),
    "weights without their hash": (card(weights={"local": "somewhere"}), "has no hash of the weights that its card names"),
    "a hash of no weights": (facts(weights_hash="0" * 32), "has a hash of weights that its card does not name"),
    "code that was changed": (facts(code_version="0.2.0+g0123456789.dirty"), "uncommitted changes"),
    "vouched for by nobody known": (attested("mallory"), BELOW),
    "vouched for in another's name": (attested("mallory", "owner"), "must be called owner.json"),
    "vouched for another version": (attested("owner", record="0" * 32), "vouches for another version"),
    "vouched for on other clips": (attested("owner", content_hash="0" * 32), "vouches for it on other clips"),
    "vouched for in a field that is none": (attested("owner", sure=True), "no attestation of this version"),
    "a link to the owner's word": (link, "is a link"),
    "an address that runs": (note('{"schema": 1, "by": "mallory", "link": "javascript:alert(1)"}'), "submitted.json: link"),
    "a sender with a stroke": (note('{"schema": 1, "by": "../own", "link": ""}'), "submitted.json: by"),
    "no note at all": (note("{" * 5000), "not the JSON"),
    "the same place twice": (again, "already has this system on this task"),
    "a clip that was not answered": (lambda b: change_tables(b, other_labels), "same clips once|its tables hold"),
    "everything right, tables too": (right_answers, BELOW),
    "a board rule of its own": (lambda b: (sent(b).folder.root / "board.yaml").write_text("attesters: [mallory]\n"), BELOW),
}  # fmt: skip


def change_first(board: Board, **update: Any) -> None:
    (path,) = sent(board).folder.records.glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **update}))
    sent(board).seal()


def test_what_nobody_forged_stands_and_what_nobody_checked_stands_below_the_line(
    board: Board, finished_run: Path
) -> None:
    found = validate(board)
    assert found.problems == ()
    assert {(r.record.system, r.badge, r.competes) for r in found.records} == {
        ("chance", "attested", True),
        ("majority", "attested", True),
        ("mallory/clever", "tables", False),
    }
    here = validate(board, [finished_run / "data"])
    assert here.problems == ()
    assert {r.badge for r in here.records} == {"labels"}
    assert all(r.competes for r in here.records)


def test_there_are_thirty_forgeries_and_more() -> None:
    assert len(FORGERIES) >= 30


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forgery_is_refused_or_does_not_compete(board: Board, forgery: str) -> None:
    change, expected = FORGERIES[forgery]
    change(board)
    found = validate(board)
    assert "own" not in {p.publication for p in found.problems}, "the honest records stand"
    assert not [r for r in found.competing if r.publication not in ("own",)]
    if expected:
        assert re.search(expected, " | ".join(p.sentence for p in found.problems)), found.problems
        assert all("\n" not in p.sentence and len(p.sentence) < 1000 for p in found.problems)
    else:
        assert found.problems == ()


def test_what_nobody_can_tell_is_found_by_whoever_holds_the_corpus(board: Board, finished_run: Path) -> None:
    """Two classes with as many clips of every speaker trade places: no sum that can be checked without labels changes."""
    data = [finished_run / "data"]

    change_statistics(board, swap_truths)
    problems = validate(board, data).problems
    assert any("the corpus's labels give" in p.sentence for p in problems)
    with pytest.raises(DataError, match="nothing was attested"):
        attest(board, "second", ["sent"], data)
    assert not (sent(board).folder.root / "attested").exists()


def test_where_nobody_vouches_two_who_disagree_are_both_named_however_many_agree(board: Board) -> None:
    (board.root / "board.yaml").write_text("plan: {resamples: 1000, permutations: 1000}\ncompeting: tables\n")
    change_statistics(board, move_truths)
    found = validate(board)
    assert {p.publication for p in found.problems} == {"own", "sent"}
    assert all("neither stands" in p.sentence for p in found.problems)
    assert found.competing == []


def test_a_second_holder_of_the_corpus_attests_and_the_board_says_who(
    board: Board, finished_run: Path, tmp_path: Path
) -> None:
    data = [finished_run / "data"]
    made = attest(board, "second", [], data)
    assert made.records == {"own": (HONEST, "majority__tones.ms__within__clean"), "sent": (STRANGER,)}
    assert [r.badge for r in validate(board).records if r.publication == "sent"] == ["tables"]
    rules = (board.root / "board.yaml").read_text()
    (board.root / "board.yaml").write_text(rules.replace("[owner]", "[owner, second]"))
    found = validate(board)
    assert {(r.badge, r.competes) for r in found.records} == {("attested", True)}
    out = tmp_path / "site"
    write_board(found, board, out, run_family)
    page = (out / "published.html").read_text()
    assert "attested by second" in page
    assert "nobody did so here" in page
    with pytest.raises(UsageError, match="no published record"):
        attest(board, "second", ["sent/nothing"], data)
    with pytest.raises(UsageError, match="cannot name whoever"):
        attest(board, "../second", [], data)
    with pytest.raises(DataError, match=r"its corpus 'tones' is not at hand"):
        attest(board, "third", ["sent"], [])


def test_whoever_vouched_for_an_earlier_version_vouches_again_by_the_same_command(
    board: Board, finished_run: Path
) -> None:
    data = [finished_run / "data"]
    (path,) = (p for p in (sent(board).folder.root / "records").glob("*.json"))
    attest(board, "second", ["sent"], data)
    path.write_text(path.read_text() + "\n")  # another version of the same record
    sent(board).seal()
    assert any("another version" in p.sentence for p in validate(board).problems)
    assert attest(board, "second", ["sent"], data).records == {"sent": (STRANGER,)}
    assert validate(board).problems == ()


def test_what_stands_below_the_line_is_shown_with_its_badge_and_in_no_rank(
    board: Board, tmp_path: Path
) -> None:
    change_facts(board, lambda f: f.update(code_version="9.9.9"))
    out = tmp_path / "site"
    write_board(validate(board), board, out, run_family)
    index = (out / "index.html").read_text()
    above, line, below = index.partition("Below the line")
    assert line
    assert "mallory/clever" in below
    assert "mallory/clever" not in above
    assert "mallory/clever" in (out / "task-tones.ms.html").read_text()
    assert "9.9.9 (names no commit)" in (out / "published.html").read_text()


def test_a_corpus_of_one_class_is_shown_without_dividing_by_nothing(board: Board, tmp_path: Path) -> None:
    """Guessing is then always right (chance is 1): one accepted record must not break everybody's board."""
    (board.root / "board.yaml").write_text(
        "plan: {resamples: 1000, permutations: 1000}\ncompeting: statistics\n"
    )
    shutil.rmtree(board.root / "own")
    shutil.rmtree(sent(board).folder.tables)

    def only_happy(rows: Rows) -> None:
        rows[:] = [r for r in rows if r["target"] == "category" and r["truth"] == "happy"]

    change_statistics(board, only_happy, lambda f: f.update(blocks=[b for b in f["blocks"] if b["target"] == "category"]))  # fmt: skip
    found = validate(board)
    assert found.problems == ()
    assert any(level.ua == 1 for level in found.competing[0].record.facts.reference_levels)
    assert write_board(found, board, tmp_path / "site", run_family).exists()


def test_other_words_for_what_is_not_known_and_other_bands_contradict_nobody(finished_run: Path) -> None:
    record = read_record(finished_run / "run/records/majority__tones.ms__within__clean.json")

    def told(**axes: Any) -> Truth:
        facts = record.facts
        card = facts.corpus_card.model_copy(update={"slices": axes.pop("slices", {})})
        known = tuple(a for a in facts.axes if a.axis not in axes)
        own = tuple(
            AxisDescription(axis=n, edges_seconds=(), groups=g, absent=a) for n, (g, a) in axes.items()
        )
        changed = facts.model_copy(update={"corpus_card": card, "axes": (*known, *own)})
        return truth_of(replace(record, facts=changed))

    usual = told(gender=((), "the corpus names no gender"))
    assert not usual.difference(told(gender=((), "gender is not known for these clips")))
    assert usual.difference(told(gender=(("female",), ""))) == "groups of clips by gender"
    young = {"age": (("under 30",), "")}
    assert not usual.difference(told(**young, slices={"age": (30.0,)}))
    assert not told(**young, slices={"age": (30.0,)}).difference(
        told(age=(("under 40",), ""), slices={"age": (40.0,)})
    )
    assert told(**young, slices={"age": (30.0,)}).difference(
        told(age=(("30 and over",), ""), slices={"age": (30.0,)})
    ) == ("groups of clips by age at 30")
