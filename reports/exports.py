"""Scores for other programs and papers: CSV, JSON, Parquet, LaTeX tables, model-index YAML for model cards, BibTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cards.corpus import CorpusCard
from bench.cards.registry import corpus_cards
from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from bench.storage.atomic import replacing, write_text
from bench.storage.hashing import digest
from bench.storage.scrubbing import Scrubber
from reports import formatting
from reports.data.caution_badges import caution_badges
from reports.data.comparisons import TaskComparison
from reports.data.private_words import without_private_words

COLUMNS = (*(name for name in ScoreRow.model_fields if name not in ("notes", "population_lacking")), "corpus", "pool", "language", "contamination", "imported", "code_version", "matrix_hash")  # fmt: skip
PAIR_COLUMNS = (
    "task", "protocol", "training", "condition", "track_a", "track_b", "system_a", "system_b", "view", "metric", "dimension",
    "difference", "simultaneous_low", "simultaneous_high", "low", "high", "level", "p_value", "p_holm", "p_adjusted", "smallest_p",
    "verdict", "decided_by", "margin", "equivalence_low", "equivalence_high", "family", "family_size", "clusters", "unit",
)  # fmt: skip
FACTS = ("corpus", "pool", "language", "contamination", "code_version", "matrix_hash")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TEX = {
    "\\": r"\textbackslash{}", "{": r"\textbraceleft{}", "}": r"\textbraceright{}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "–": "--", "—": "---", "−": r"\ensuremath{-}", "’": "'",
}  # fmt: skip
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
TEX_HEAD = "% Made by ser-bench; needs \\usepackage[T1]{fontenc}, \\usepackage[utf8]{inputenc} and \\usepackage{booktabs}.\n"


def write_exports(records: Sequence[Record], comparisons: Sequence[TaskComparison], out: Path) -> list[Path]:
    """Write every form into ``out``; on one machine the same records give the same bytes.

    ``scores.csv``, ``scores.json``, ``scores.parquet`` (one row per score of every record), ``tables.tex`` (one table per comparison
    and subject, with intervals and rank intervals), ``pairs.csv`` (one row per tested pair, with the simultaneous interval that
    decides), ``corpora.bib``, ``model-index/<system>.yaml``.

    Args:
        records: what is written out.
        comparisons: the same records, compared: what the tables show.
        out: a folder, made where it is missing.

    Returns:
        The files, the folder's first.

    Raises:
        BenchError: ``out`` cannot be written.
    """
    words = Scrubber.of_this_machine()
    records = without_private_words(records, words)
    rows = [words.json(row) for row in score_rows(records)]
    paths = [
        out / name
        for name in ("scores.csv", "scores.json", "scores.parquet", "tables.tex", "pairs.csv", "corpora.bib")
    ]
    write_text(paths[0], csv_text(rows))
    write_text(
        paths[1],
        "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows) + "\n]\n",
    )
    _write_parquet(paths[2], rows)
    write_text(paths[3], words.page(latex_tables(comparisons)))
    write_text(paths[4], words.page(csv_text(pair_rows(comparisons), PAIR_COLUMNS)))
    write_text(paths[5], words.page(bibtex(records)))
    for system in sorted({r.system for r in records}):
        plain = re.sub(r"[^A-Za-z0-9._+-]", "_", system)[:100]
        if plain != system:
            plain += f"-{digest(system, length=4)}"
        own = [r for r in records if r.system == system]
        path = out / "model-index" / f"{plain}.yaml"
        if text := model_index(system, own):
            write_text(path, words.page(text))
            paths.append(path)
    return paths


def score_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row per score of every record, with what tells records apart."""
    rows = []
    for record in records:
        shared = {name: getattr(record.facts, name) for name in FACTS}
        for score in record.scores:
            row = {**score.as_json(), **shared, "imported": record.facts.imported is not None}
            rows.append({name: row.get(name) for name in COLUMNS})
    return rows


