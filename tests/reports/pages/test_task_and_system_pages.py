"""Task and system pages show what a run holds, clip by clip too, and nothing of it can become markup or leave the machine."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import pyarrow.parquet as pq
import pytest

from bench.errors import DataError
from bench.scoring.record_schema import LayerPoint
from bench.scoring.records import Record, read_record, write_record
from bench.statistics.calibration import reliability_points
from reports.pages.report import write_report
from reports.sections.clip_rows import Packed
from tests.conftest import rewrite, write_tone_corpus
from tests.reports.paged_run import ASKED, HOSTILE_CLIP, HOSTILE_REPLY, HOSTILE_SPEAKER, LABELS, make_run
from tests.reports.pages.test_report import Page

TASK = "task-tones.ms.html"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("paged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERBENCH_CACHE", str(folder / "cache"))
        patch.delenv("SERBENCH_DATA", raising=False)
        yield make_run(folder)


@pytest.fixture(scope="module")
def pages(run: Path) -> dict[str, str]:
    return rendered(run, run.parent / "report")


def rendered(run: Path, out: Path, **options: bool) -> dict[str, str]:
    write_report(run, out, **options)
    return {p.name: p.read_text(encoding="utf-8") for p in sorted(out.glob("*.html"))}


def record(run: Path, system: str, protocol: str = "within") -> Record:
    return read_record(run / "records" / f"{system}__tones.ms__{protocol}__clean.json")


def section(html: str, anchor: str) -> str:
    """Text of the section that a heading's id names."""
    found = re.search(rf'<section aria-labelledby="{anchor}">(.*?)</section>', html, re.DOTALL)
    assert found, f"no section {anchor}"
    return Page(found[1]).text.replace(" ,", ",")


def truths(run: Path) -> dict[str, str]:
    with (run.parent / "data" / "tones" / "metadata.csv").open(encoding="utf-8") as stream:
        return {row["file_name"]: row["emotion"] for row in csv.DictReader(stream)}


def answers(run: Path, system: str, seed: int = 0) -> dict[str, str | None]:
    """What a system said of each clip, read from its tables without the suite's own reader."""
    predicted: dict[str, str | None] = {}
    facts = record(run, system).facts
    for cell in facts.tables:
        table = pq.read_table(run / "tables" / f"{cell}.parquet")
        if f'"seed": {seed}' in table.schema.metadata[b"serbench"].decode():
            predicted |= dict(zip(table["clip_id"].to_pylist(), table["label"].to_pylist(), strict=True))
    return predicted


def test_clips_that_all_systems_miss_are_those_of_the_tables(run: Path, pages: dict[str, str]) -> None:
    truth = truths(run)
    predicted = [answers(run, s) for s in ("sharp", "dull")]
    assert all(len(s) == len(truth) for s in predicted)
    missed = [c for c, label in truth.items() if all(s[c] != label for s in predicted)]
    assert missed, "both are deaf to sad"
    text = section(pages[TASK], "missed1")
    nobody = sum(all(s[c] == label for s in predicted) for c, label in truth.items())
    assert f"{len(missed)} of {len(truth)} clips are missed by both systems; {nobody} by nobody" in text
    by_class = Counter(truth[c] for c in missed)
    for label in LABELS:
        wrong = [sum(s[c] != label for c in truth if truth[c] == label) / 16 for s in predicted]
        independent = f"{16 * wrong[0] * wrong[1]:.1f}"
        assert f"{label} 16 {by_class[label]} {independent}" in text
    for clip in missed:
        assert clip in text
    assert "happy 3, neutral 1" in text or "sad 3, neutral 1" in text  # what listeners said


def test_players_stand_only_where_asked_for_and_lead_to_the_corpus_own_files(
    run: Path, pages: dict[str, str], tmp_path: Path
) -> None:
    assert not any("<audio" in html or "media-src" in html for html in pages.values())
    html = rendered(run, tmp_path / "a" / "report", audio=True)[TASK]
    addresses = Page(html).having("src")
    assert addresses
    for address in addresses:
        assert not re.match(r"[a-z]+:|/", address)
        assert (tmp_path / "a" / "report" / unquote(address)).resolve().is_relative_to(run.parent / "data")
        assert (tmp_path / "a" / "report" / unquote(address)).is_file()
    assert "media-src 'self' file:" in html
    assert str(run.parent) not in html
    assert not list((tmp_path / "a").rglob("*.wav"))
    assert "not for publication" in html
    pictures = sorted((tmp_path / "a" / "report").glob("clips-tones.ms-pictures-*.js"))
    assert [p.name for p in pictures] == ["clips-tones.ms-pictures-0.js"]
    drawn = json.loads(pictures[0].read_text().partition("[0]=")[2].rstrip(";\n"))
    assert len(drawn) == len(truths(run))
    assert all(base64.b64decode(d).startswith(b"\x89PNG") for d in drawn)
    data = browsed(tmp_path / "a" / "report")
    assert (
        tmp_path / "a" / "report" / unquote(data["sound"]["folder"])
    ).resolve() == run.parent / "data" / "tones"
    assert data["sound"]["others"] == {}
    rendered(run, tmp_path / "a" / "report")
    assert not pictures[0].exists(), "nothing to be heard, nothing to be seen"
    assert "sound" not in browsed(tmp_path / "a" / "report")


