"""What was found against what the card promises: the machine-readable report of a preparation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.audio.decoding import DECODER
from bench.cards.corpus import CorpusCard
from bench.cards.labels import label_table
from bench.corpora.contents import counted
from bench.corpora.metadata import length_of, number_of
from bench.corpora.preparation.problems import PreparationProblem, ProblemKind, faults
from bench.corpora.preparation.tables import TableRow
from bench.corpora.preparation.tree import glob_pattern
from bench.corpora.preparation.writing import Written
from bench.corpora.soundness import ClipFinding, ClipSound, examine
from bench.protocols import DIMENSIONS, SAMPLE_RATE

REPORT = "prepare-report.json"
TABLE_SECONDS = "table_seconds"
"""Column that holds how long a clip is by the owner's table."""


@dataclass(frozen=True)
class PreparedCounts:
    """What a corpus holds, or is promised to hold; None where nothing is promised."""

    clips: int | None
    speakers: int | None
    hours: float | None


@dataclass(frozen=True)
class PrepareReport:
    """The result of a preparation; ``problems`` is the one table of everything found wrong or odd, sorted."""

    corpus: str
    verification: str | None
    cites: str
    found: PreparedCounts
    promised: PreparedCounts
    labels: Mapping[str, int]
    languages: Mapping[str, int]
    rates: Mapping[str, int]
    channels: Mapping[str, int]
    suffixes: Mapping[str, int]
    undecodable: int
    left_out: int
    source_files: int
    problems: tuple[PreparationProblem, ...]
    findings: tuple[ClipFinding, ...] = ()
    """What the examination of the sound found; in words, all of it stands among the problems."""

    @property
    def faults(self) -> int:
        """How many problems are faults."""
        return faults(self.problems)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values; equal preparations give equal values."""
        problems = [asdict(p) | {"fault": p.fault} for p in self.problems]
        return asdict(self) | {
            "schema": 1,
            "decoder": DECODER,
            "faults": self.faults,
            "problems": problems,
        }


def make_report(
    card: CorpusCard,
    rows: Sequence[TableRow],
    written: Sequence[Written],
    problems: Iterable[PreparationProblem],
    *,
    left_out: int,
    source_files: int,
) -> PrepareReport:
    """Compare what was written with the card.

    Args:
        card: with its layout, and the clips, speakers and hours it promises.
        rows: columns of each clip.
        written: what became of each clip's audio, aligned with ``rows``.
        problems: those noted on the way.
        left_out: clips that the card says to leave out.
        source_files: files of the source.

    Returns:
        The report, with the problems that only the whole shows.
    """
    layout = card.layout
    assert layout is not None
    findings = examine([_clip_sound(r, w) for r, w in zip(rows, written, strict=True)])
    found = [
        *problems,
        *_sound_problems(rows, written),
        *(PreparationProblem(KINDS[f.kind], f.clip, f.message) for f in findings),
        *_cell_problems(card, rows),
        *_format_notes(rows, written),
    ]
    sound = [w for w in written if w.error is None]
    speakers = {r["speaker"] for r in rows if r.get("speaker")}
    counts = PreparedCounts(
        clips=len(rows),
        speakers=len(speakers),
        hours=round(sum(w.samples for w in sound) / SAMPLE_RATE / 3600, 4),
    )
    promised = PreparedCounts(
        clips=layout.expect.clips if layout.expect.clips is not None else card.clips,
        speakers=layout.expect.speakers if layout.expect.speakers is not None else card.speakers,
        hours=card.hours,
    )
    found += _promise_problems(counts, promised, speakers)
    found += _uneven_speakers(rows)
    known = [glob_pattern(g) for g in (f"**/{k.removeprefix('**/')}" for k in layout.known)]
    marked = {
        PreparationProblem(p.kind, p.where, p.message, known=any(k.fullmatch(p.where) for k in known))
        for p in found
    }
    return PrepareReport(
        corpus=card.name,
        verification=card.verification,
        cites=layout.cites,
        found=counts,
        promised=promised,
        labels=counted(r.get("emotion", "") for r in rows),
        languages=counted(r.get("language", "") for r in rows),
        rates=counted("+".join(map(str, w.examined.rates)) for w in sound if w.examined),
        channels=counted("+".join(map(str, w.examined.channels)) for w in sound if w.examined),
        suffixes=counted(r["source_path"].rpartition(".")[2].lower() for r in rows),
        undecodable=len(written) - len(sound),
        left_out=left_out,
        source_files=source_files,
        problems=tuple(sorted(marked)),
        findings=tuple(findings),
    )


KINDS: Mapping[str, ProblemKind] = {
    "clipped": "clipped",
    "channels cancel": "channels cancel",
    "silent": "silent",
    "offset": "offset",
    "dead channel": "channels",
    "short": "length",
    "cut off": "truncated",
    "length": "length",
    "unlike table": "length",
    "unit": "hours",
}
"""What the examination of the sound found, as kinds of problems."""


def _clip_sound(row: TableRow, clip: Written) -> ClipSound:
    promised = length_of(row.get(TABLE_SECONDS, ""))
    return ClipSound(row["source_path"], clip.samples / SAMPLE_RATE, clip.examined, clip.error, promised)


def _sound_problems(rows: Sequence[TableRow], written: Sequence[Written]) -> list[PreparationProblem]:
    problems = []
    by_hash: dict[str, list[TableRow]] = defaultdict(list)
    for row, clip in zip(rows, written, strict=True):
        where = row["source_path"]
        if clip.error is not None:
            problems.append(
                PreparationProblem(
                    "undecodable", where, f"{clip.error}; its row is kept, its bytes as they came"
                )
            )
            continue
        by_hash[clip.pcm_hash].append(row)
    for same in by_hash.values():
        if len(same) > 1:
            first, others = same[0]["source_path"], ", ".join(r["source_path"] for r in same[1:4])
            more = f" and {len(same) - 4} more" if len(same) > 4 else ""
            labels = sorted({r.get("emotion", "") for r in same})
            kind: ProblemKind = "conflicting labels" if len(labels) > 1 else "same sound"
            labelled = f", labelled {', '.join(map(repr, labels))}" if len(labels) > 1 else ""
            problems.append(PreparationProblem(kind, first, f"the same samples as {others}{more}{labelled}"))
    return problems


def _cell_problems(card: CorpusCard, rows: Sequence[TableRow]) -> list[PreparationProblem]:
    problems = []
    table = label_table()
    unknown: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        raw = row.get("emotion", "")
        if raw and raw not in (*card.labels, *card.classes) and table.canonical(raw) is None:
            unknown[raw].append(row["source_path"])
        for dimension in DIMENSIONS:
            if text := row.get(dimension, ""):
                problems += _dimension_problem(card, dimension, text, row["source_path"])
    for raw, paths in unknown.items():
        message = f"{len(paths)} clip(s) carry the label {raw!r}, which the card's 'labels' and the label table do not know"
        problems.append(PreparationProblem("unknown label", paths[0], message))
    return problems


def _dimension_problem(card: CorpusCard, dimension: str, text: str, where: str) -> list[PreparationProblem]:
    scale = card.scale_of(dimension)
    try:
        value = number_of(text)
    except ValueError:
        return [
            PreparationProblem(
                "bad cell", where, f"{dimension} is {text[:40]!r}, expected a number or nothing"
            )
        ]
    if scale is not None and not scale[0] <= value <= scale[1]:
        return [
            PreparationProblem(
                "bad cell",
                where,
                f"{dimension} is {value:g}, outside the card's scale {scale[0]:g} to {scale[1]:g}",
            )
        ]
    return []


def _format_notes(rows: Sequence[TableRow], written: Sequence[Written]) -> list[PreparationProblem]:
    rates: dict[int, list[str]] = defaultdict(list)
    channels: dict[int, list[str]] = defaultdict(list)
    for row, clip in zip(rows, written, strict=True):
        for rate in clip.examined.rates if clip.examined else ():
            rates[rate].append(row["source_path"])
        for count in clip.examined.channels if clip.examined else ():
            channels[count].append(row["source_path"])
    usual = max(rates, key=lambda r: (len(rates[r]), -r), default=0)
    notes = [
        PreparationProblem(
            "sample rates",
            paths[0],
            f"{len(paths)} clips have {rate} Hz, most have {usual}; all are 16 kHz now",
        )
        for rate, paths in rates.items()
        if rate != usual
    ]
    notes += [
        PreparationProblem(
            "channels", paths[0], f"{len(paths)} clips have {count} channels; they were averaged"
        )
        for count, paths in channels.items()
        if count > 1
    ]
    return notes + [
        PreparationProblem("name", row["source_path"], "not ASCII; kept, in Unicode's composed form")
        for row in rows
        if not row["source_path"].isascii()
    ]


def _promise_problems(
    found: PreparedCounts, promised: PreparedCounts, speakers: set[str]
) -> list[PreparationProblem]:
    problems = []
    for what, have, want in (
        ("clips", found.clips, promised.clips),
        ("speakers", found.speakers, promised.speakers),
    ):
        if want is not None and have != want:
            gap = _gaps(speakers) if what == "speakers" else ""
            problems.append(
                PreparationProblem("promise", what, f"found {have}, the card promises {want}{gap}")
            )
    # Published hours are rounded, and some count silence that was cut since: worth a note, no fault.
    slack = max(0.1 * (promised.hours or 0.0), 0.05)
    if promised.hours is not None and abs((found.hours or 0.0) - promised.hours) > slack:
        problems.append(
            PreparationProblem(
                "hours", "hours", f"found {found.hours:.2f}, the card promises {promised.hours:g}"
            )
        )
    return problems


def _gaps(speakers: set[str]) -> str:
    """Name the numbers that are missing among numbered speakers."""
    numbers = {int(s) for s in speakers if s.isdecimal()}
    if len(numbers) != len(speakers) or not numbers or max(numbers) - min(numbers) > 4 * len(numbers):
        return ""
    missing = sorted(set(range(min(numbers), max(numbers) + 1)) - numbers)
    return (
        f" (no speaker {', '.join(map(str, missing[:8]))} between {min(numbers)} and {max(numbers)})"
        if missing
        else ""
    )


def _uneven_speakers(rows: Sequence[TableRow]) -> list[PreparationProblem]:
    """Note speakers who have fewer clips than the number that most speakers share."""
    clips = Counter(r["speaker"] for r in rows if r.get("speaker"))
    shared, times = Counter(clips.values()).most_common(1)[0] if clips else (0, 0)
    if len(clips) < 3 or times <= len(clips) / 2:
        return []
    return [
        PreparationProblem(
            "uneven speaker", speaker, f"has {n} clips, {times} of {len(clips)} speakers have {shared}"
        )
        for speaker, n in clips.items()
        if n < shared
    ]
