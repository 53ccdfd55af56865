"""Figures for papers: every mark stands where the record's number is, bytes repeat, and what is missing is said."""

from __future__ import annotations

import csv
import io
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from PIL import Image
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker

from bench.errors import UsageError
from bench.scoring.aggregates import by_language
from bench.scoring.records import Record, read_records
from bench.scoring.rescoring import from_record
from bench.scoring.subject import Subject
from bench.statistics.ranking import TaskScore, rank_across_pools
from reports.data.run_data import WorkDone
from reports.figures import averages
from reports.figures.material import Material
from reports.figures.paper import PaperFigure, drawn, marked, short_names, write_figure
from reports.figures.writing import KINDS, FigureChoice, write_figures
from tests.command import Command, command

ROOT = Path(__file__).resolve().parents[3]
UA = Subject("native", "wrong", "ua")
TASKS = ("indowave.id", "emodb.de")
SYSTEMS = ("meralion-ser-small", "whisper-tiny.en-superb", "egemaps-svm", "mfcc-superb", "majority")
HOSTILE = "$x_{evil$ " + chr(0x202E) + "\\input{/etc/passwd} <script>=1+1&%"
run_command = pytest.fixture(command)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    found = read_records(ROOT / "results/quick/records")
    return [r for r in found if r.task in TASKS and r.system in SYSTEMS]


@pytest.fixture(scope="module")
def material(records: list[Record]) -> Material:
    return Material.of(
        records, {"meralion-ser-small": WorkDone(30.0, 60.0), "mfcc-superb": WorkDone(10.0, 9.0)}
    )


@pytest.fixture(scope="module")
def degraded() -> Material:
    found = read_records(ROOT / "results/robustness/records")
    return Material.of([r for r in found if r.task == "indowave.id"])


def figures(material: Material, kind: str) -> list[PaperFigure]:
    found = KINDS[kind](material)
    assert not isinstance(found, str), found
    return found


def marks(figure: Figure, gid: str) -> list[tuple[list[float], list[float]]]:
    """Data of the lines with this id, in the order in which they were drawn."""
    lines = [line for axes in figure.axes for line in axes.lines if line.get_gid() == gid]
    return [(list(map(float, x.get_xdata())), list(map(float, x.get_ydata()))) for x in lines]


def score(
    records: list[Record], system: str, task: str, metric: str = "ua"
) -> tuple[float, float | None, float | None]:
    (record,) = (r for r in records if (r.system, r.task) == (system, task))
    row = (
        UA.row(record)
        if metric == "ua"
        else next(s for s in record.scores if s.metric == metric and s.rows == "all")
    )
    assert row is not None
    return row.estimate, row.low, row.high


@pytest.mark.parametrize("width", [3.3, 7.0])
def test_a_forest_plot_stands_where_the_record_says(
    material: Material, records: list[Record], width: float
) -> None:
    for figure in figures(material, "forest"):
        made = drawn(figure, width)
        task = figure.subject.split()[0]
        names = [t.get_text() for t in made.axes[0].get_yticklabels()]
        assert sorted(names) == sorted(SYSTEMS)
        wanted = [score(records, n, task) for n in names]
        assert [x for (x,), _ in marks(made, "estimate")] == [100 * e for e, _, _ in wanted]
        assert [x for x, _ in marks(made, "interval")] == [
            [100 * a, 100 * b] for _, a, b in wanted if a is not None and b is not None
        ]
        assert [row[2:5] for row in figure.rows] == wanted
        assert len(marks(made, "guess")) == len(names)
        assert made.get_size_inches()[0] == width
        assert ("(" in "".join(t.get_text() for t in made.axes[0].texts)) == (width > 5)


def test_the_svg_itself_has_the_numbers(material: Material, records: list[Record], tmp_path: Path) -> None:
    """Ticks give the scale; the ends of each interval, read back from the drawing, are the record's."""
    figure = figures(material, "forest")[0]
    task = figure.subject.split()[0]
    write_figure(figure, "one", tmp_path, ["svg"], [2])
    root = ET.parse(tmp_path / "one-2col.svg").getroot()
    made = drawn(figure, 7.0)
    made.savefig(io.BytesIO(), format="svg")  # lays it out
    ticks = [float(t) for t in made.axes[0].get_xticks()]
    svg = "{http://www.w3.org/2000/svg}"
    places = [
        float(g.find(f".//{svg}use").get("x"))
        for g in root.iter(f"{svg}g")
        if re.fullmatch(r"xtick_\d+", g.get("id", ""))
    ]  # type: ignore[union-attr, arg-type]
    low, high = made.axes[0].get_xlim()
    slope, start = np.polyfit(places, [t for t in ticks if low <= t <= high], 1)
    paths = [g.find(f"{svg}path").get("d") for g in root.iter(f"{svg}g") if g.get("id") == "interval"]  # type: ignore[union-attr]
    read = [[slope * float(x) + start for x in re.findall(r"[ML] ([-\d.]+) ", str(d))] for d in paths]
    order = [row[0] for row in figure.rows if row[3] is not None]
    wanted = [[100 * (v or 0.0) for v in score(records, str(s), task)[1:]] for s in order]
    assert np.allclose(read, wanted, atol=2e-3)