def browsed(report: Path, setting: int = 0) -> dict[str, Any]:
    """What the clip browser of a report is filled with."""
    text = (report / f"clips-tones.ms-{setting}.js").read_text()
    assert text.startswith("// ser-bench clips")
    found: dict[str, Any] = json.loads(text.partition("=")[2].rstrip(";\n"))
    return found


def words(data: dict[str, Any], packed: list[Any]) -> list[str]:
    return [data["words"][k] for k in Packed(*packed).numbers()]


def test_the_clip_browser_has_every_clip_with_what_the_tables_say(run: Path, pages: dict[str, str]) -> None:
    data, truth = browsed(run.parent / "report"), truths(run)
    assert dict(zip(data["clips"], words(data, data["truth"]), strict=True)) == truth
    assert HOSTILE_CLIP in data["clips"]
    assert HOSTILE_SPEAKER in " ".join(data["speakers"])
    assert [s["name"] for s in data["systems"]] == ["sharp", "dull"]
    for system in data["systems"]:
        said = dict(zip(data["clips"], words(data, system["said"]), strict=True))
        assert said == answers(run, system["name"])
        # Both listeners give 0.7 to what they say and 0.1 to each other label.
        given = dict(zip(data["clips"], Packed(*system["given"]).numbers(), strict=True))
        assert set(Packed(*system["sure"]).numbers()) == {701}
        assert all(given[c] == (701 if said[c] == truth[c] else 101) for c in truth)
    asked = browsed(run.parent / "report", 1)
    assert {s["name"] for s in asked["systems"]} == set(ASKED)
    assert any("refused" in w for w in asked["words"])
    assert "sound" not in asked
    assert "Nothing can be listened to" in Page(pages["clips-tones.ms.html"]).text


def test_a_figure_of_a_confusion_matrix_leads_to_its_clips(run: Path, pages: dict[str, str]) -> None:
    data = browsed(run.parent / "report")
    truth = words(data, data["truth"])
    found = re.search(r'<section aria-labelledby="confusion1">(.*?)</section>', pages[TASK], re.DOTALL)
    assert found
    seen: Counter[str] = Counter()
    for href, figure in re.findall(r'<a href="(clips-[^"]*)">(\d+)</a>', found[1]):
        page, _, choice = href.replace("&amp;", "&").partition("#")
        assert page in pages
        chosen = dict(parse_qsl(choice))
        system = next(s for s in data["systems"] if s["name"] == chosen["system"])
        said = words(data, system["said"])
        clips = sum(t == chosen["truth"] and a == chosen["answer"] for t, a in zip(truth, said, strict=True))
        share = 100 * clips / truth.count(chosen["truth"])
        assert abs(share - int(figure)) < 40, "the figure is a mean over seeds, the clips are of one"
        seen[chosen["system"]] += clips
    assert seen["sharp"] == seen["dull"] == len(truth)
    assert "majority" not in seen, "reference systems are not read clip by clip"
    listed = re.search(r'<section aria-labelledby="missed1">(.*?)</section>', pages[TASK], re.DOTALL)
    assert listed
    names = [
        dict(parse_qsl(h.partition("#")[2].replace("&amp;", "&")))["clip"]
        for h in re.findall(r'<th[^>]*><a href="(clips-[^"]*)"', listed[1])
    ]
    assert names
    assert names == data["clips"][: len(names)], "hardest first, here as there"


def test_clips_and_speakers_of_a_corpus_that_is_not_open_are_not_named(run: Path, tmp_path: Path) -> None:
    card = run.parent / "data" / "tones" / "card.yaml"
    before = card.read_text()
    card.write_text(before.replace("access: open", "access: form"))
    try:
        html = rendered(run, tmp_path)[TASK]
        assert not list(tmp_path.glob("clips-*"))
        for_this_machine = rendered(run, tmp_path, audio=True)["clips-tones.ms.html"]
        assert not list(tmp_path.glob("clips-*pictures*")), "a picture is a copy"
        assert browsed(tmp_path)["sound"]["pictures"] is None
    finally:
        card.write_text(before)
    assert "No clip browser: the card says access: form" in section(html, "missed1")
    assert "none is drawn, since the card does not call the corpus open" in Page(for_this_machine).text
    assert "audio/s" not in html
    assert "tones/0" not in section(html, "folds1")
    assert "clips are not named" in section(html, "missed1")
    assert "missed by both systems" in section(html, "missed1")