def pair_rows(comparisons: Iterable[TaskComparison]) -> list[dict[str, Any]]:
    """One row per pair of a track that was tested, in every subject of its comparison."""
    return [
        p.as_json()
        for comparison in comparisons
        for subject in comparison.subjects
        for track in comparison.tracks
        for p in comparison.within(subject, track)
    ]


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> str:
    """Write rows as CSV; text that a spreadsheet would run as a formula gets an apostrophe in front."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        text = _UNSEEN.sub(" ", value)
        return f"'{text}" if value.startswith(_FORMULA) else text
    return value


def _write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"estimate low high seed_low seed_high fold_mean by_speaker by_speaker_low by_speaker_high population_low population_high coverage": pa.float64(), "clips speakers clusters seeds": pa.int64(), "imported": pa.bool_()}  # fmt: skip
    types = {name: kind for names, kind in kinds.items() for name in names.split()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary, compression="zstd")


def tex(text: str) -> str:
    r"""Escape text for LaTeX and BibTeX, whose braces must pair; characters that reorder or hide text become blanks.

    >>> tex("50 % of_all")
    '50 \\% of\\_all'
    """
    return "".join(_TEX.get(c, c) for c in _UNSEEN.sub(" ", text))


def latex_tables(comparisons: Sequence[TaskComparison]) -> str:
    """One ``table`` per comparison and subject: systems by track, score, interval, rank interval."""
    return TEX_HEAD + "".join(latex_table(c, s) for c in comparisons for s in c.subjects)


def latex_table(comparison: TaskComparison, subject: Subject) -> str:
    """A table of one task in one metric, best first within each track."""
    percent = formatting.is_percent(subject)
    lines = []
    for track in comparison.tracks:
        for record in comparison.members(subject, track):
            row = subject.row(record)
            if row is None:
                continue
            rank = comparison.rank(subject, track, record.system) if track != "reference" else None
            mark = r"\,\textsuperscript{i}" if record.facts.imported else ""
            cells = (
                tex(record.system) + mark, tex(track), tex(formatting.number(row.estimate, percent=percent)),
                tex(formatting.span(row.low, row.high, percent=percent)), tex(formatting.rank_words(rank)),
            )  # fmt: skip
            lines.append("    " + " & ".join(cells) + r" \\" + "\n")
    label = re.sub(r"[^A-Za-z0-9]+", "-", f"{comparison.task} {comparison.protocol} {comparison.condition} {subject.view} {subject.metric} {subject.dimension or ''}").strip("-")  # fmt: skip
    notes = (
        "; \\textsuperscript{i} predictions made elsewhere"
        if any("textsuperscript" in x for x in lines)
        else ""
    )
    setting = f"{comparison.task}, {comparison.protocol}, {comparison.condition}"
    words = [b.word for b in caution_badges(comparison.facts) if b.grave]
    beware = f" Beware: {tex(', '.join(words))}." if words else ""
    caption = f"{tex(setting)}. {tex(formatting.board_caption(comparison, subject))}{beware}{notes}"
    level = tex(formatting.level_words(comparison.plan.level))
    return (
        f"\n\\begin{{table}}[t]\n  \\centering\n  \\caption{{{caption}}}\n  \\label{{tab:{label}}}\n  \\begin{{tabular}}{{llrll}}\n    \\toprule\n"
        f"    system & track & {tex(formatting.subject_title(subject))} & {level} interval & rank \\\\\n    \\midrule\n{''.join(lines)}"
        "    \\bottomrule\n  \\end{tabular}\n\\end{table}\n"
    )


def model_index(system: str, records: Sequence[Record]) -> str:
    """The ``model-index`` of a Hugging Face model card: the primary view's scores of a system, one result per task.

    Blank where the system has no score in them.
    """
    import yaml
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results = []
    for record in sorted(records, key=lambda r: (r.task, r.regime, r.facts.condition)):
        facts = record.facts
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
                    dataset_name=facts.corpus_card.title or facts.corpus,
                    dataset_config=facts.task,
                    dataset_split=f"{record.regime}, {facts.condition}, {facts.folds} folds",
                    metric_type=s.metric,
                    metric_name=f"{name} ({s.view})",
                    metric_value=s.estimate,
                    metric_args={"interval": [s.low, s.high], "level": facts.plan.level, "speakers": s.speakers, "coverage": s.coverage},
                )
            )  # fmt: skip
    if not results:
        return ""
    # The hub's own writer of YAML is ten times slower, which counts on a board of thousands of records.
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    index = {"model-index": eval_results_to_model_index(system, results)}
    return str(yaml.dump(index, Dumper=dumper, sort_keys=False, allow_unicode=True))


def bibtex(records: Iterable[Record]) -> str:
    """An entry for every corpus that was tested on or learnt from, as far as its card cites it."""
    cards: dict[str, CorpusCard] = {}
    shipped = corpus_cards()
    for record in records:
        cards.setdefault(record.facts.corpus, record.facts.corpus_card)
        for source in record.facts.sources:
            name = source.task.rpartition(".")[0]
            if name in shipped:
                cards.setdefault(name, shipped[name])
    return "".join(_entry(name, card) for name, card in sorted(cards.items()))


def _entry(name: str, card: CorpusCard) -> str:
    citation, source = card.citation, card.source
    fields_ = {"title": card.title or name, "note": citation}
    if year := re.search(r"\b(19|20)\d\d\b", citation):
        fields_["year"] = year[0]
    if doi := re.search(r"\b10\.\d{4,9}/[^\s,;]+", citation):
        fields_["doi"] = doi[0]
    if address := re.match(r"https://[^\s\"'{}\\]+", source):
        fields_["url"] = address[0]
    fields_["howpublished"] = f"Licence: {card.licence or 'unknown'}"
    key = re.sub(r"[^A-Za-z0-9.:+-]", "-", name)
    body = "".join(f"  {k} = {{{tex(v)}}},\n" for k, v in fields_.items() if v)
    return f"@misc{{{key},\n{body}}}\n\n"


def results_table(records: Sequence[Record]) -> str:
    """Return one row per system and one column per task: UA in the native view with its interval, in percent.

    Systems stand by track, then by name: no ranks.
    """
    tasks = sorted({r.task for r in records})
    order = {"reference": 0, "released": 1, "probed": 2, "adapted": 3}
    systems = sorted({(order[r.facts.track], r.facts.track, r.system) for r in records})
    cells = {(r.system, r.task): markdown_cell(r) for r in records}
    lines = [
        "| track | system | " + " | ".join(tasks) + " |",
        "|---|---|" + "---|" * len(tasks),
    ]
    for _, track, system in systems:
        lines.append(
            f"| {track} | `{system}` | " + " | ".join(cells.get((system, t), "") for t in tasks) + " |"
        )
    return "\n".join(lines) + "\n"


def native_ua(record: Record) -> ScoreRow | None:
    """Return the score that pages show: UA in the native view, an answer outside it wrong, over all clips."""
    wanted = ("ua", "native", "wrong", "all")
    return next(
        (row for row in record.scores if (row.metric, row.view, row.outside, row.rows) == wanted), None
    )


def markdown_cell(record: Record) -> str:
    """Write that score in percent, with its interval in brackets."""
    row = native_ua(record)
    if row is None:
        return "–"
    low, high = row.low, row.high
    interval = f" ({100 * low:.1f}–{100 * high:.1f})" if low is not None and high is not None else ""
    return f"{100 * row.estimate:.1f}{interval}"