def test_rank_intervals_are_those_of_the_tests(material: Material) -> None:
    for figure, (comparison, subject) in zip(figures(material, "ranks"), material.shown, strict=True):
        wanted = {
            r.system: rank
            for t in comparison.tracks
            for r in comparison.members(subject, t)
            if t != "reference" and (rank := comparison.rank(subject, t, r.system)) and rank.of > 1
        }
        made = drawn(figure, 3.3)
        assert {str(row[0]): row[2:] for row in figure.rows} == {
            s: (r.best, r.worst, r.of) for s, r in wanted.items()
        }
        assert [x for x, _ in marks(made, "rank")] == [[r.best, r.worst] for r in wanted.values()]


@pytest.mark.parametrize("width", [3.3, 7.0])
def test_languages_confusions_and_costs_are_the_records_own(
    material: Material, records: list[Record], width: float
) -> None:
    (languages,) = figures(material, "languages")
    macros = {
        (m.system, m.language): m for m in by_language(records)[0] if (m.view, m.metric) == ("native", "ua")
    }
    assert {row[:2]: row[2:5] for row in languages.rows} == {
        k: (m.estimate, m.low, m.high) for k, m in macros.items()
    }
    assert np.allclose(
        sorted(cells(drawn(languages, width).axes[0]).ravel()),
        sorted(100 * m.estimate for m in macros.values()),
    )

    figure = figures(material, "confusions")[0]
    first, second, less = (cells(a) for a in drawn(figure, width).axes)
    for system, drawn_ in zip(figure.subject.split()[-2:], (first, second), strict=True):
        block = UA.block(
            next(r for r in records if (r.system, r.task) == (system, figure.subject.split()[0]))
        )
        assert block is not None
        counts = block.averaged.sum(axis=0)
        assert np.allclose(drawn_, 100 * counts[:, :-1] / counts.sum(axis=1, keepdims=True))
    assert np.allclose(less, first - second)

    (cost,) = figures(material, "cost")
    whole = {s: m for (s, language), m in macros.items() if language == "all"}
    assert [row[2:5] for row in cost.rows] == [
        (whole[str(r[0])].estimate, whole[str(r[0])].low, whole[str(r[0])].high) for r in cost.rows
    ]
    assert {str(r[0]): r[5] for r in cost.rows} == {
        r.system: r.facts.card.parameters for r in records if r.facts.track != "reference"
    }
    made = drawn(cost, width)
    assert [y for _, (y,) in marks(made, "estimate")] == [100 * float(str(r[2])) for r in cost.rows]
    assert [x for (x,), _ in marks(made, "estimate")][:2] == [r[5] for r in cost.rows[:2]]


def cells(axes: Axes) -> np.ndarray:
    (mesh,) = (c for c in axes.collections if isinstance(c, QuadMesh))
    return np.asarray(mesh.get_array(), dtype=float)


def test_calibration_and_speed(material: Material, records: list[Record]) -> None:
    figure = figures(material, "calibration")[0]
    task = figure.subject.split()[0]
    for system in dict.fromkeys(str(r[0]) for r in figure.rows):
        own = [r for r in figure.rows if r[0] == system]
        assert own[0][4:7] == score(records, system, task, "ece")
        block = next(
            b
            for r in records
            if (r.system, r.task) == (system, task)
            for b in r.blocks
            if b.target == "calibration" and b.rows == "all"
        )
        assert sum(float(str(r[3])) for r in own) == pytest.approx(block.clips)
    curves = marks(drawn(figure, 3.3), "estimate")
    assert [(x, y) for xs, ys in curves for x, y in zip(xs, ys, strict=True)] == [
        (100 * float(str(r[1])), 100 * float(str(r[2]))) for r in figure.rows
    ]
    (speed,) = figures(material, "speed")
    hours = sum({r.task: r.facts.corpus_card.hours or 0.0 for r in records}.values())
    placed = {r[0]: r[5] for r in speed.rows if r[5]}
    assert placed == {
        "meralion-ser-small": pytest.approx(90 / hours),
        "mfcc-superb": pytest.approx(19 / hours),
    }
    assert "whisper-tiny.en-superb" in speed.caption