def test_without_labels_or_tables_a_page_says_what_it_lacks_and_names_no_path(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERBENCH_DATA", str(tmp_path))
    text = section(rendered(run, tmp_path / "report")[TASK], "missed1")
    assert "SERBENCH_DATA names no folder with prepared corpora" in text
    write_tone_corpus(tmp_path / "others" / "chimes")
    monkeypatch.setenv("SERBENCH_DATA", str(tmp_path / "others"))
    text = section(rendered(run, tmp_path / "report")[TASK], "missed1")
    assert "the labels of tones are not at hand; name its folder with --data or SERBENCH_DATA" in text
    assert str(tmp_path) not in text
    monkeypatch.delenv("SERBENCH_DATA")
    with pytest.raises(DataError, match="no prepared corpus"):
        write_report(run, tmp_path / "report", data=(run.parent / "cache",))
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "empty"))
    text = section(rendered(run, tmp_path / "report")[TASK], "missed1")
    assert "never decoded on this machine" in text


def test_labels_that_were_changed_after_scoring_are_not_shown_as_truth(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run.parent / "data", tmp_path / "data")
    rewrite(
        tmp_path / "data" / "tones",
        emotion=lambda row: "sad" if row["emotion"] == "happy" else row["emotion"],
    )
    for path in (tmp_path / "data").rglob("*.wav"):
        path.touch()
    write_report(run, tmp_path / "report", data=(tmp_path / "data",))
    text = section((tmp_path / "report" / TASK).read_text(), "missed1")
    assert "never decoded" in text or "is not the one that was scored" in text


def test_folds_count_every_clip_once_and_say_who_is_tested_in_which(run: Path, pages: dict[str, str]) -> None:
    text = section(pages[TASK], "folds1")
    rows = re.findall(r"(?<!fold )\b(\d) (\d) (\d+) (\d+) (\d+) (\d+) (\d+)(?= )", text)
    assert [r[0] for r in rows] == [*"01234"]
    assert sum(int(r[1]) for r in rows) == 8
    assert sum(int(r[2]) for r in rows) == len(truths(run))
    assert all(int(r[2]) == sum(map(int, r[3:])) for r in rows)
    for s in range(1, 8):
        assert text.count(f"tones/0{s}") == 1


def test_groups_have_the_records_scores_and_gaps(run: Path, pages: dict[str, str]) -> None:
    text = section(pages[TASK], "slices1")
    for system in ("sharp", "dull"):
        facts = record(run, system).facts
        own = [s for s in facts.slices if (s.axis, s.view, s.metric) == ("gender", "native", "ua")]
        assert [s.group for s in own] == ["female", "male"]
        cells = " ".join(f"{100 * s.estimate:.1f} {100 * s.low:.1f} to {100 * s.high:.1f}" for s in own)
        assert f"{system} {cells}" in text
        gap = next(g for g in facts.gaps if (g.axis, g.view, g.metric) == ("gender", "native", "ua"))
        assert f"{gap.worst} {100 * gap.gap:.1f} " in text
    assert "clips are too alike in length" in text
    assert "majority" not in text


def test_listeners_and_chance_are_what_scores_are_held_against(run: Path, pages: dict[str, str]) -> None:
    human = next(
        h for h in record(run, "sharp").facts.human
        if (h.truth, h.view, h.metric) == ("intended", "native", "ua")
    )  # fmt: skip
    text = section(pages[TASK], "s1-1")
    assert "25.0, a uniform guess over the labels on offer" in text
    assert f"{100 * human.estimate:.1f}" in text
    assert "one listener against the emotion that was asked for" in text
    assert f"listener {100 * human.estimate:.1f}" in text
    assert 'class="human"' in pages[TASK]


