"""Scores and tests as LaTeX tables: scores with ranks and the difference from the first, and every pair, with the joint intervals that decide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bench.scoring.pair_results import PairResult
from bench.scoring.subject import Subject
from reports import formatting
from reports.data.caution_badges import caution_badges
from reports.data.comparisons import TaskComparison

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\textbraceleft{}", "}": r"\textbraceright{}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "–": "--", "—": "---", "−": r"\ensuremath{-}", "’": "'",
}  # fmt: skip
TEX_HEAD = "% Made by ser-bench; needs \\usepackage[T1]{fontenc}, \\usepackage[utf8]{inputenc}, \\usepackage{booktabs} and \\usepackage{longtable}.\n"
SYSTEMS_IN_FULL = 15
"""Systems of a track up to which every pair stands in ``pairs.tex``; beyond, those of the first with every other."""


def tex(text: str) -> str:
    r"""Escape text for LaTeX and BibTeX, whose braces must pair; characters that reorder or hide text become blanks.

    >>> tex("50 % of_all")
    '50 \\% of\\_all'
    """
    return "".join(_TEX.get(c, c) for c in formatting.unhidden(text))


def latex_tables(comparisons: Sequence[TaskComparison]) -> str:
    """One ``table`` per comparison and subject: systems by track, score, interval, rank interval, difference from the track's first."""
    return TEX_HEAD + "".join(latex_table(c, s) for c in comparisons for s in c.subjects)


def latex_table(comparison: TaskComparison, subject: Subject) -> str:
    """A table of one task in one metric, best first within each track.

    The interval of a score is its own. The difference from the first of the track has the simultaneous interval of the track's
    family, so all of these hold together, and a rank follows from them.
    """
    percent = formatting.is_percent(subject)
    lines = []
    for track in comparison.tracks:
        members = comparison.members(subject, track)
        for record in members:
            row = subject.row(record)
            if row is None:
                continue
            rank = comparison.rank(subject, track, record.system) if track != "reference" else None
            mark = r"\,\textsuperscript{i}" if record.facts.imported else ""
            behind = comparison.against(subject, track, record.system).get(members[0].system)
            cells = (
                tex(record.system) + mark, tex(track), tex(formatting.number(row.estimate, percent=percent)),
                tex(formatting.span(row.low, row.high, percent=percent)), tex(formatting.rank_words(rank)),
                _difference(behind, percent) if behind else "--",
            )  # fmt: skip
            lines.append("    " + " & ".join(cells) + r" \\" + "\n")
    notes = (
        "; \\textsuperscript{i} predictions made elsewhere"
        if any("textsuperscript" in x for x in lines)
        else ""
    )
    level = tex(formatting.level_words(comparison.plan.level))
    joint = f" Last column: less the first of the track, with the simultaneous {level} interval of all pairs of the track."
    return (
        f"\n\\begin{{table}}[t]\n  \\centering\n  \\small\n  \\caption{{{_caption(comparison, subject)}{joint if '[' in ''.join(lines) else ''}{notes}}}\n"
        f"  \\label{{tab:{_label(comparison, subject)}}}\n  \\begin{{tabular}}{{llrlll}}\n    \\toprule\n"
        f"    system & track & {tex(formatting.subject_title(subject))} & {level} interval & rank & less the first \\\\\n    \\midrule\n{''.join(lines)}"
        "    \\bottomrule\n  \\end{tabular}\n\\end{table}\n"
    )


def latex_pairs(comparisons: Sequence[TaskComparison]) -> str:
    """One ``longtable`` per comparison and subject: every tested pair with its simultaneous interval, adjusted p and verdict."""
    return TEX_HEAD + "".join(
        made for c in comparisons for s in c.subjects if (made := latex_pair_table(c, s))
    )


def latex_pair_table(comparison: TaskComparison, subject: Subject) -> str:
    """The tested pairs of one task in one metric, family by family; blank where nothing was tested.

    Of a track with more than :data:`SYSTEMS_IN_FULL` systems the pairs of its first stand there, and a comment says where all are.
    """
    percent = formatting.is_percent(subject)
    lines: list[str] = []
    for title, pairs, left_out in _families(comparison, subject):
        lines.append(f"  \\midrule\n  \\multicolumn{{4}}{{l}}{{\\emph{{{tex(title)}}}}} \\\\\n")
        lines += [
            f"  {tex(p.system_a)} less {tex(p.system_b)} & {_difference(p, percent)} & {tex(formatting.p_value(p.p_adjusted))} & {tex(formatting.verdict_words(p))} \\\\\n"
            for p in pairs
        ]
        if left_out:
            lines.append(f"  % {left_out} more pairs of this track: pairs.csv, pairs.parquet\n")
    if not lines:
        return ""
    level = tex(formatting.level_words(comparison.plan.level))
    unit = (
        f"points of {formatting.METRIC_TITLES[subject.metric]}"
        if percent
        else tex(formatting.subject_title(subject))
    )
    caption = f"{_caption(comparison, subject)} Differences in {unit} with the simultaneous {level} interval and p of their family, which decide."
    return (
        f"\n\\begin{{longtable}}{{llrl}}\n  \\caption{{{caption}}}\n  \\label{{tab:pairs-{_label(comparison, subject)}}} \\\\\n  \\toprule\n"
        f"  pair & difference [{level}] & adjusted p & verdict on the first \\\\\n  \\endfirsthead\n  \\toprule\n"
        f"  pair & difference [{level}] & adjusted p & verdict on the first \\\\\n  \\endhead\n{''.join(lines)}  \\bottomrule\n\\end{{longtable}}\n"
    )


def _families(comparison: TaskComparison, subject: Subject) -> Iterator[tuple[str, list[PairResult], int]]:
    """Families that were tested: title, the pairs to be shown, how many more there are."""
    for track in comparison.tracks:
        pairs = comparison.within(subject, track)
        members = comparison.members(subject, track)
        if not pairs:
            continue
        shown = pairs
        if len(members) > SYSTEMS_IN_FULL:
            shown = list(comparison.against(subject, track, members[0].system).values())
        yield formatting.TRACK_TITLES.get(track, track), shown, len(pairs) - len(shown)
    if across := comparison.across(subject):
        yield "Across tracks, as planned", across, 0


def _difference(p: PairResult, percent: bool) -> str:
    """A difference with its simultaneous interval in brackets."""
    low, high = (
        tex(formatting.number(x, percent=percent, signed=True))
        for x in (p.simultaneous_low, p.simultaneous_high)
    )
    return f"{tex(formatting.number(p.difference, percent=percent, signed=True))} [{low}, {high}]"


def _label(comparison: TaskComparison, subject: Subject) -> str:
    """What a paper refers to the table by."""
    parts = (
        comparison.task,
        comparison.protocol,
        comparison.condition,
        subject.view,
        subject.metric,
        subject.dimension or "",
    )
    return re.sub(r"[^A-Za-z0-9]+", "-", " ".join(parts)).strip("-")


def _caption(comparison: TaskComparison, subject: Subject) -> str:
    setting = f"{comparison.task}, {comparison.protocol}, {comparison.condition}"
    words = [b.word for b in caution_badges(comparison.facts) if b.grave]
    beware = f" Beware: {tex(', '.join(words))}." if words else ""
    return f"{tex(setting)}. {tex(formatting.board_caption(comparison, subject))}{beware}"