def test_robustness_curves_stand_where_the_records_say(degraded: Material) -> None:
    (figure,) = figures(degraded, "robustness")
    of = {(r.system, r.facts.condition): UA.row(r) for r in degraded.records}
    assert {row[:2]: row[2:5] for row in figure.rows} == {
        k: (s.estimate, s.low, s.high) for k, s in of.items() if s
    }
    made = drawn(figure, 7.0)
    assert [y for _, ys in marks(made, "estimate") for y in ys] == [
        100 * float(str(r[2])) for r in figure.rows
    ]
    assert [y for _, y in marks(made, "interval")] == [
        [100 * float(str(r[3])), 100 * float(str(r[4]))] for r in figure.rows
    ]
    lengths = sorted({len(x) for x, _ in marks(made, "estimate")})
    assert lengths == [1, 2, 3], "lines join degrees of one kind alone: noise has three, speed two"
    assert "Not every score has one on clean audio" in figure.caption


@pytest.mark.parametrize("width", [3.3, 7.0])
def test_the_critical_difference_diagram(width: float) -> None:
    random = np.random.default_rng(0)
    scores = [
        TaskScore(f"p{p}", f"p{p}.en", s, 0.8 - 0.1 * i + 0.03 * random.standard_normal())
        for p in range(8)
        for i, s in enumerate("abcd")
    ]
    ranks = rank_across_pools(scores, level=0.95)
    made = drawn(averages._difference_figure("track probed", ranks), width)
    assert [x[0] for x, _ in marks(made, "rank")] == list(ranks.average_ranks)
    assert marks(made, "critical difference")[0][0] == [1, 1 + ranks.critical_difference]
    ends = [ys if width < 5 else xs for xs, ys in marks(made, "not apart")]
    at = (lambda i, out: i + out) if width < 5 else (lambda i, _: ranks.average_ranks[i])
    assert ends == [[at(a, -0.25), at(b, 0.25)] for a, b in ranks.groups]


def test_the_same_records_give_the_same_bytes_without_a_date(material: Material, tmp_path: Path) -> None:
    choice = FigureChoice.parse("languages", "pdf,svg,png", "1")
    first, again = (write_figures(material, tmp_path / name, choice) for name in "ab")
    assert [p.name for p in first.files] == [p.name for p in again.files]
    assert [p.read_bytes() for p in first.files] == [p.read_bytes() for p in again.files]
    pdf, svg, png = (
        (tmp_path / f"a/languages-within-native-ua-1col.{k}").read_bytes() for k in ("pdf", "svg", "png")
    )
    assert b"CreationDate" not in pdf
    assert b"/FontFile2" in pdf, "TrueType, embedded"
    assert b"/Type3" not in pdf
    assert b"<text" not in svg
    assert b"<dc:date>" not in svg
    assert Image.open(io.BytesIO(png)).size[0] == pytest.approx(3.3 * 300, abs=1)


def test_hostile_names_are_drawn_as_they_are(records: list[Record], tmp_path: Path) -> None:
    changed = []
    for r in (r for r in records if r.task == "indowave.id"):
        names = {"system": HOSTILE} if r.system == "mfcc-superb" else {}
        scores = tuple(s.model_copy(update=names) for s in r.facts.scores)
        changed.append(replace(r, facts=r.facts.model_copy(update={**names, "scores": scores})))
    written = write_figures(Material.of(changed), tmp_path, FigureChoice.parse("forest,ranks", "pdf", "1"))
    assert all(p.parent == tmp_path and len(p.name) < 140 for p in written.files)
    for path in written.files:
        if path.suffix == ".tex":
            nodes, _, _ = LatexWalker(
                path.read_text(encoding="utf-8"), tolerant_parsing=False
            ).get_latex_nodes()
            assert [n.environmentname for n in nodes if n.isNodeType(LatexEnvironmentNode)] == ["figure"]
            assert "\\input" not in path.read_text(encoding="utf-8")
        elif path.suffix == ".csv":
            text = path.read_text(encoding="utf-8")
            assert chr(0x202E) not in text
            assert len({len(row) for row in csv.reader(io.StringIO(text, newline=""))}) == 1
    assert short_names([HOSTILE])[0].count("$") >= 1