def test_the_difference_of_two_confusions_is_the_difference_of_their_shares(
    run: Path, pages: dict[str, str]
) -> None:
    shares = []
    for system in ("sharp", "dull"):
        block = record(run, system).block("native", "wrong", "all", "category")
        assert block is not None
        counts = block.averaged.sum(axis=0)
        shares.append(counts / counts.sum(axis=1, keepdims=True))
    table = re.search(
        r"<table[^>]*>\s*<caption[^>]*>Confusion matrix of sharp less that of dull.*?</table>",
        pages[TASK],
        re.DOTALL,
    )
    assert table
    cells = re.findall(r"<td[^>]*?>([^<]*)</td>", table[0])[1:]
    apart = shares[0] - shares[1]
    assert not apart[:, -1].any(), "both answered every clip inside the view"
    expected = (100 * apart[:, :-1]).ravel()
    assert "other / none" not in table[0], "a column that holds nothing is left out"
    written = [float((c or "0").replace("−", "-")) for c in cells]
    assert written == pytest.approx(expected.tolist(), abs=0.51)
    red = ["worse" in c for c in re.findall(r'<td class="([^"]*)"', table[0])]
    side = len(expected) // len(shares[0])
    for i, difference in enumerate(expected):
        right = i // side == i % side
        assert red[i] == (difference < 0 if right else difference > 0), "red is where the first does worse"


def test_valence_and_arousal_stand_on_a_plane_with_a_table_behind(run: Path, pages: dict[str, str]) -> None:
    text = section(pages[TASK], "plane1")
    row = next(
        s for s in record(run, "sharp").scores if (s.metric, s.dimension, s.rows) == ("ccc", "valence", "all")
    )
    assert f"valence {row.estimate:.2f}".replace("-", "−") in text
    # Labels: happy has the lowest valence (1 on 0..6) and the highest arousal (5).
    assert "sharp happy 16 0.17 " in text
    assert re.search(r"Valence and arousal by sharp: \d+ clips as answered", pages[TASK])


def test_calibration_is_that_of_the_statistics(run: Path, pages: dict[str, str]) -> None:
    own = record(run, "sharp")
    text = section(pages["system-sharp.html"], "calibration")
    for metric in ("ece", "brier"):
        row = next(s for s in own.scores if s.metric == metric and s.rows == "all")
        assert f"{row.estimate:.3f}" in text
    block = next(b for b in own.blocks if b.target == "calibration" and b.rows == "all")
    for p in reliability_points(block.averaged.sum(axis=0)):
        assert f"{100 * p.confidence:.0f} → {100 * p.accuracy:.0f}" in text
    assert "0.750" in text  # Brier of a uniform guess among four


def test_layers_and_training_are_drawn_with_their_numbers(pages: dict[str, str]) -> None:
    layers = section(pages["system-sharp.html"], "layers")
    assert "0: 50.0 (50.0 to 50.0), 1: 27.5 (25.0 to 30.0), 2: 22.5 (20.0 to 25.0)" in layers
    assert "layer 0 has most, 50.0\u00a0%" in pages["system-sharp.html"]
    training = section(pages["system-sharp.html"], "curves")
    assert "history · dev loss fold 0 seed 0 8 1.2 0.15 0.15" in training
    assert "history · epoch" not in training
    assert "training losses fold 0 seed 0 3 1 0.25 0.25" in training


def test_an_audio_llm_page_tells_how_much_the_question_decides(run: Path, pages: dict[str, str]) -> None:
    free, asked = ASKED
    facts = record(run, free, "zero-shot").facts
    notes = facts.notes["fold all seed 0"]
    text = section(pages[f"system-{free}.html"], "asking")
    assert f"free 2 {100 * notes['invalid_rate']:.1f} – – {100 * notes['flip_rate']:.1f}" in text
    by_prompt = record(run, asked, "zero-shot").facts.ua_by_prompt
    text = section(pages[f"system-{asked}.html"], "asking")
    best, worst = max(by_prompt.values()), min(by_prompt.values())
    assert f"prompt {100 * (best - worst):.1f} " in text
    for language, name in (("English", "en-1"), ("Mandarin", "zh-1"), ("Malay", "ms-1"), ("Tamil", "ta-1")):
        assert f"{language} {100 * by_prompt[name]:.1f}" in text
    assert "What was chosen in each fit" not in pages[f"system-{free}.html"]


def test_replies_are_shown_word_for_word_and_stay_words(run: Path, pages: dict[str, str]) -> None:
    html = pages[f"system-{ASKED[0]}.html"]
    text = section(html, "asking")
    assert HOSTILE_REPLY.replace(chr(0x202E), "⟨U+202E⟩") in text
    assert "refused – I'm sorry, but I cannot determine emotions from audio." in text
    assert "ok happy The speaker sounds happy." in text
    assert HOSTILE_CLIP in Page(pages[TASK]).text or HOSTILE_CLIP in text or "sad" in text
    assert HOSTILE_SPEAKER in section(pages[TASK], "folds1")
    for page in pages.values():
        found = Page(page)
        assert not {tag for tag, _ in found.tags} & {"img", "iframe", "object", "embed"}
        assert not [a for _, attrs in found.tags for a in attrs if a.startswith("on")]
        assert "<script>alert" not in page
        assert chr(0x202E) not in page