def test_signs_that_the_font_lacks_are_said(material: Material, tmp_path: Path) -> None:
    figure = figures(material, "ranks")[0]
    rename: Callable[[float], Figure] = lambda width: _with_title(figure.draw(width), "情感")  # noqa: E731
    _, lacking = write_figure(replace(figure, draw=rename), "x", tmp_path, ["png"], [1])
    assert "lacks signs" in lacking


def _with_title(figure: Figure, title: str) -> Figure:
    figure.axes[0].set_title(title)
    return figure


def test_synthetic_audio_is_written_across_every_figure(records: list[Record], tmp_path: Path) -> None:
    synthetic = [
        replace(r, facts=r.facts.model_copy(update={"synthetic": True}))
        for r in records
        if r.task == "indowave.id"
    ]
    material = Material.of(synthetic)
    written = write_figures(material, tmp_path, FigureChoice.parse("ranks", "png", "1"))
    assert material.mark == "SYNTHETIC"
    assert "\\caption{SYNTHETIC: " in next(p for p in written.files if p.suffix == ".tex").read_text(
        encoding="utf-8"
    )
    figure = figures(material, "ranks")[0]
    assert [t.get_text() for t in drawn(marked(figure, material.mark), 3.3).texts] == ["SYNTHETIC"]
    assert marked(figure, "") is figure


def test_what_the_records_do_not_hold_is_one_sentence_and_no_file(degraded: Material, tmp_path: Path) -> None:
    out = tmp_path / "none"
    found = write_figures(
        degraded, out, FigureChoice.parse("critical-difference,languages,cost,speed", "", "")
    )
    assert not found.files
    assert not out.exists()
    assert len(found.notes) == 4
    assert all(n.startswith("no figure ") and n.count("\n") == 0 for n in found.notes)


@pytest.mark.parametrize(
    ("choice", "said"),
    [(("forrest", "", ""), "'forrest' is no kind"), (("", "gif", ""), "pdf, svg, png"), (("", "", "3"), "--columns"), ((",", "", ""), "names no kind")],
)  # fmt: skip
def test_a_wrong_choice_is_one_sentence(choice: tuple[str, str, str], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        FigureChoice.parse(*choice)


def test_the_command_writes_figures_of_published_records(run_command: Command, tmp_path: Path) -> None:
    published, out = tmp_path / "records", tmp_path / "figures"
    published.mkdir()
    for path in (ROOT / "results/robustness/records").glob("egemaps-linear__indowave.id__within__*noise*"):
        shutil.copy(path, published)
    chosen = ("--format", "svg", "--kind", "robustness,cost", "--columns", "1")
    done = run_command("figures", published, "-o", out, *chosen)
    assert done.code == 0
    assert "robustness: 1 figure\n" in done.out
    assert "no figure cost" in done.err
    assert sorted(p.suffix for p in out.iterdir()) == [".csv", ".svg", ".tex"]
    again = run_command("figures", published, "-o", out, *chosen, "--json").json
    assert [Path(p).suffix for p in again["files"]] == [".svg", ".csv", ".tex"]
    wrong = run_command("figures", ROOT / "docs")
    assert wrong.code == 2
    assert "holds no records" in wrong.err


def test_the_figures_that_the_repository_shows_are_those_of_its_records() -> None:
    shown = ROOT / "docs/images/figures"
    plots = sorted(shown.glob("forest-*.csv"))
    assert len(plots) == 4
    assert all(p.with_name(f"{p.stem}-2col.svg").is_file() for p in plots)
    # As score, exports and the board have them: what a later version computes by a better method replaces the record's own.
    paths = sorted((ROOT / "results/quick/records").glob("*__indowave.id__within__clean.json"))
    scored = {r.system: UA.row(r) for r in (from_record(p).record for p in paths)}
    wanted = {s: [row.estimate, row.low, row.high] for s, row in scored.items() if row}
    with (shown / "forest-indowave.id-within-clean-native-ua.csv").open(
        encoding="utf-8", newline=""
    ) as stream:
        rows = {
            r["system"]: [float(r[c]) if r[c] else None for c in ("estimate", "low", "high")]
            for r in csv.DictReader(stream)
        }
    again = "draw them again: serbench figures results/quick -o docs/images/figures --format svg --columns 2"
    assert rows.keys() == wanted.keys(), again
    for system, figures_ in rows.items():
        assert figures_ == [None if v is None else pytest.approx(v, abs=1e-9) for v in wanted[system]], again