def test_pages_of_sixty_systems_stay_small(run: Path, tmp_path: Path) -> None:
    for part in ("records", "tables"):
        shutil.copytree(run / part, tmp_path / "run" / part)
    for name in ("journal.sqlite", "matrix.json", "data.json"):
        shutil.copy(run / name, tmp_path / "run" / name)
    source = (run / "records" / "sharp__tones.ms__within__clean.json").read_text()
    parquet = run / "records" / "sharp__tones.ms__within__clean.parquet"
    for i in range(58):
        stem = f"sharp-{i:02d}__tones.ms__within__clean"
        named = source.replace('"sharp"', f'"sharp-{i:02d}"').replace("sharp__tones", f"sharp-{i:02d}__tones")
        (tmp_path / "run" / "records" / f"{stem}.json").write_text(named)
        shutil.copy(parquet, tmp_path / "run" / "records" / f"{stem}.parquet")
    pages = rendered(tmp_path / "run", tmp_path / "report")
    assert len(pages) > 60
    assert max(len(p.encode()) for p in pages.values()) < 2_000_000
    text = Page(pages[TASK]).text
    assert "? this corpus cannot separate them" in text
    assert "more matrices: on the systems’ own pages" in text
    assert "further systems not read clip by clip" in text


def test_the_layer_curve_of_a_record_is_drawn_with_its_intervals(run: Path, tmp_path: Path) -> None:
    own = record(run, "sharp")
    curve = tuple(LayerPoint(layer=i, ua=0.4 + i / 10, low=0.3 + i / 10, high=0.5 + i / 10) for i in range(3))
    valence = tuple(LayerPoint(layer=i, ccc=0.1 * i - 0.05, low=None, high=None) for i in range(3))
    for name in ("journal.sqlite", "matrix.json"):
        (tmp_path / "run" / "records").mkdir(parents=True, exist_ok=True)
        shutil.copy(run / name, tmp_path / "run" / name)
    facts = own.facts.model_copy(update={"layer_curve": curve, "layer_curve_valence": valence})
    write_record(tmp_path / "run" / "records" / "sharp.json", facts, [*own.blocks, *own.slices])
    html = rendered(tmp_path / "run", tmp_path / "report")["system-sharp.html"]
    text = section(html, "layers")
    assert "UA, interval 0: 40.0 (30.0 to 50.0), 1: 50.0 (40.0 to 60.0), 2: 60.0 (50.0 to 70.0)" in text
    assert "CCC, valence, interval 0: −0.05, 1: 0.05, 2: 0.15" in text
    assert "UA of each of 3 layers alone on tones.ms: highest on layer 2, 60.0\u00a0%." in html


def test_a_page_with_too_many_records_shows_the_first_setting_in_full_and_boards_of_the_others(
    run: Path, pages: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pages[TASK].count(">What everybody misses, ") == 2  # within and zero-shot
    assert "Boards only" not in pages[TASK]
    monkeypatch.setattr("reports.pages.report.WRITTEN_OUT", 4)
    html = rendered(run, tmp_path)[TASK]
    assert html.count(">What everybody misses, ") == 1
    assert html.count("Boards only") == 1
    for system in ("sharp", "dull", *ASKED):
        row = next(
            s for s in record(run, system, "zero-shot" if system in ASKED else "within").scores
            if (s.metric, s.view, s.rows) == ("ua", "native", "all")
        )  # fmt: skip
        assert f"{100 * row.estimate:.1f}" in Page(html).text


@pytest.mark.parametrize("schema", ["schema1", "schema2"])
def test_records_of_every_schema_have_pages(run: Path, tmp_path: Path, schema: str) -> None:
    (tmp_path / "run").mkdir()
    for name in ("journal.sqlite", "matrix.json"):
        shutil.copy(run / name, tmp_path / "run" / name)
    shutil.copytree(
        Path(__file__).parents[2] / "bench" / "scoring" / "records" / schema, tmp_path / "run" / "records"
    )
    pages = rendered(tmp_path / "run", tmp_path / "report")
    own = next(iter(r for p in (tmp_path / "run" / "records").glob("*.json") if (r := read_record(p))))
    row = next(s for s in own.scores if (s.metric, s.view, s.rows) == ("ua", "native", "all"))
    for page in (f"task-{own.task}.html", f"system-{own.system}.html"):
        assert f"{100 * row.estimate:.1f}" in Page(pages[page]).text
