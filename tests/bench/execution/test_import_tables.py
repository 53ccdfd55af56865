"""Honest tables of other programs: read where they can mean only one thing, else refused with what to write instead."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.errors import BenchError, DataError, UsageError
from bench.execution.imports import Imported, ReadingRules, import_table, read_rows
from bench.execution.imports.clip_names import ClipNames
from bench.execution.imports.columns import parse_columns, parse_labels
from bench.execution.imports.rows import NO_ANSWERS
from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import read_record
from tests.command import Command, command
from tests.conftest import write_tone_corpus

LABELS = ("angry", "happy", "sad")
CLIPS = [f"audio/s{s}_{label}.wav" for s, label in product(range(1, 7), ("angry", "sad", "happy"))]
FAILED = ReadingRules(missing="failed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The corpus that the shared tables are about, and a run on it."""
    from bench.execution.driver import run_matrix
    from bench.execution.prepared_run import RunSettings
    from bench.execution.progress import Reporter

    root = tmp_path_factory.mktemp("import")
    made = write_tone_corpus(root / "data/own5", labels=("angry", "sad", "happy"), clips=1, dimensions=True)
    rows = list(csv.DictReader((made / "metadata.csv").open()))
    for row, clip in zip(rows, CLIPS, strict=True):
        (made / row["file_name"]).rename(made / clip)
        row["file_name"] = clip
    with (made / "metadata.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (root / "small.yaml").write_text(
        "name: small\nsynthetic: never\nentries:\n  - systems: [majority]\nplan: {resamples: 1000, permutations: 1000}\n"
    )
    (root / "card.yaml").write_text(
        "name: my-service\nfamily: service\ntrack: released\ntraining_corpora: undisclosed\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERBENCH_CACHE", str(root / "cache"))
        patch.delenv("SERBENCH_DATA", raising=False)
        settings = RunSettings(str(root / "small.yaml"), data=(root / "data",), out=root / "run", workers=1)
        run_matrix(settings, Reporter())
        yield root


Read = Callable[..., Imported]


@pytest.fixture
def read(place: Path, tmp_path: Path) -> Read:
    """Import a table, given as a file or as text (its name tells the format), into a copy of the run."""
    run = shutil.copytree(place / "run", tmp_path / "run")

    def imported(
        table: Path | str | bytes, rules: ReadingRules | None = None, name: str = "said.csv"
    ) -> Imported:
        if not isinstance(table, Path):
            path = tmp_path / name
            path.write_bytes(table if isinstance(table, bytes) else table.encode())
            table = path
        return import_table(run, table, place / "card.yaml", data=[place / "data"], rules=rules)

    return imported


def ua(made: Imported) -> float:
    return next(
        s for s in made.record.scores if (s.metric, s.view, s.rows) == ("ua", "native", "all")
    ).estimate


SHARED_READ = {
    "ok": [], "bom": [],
    "dotslash": ["paths are written otherwise"], "backslash": ["paths are written otherwise"],
    "semi": ["its cells stand between semicolons"], "pandas-index": ["a column of row numbers"],
    "basename": ["named by a longer or shorter path that can mean only one clip each (18 times, first in line 2: 's1_angry.wav' is 'audio/s1_angry.wav')"],
    "abs": ["named by a longer or shorter path"],
    "probsonly": ["the most probable label is taken (18 times, first in line 2)"],
    "percent": ["probabilities sum to 100"], "rounded": ["sum to one but for rounding"],
    "argmax": [],
}  # fmt: skip
CONTRADICTED = ("argmax", "percent")


@pytest.mark.parametrize("name", SHARED_READ)
def test_a_shared_table_is_read(read: Read, shared_cases: Path, name: str) -> None:
    made = read(shared_cases / "import" / f"{name}.csv")
    assert made.rows == 18
    assert len(made.notes) == len(SHARED_READ[name])
    for said, part in zip(made.notes, SHARED_READ[name], strict=True):
        assert part in said
    assert len(made.warnings) == (name in CONTRADICTED)
    for said in made.warnings:
        assert "labels contradict their probabilities on 12 of 18 clips" in said
    assert ua(made) == pytest.approx(1 / 3 if name == "probsonly" else 1)


def test_the_shared_table_of_another_program_needs_to_be_told_its_columns(
    read: Read, shared_cases: Path
) -> None:
    table = shared_cases / "import/timedelta.csv"
    with pytest.raises(DataError, match=r"--columns file=clip_id,emotion=label"):
        read(table)
    made = read(table, ReadingRules(columns=parse_columns(["file=clip_id,emotion=label"])))
    assert ua(made) == 1
    assert [n.partition(":")[0] for n in made.notes] == [
        "the column 'start' is left out", "the column 'end' is left out",
    ]  # fmt: skip


SHARED_REFUSED = {
    "missing.csv": (r"1 of the 18 test clips of own5.ms have no row with seed 0, first 'audio/s6_happy.wav'.*--missing failed", FAILED),
    "None.csv": (r"line 2: label 'None' is no answer; leave the label blank .*--missing failed", FAILED),
    "nan.csv": (r"line 2: label 'nan' is no answer; leave the label blank", FAILED),
    "intlabel.csv": (r"line 2: '0' is a number.*--map-labels 0=angry,1=happy", ReadingRules(labels=parse_labels(["0=angry,1=sad", "2=happy"]))),
    "offered.csv": (r"line 2: 'excited' was not on offer in own5.ms.*--map-labels excited=LABEL", ReadingRules(labels={"excited": "angry"})),
    "extra-probs.csv": (r"line 2: 'other' is no emotion.*leave that column out|line 2: 'other' was not on offer.*leave that column out", None),
    "dup.csv": (r"line 20: 'audio/s1_angry.wav' is answered again with seed 0, first in .*line 2; keep one", None),
    "nan.jsonl": (r"line 1: valence must be a finite number, found 'nan'; leave the cell blank \(null in JSON\)", FAILED),
    "quoted.jsonl": (r"holds no row", None),
}  # fmt: skip


@pytest.mark.parametrize("name", SHARED_REFUSED)
def test_a_shared_table_is_refused_with_a_remedy_that_works(
    read: Read, shared_cases: Path, name: str
) -> None:
    said, remedy = SHARED_REFUSED[name]
    with pytest.raises(DataError, match=said) as caught:
        read(shared_cases / "import" / name)
    assert "\n" not in str(caught.value)
    if remedy is not None:
        made = read(shared_cases / "import" / name, remedy)
        failed = made.record.facts.statuses.get("failed", 0)
        assert failed == {"missing.csv": 1, "None.csv": 1, "nan.csv": 1}.get(name, 0)
        assert ua(made) == pytest.approx(1 - failed / 18)


def test_a_shared_card_with_a_name_that_is_none(place: Path, shared_cases: Path) -> None:
    folder = shared_cases / "import"
    with pytest.raises(UsageError, match=r"c2.yaml, line 1: name: .*'my-service@1'") as caught:
        import_table(place / "run", folder / "ok.csv", folder / "c2.yaml", data=[place / "data"])
    assert "pattern" not in str(caught.value)


def table(*, separator: str = ",", head: str = "clip_id,label", clip: str = "{clip}", more: str = "") -> str:
    """Right answers, written in some way: ``{clip}``, ``{name}``, ``{stem}``, ``{label}``, ``{i}`` stand for what they say."""
    lines = [head]
    for i, c in enumerate(CLIPS):
        name = c.rpartition("/")[2]
        stem = name.removesuffix(".wav")
        lines.append((clip + "," + (more or "{label}")).format(clip=c, name=name, stem=stem, label=stem.partition("_")[2], i=i))  # fmt: skip
    return "".join(line.replace(",", separator) + "\n" for line in lines)


WAYS: dict[str, tuple[str | bytes, str, str]] = {
    "tabs": (table(separator="\t"), "said.tsv", ""),
    "tabs under the wrong name": (table(separator="\t"), "said.csv", "between tabs"),
    "strokes": (table(separator="|"), "said.txt", "between strokes"),
    "a line that tells the separator": ("sep=;\n" + table(separator=";"), "said.csv", "between semicolons"),
    "spaces around cells": (table(separator=" , "), "said.csv", ""),
    "a separator at each end": (table(head="clip_id,label,", more="{label},"), "said.csv", ""),
    "lines of separators alone": (table() + ",\n,\n", "said.csv", ""),
    "line ends of Windows": (table().replace("\n", "\r\n"), "said.csv", ""),
    "quotes around everything": ('"clip_id","label"\n' + "".join(f'"{c}","{c.rpartition("_")[2][:-4]}"\n' for c in CLIPS), "said.csv", ""),
    "capitals in the first line": (table(head="Clip ID,LABEL"), "said.csv", ""),
    "UTF-16 of Excel": (table(separator="\t").encode("utf-16"), "said.txt", "read as UTF-16"),
    "UTF-16 without a mark": (table().encode("utf-16-le"), "said.csv", "read as UTF-16"),
    "a mark and semicolons": (table(separator=";").encode("utf-8-sig"), "said.csv", "between semicolons"),
    "Windows letters": (table(head="clip_id,label,reply", more="{label},très élevé").encode("cp1252"), "said.csv", "not UTF-8 and is read as cp1252"),
    "Chinese letters": (table(head="clip_id,label,reply", more="{label},今天很高兴").encode("gb18030"), "said.csv", "not UTF-8 and is read as gb18030"),
    "row numbers with a name": (table(head="Unnamed: 0,clip_id,label", clip="{i},{clip}"), "said.csv", "row numbers"),
    "no ending": (table(clip="{stem}"), "said.csv", "another ending"),
    "another ending": (table(clip="wavs/{stem}.flac"), "said.csv", "another ending"),
    "another folder": (table(clip="/home/me/own5/wav/{name}"), "said.csv", "longer or shorter path"),
    "the path of another system": (table(clip="C:\\own5\\audio\\{name}"), "said.csv", "longer or shorter path"),
    "a path from above": (table(clip="../own5/audio/{name}"), "said.csv", "longer or shorter path"),
    "capital endings": (table(clip="AUDIO/{stem}.WAV"), "said.csv", "other capitals"),
    "synonyms": (table().replace("happy\n", "Happiness\n"), "said.csv", ""),
    "a JSON list": (json.dumps([{"clip_id": c, "label": c.rpartition("_")[2][:-4]} for c in CLIPS]), "said.json", ""),
    "a JSON list called jsonl": (json.dumps([{"clip_id": c, "label": c.rpartition("_")[2][:-4]} for c in CLIPS], indent=1), "said.jsonl", ""),
    "per cent signs": (table(head="clip_id,label,p_angry,p_happy,p_sad", more="{label},34 %,33%,33%"), "said.csv", "values with a per cent sign are divided by 100 (54 times"),
    "no chance for what was not offered": (table(head="clip_id,label,p_angry,p_happy,p_sad,p_bored", more="{label},0.4,0.3,0.3,0"), "said.csv", ""),
    "JSON lines called json": ("".join(json.dumps({"file_name": c, "label": c.rpartition("_")[2][:-4]}) + "\n" for c in CLIPS), "said.json", ""),
    "JSON lines with a mark": (b"\xef\xbb\xbf" + "".join(json.dumps({"clip_id": c, "label": c.rpartition("_")[2][:-4]}) + "\n" for c in CLIPS).encode(), "said.jsonl", ""),
    "decimal commas": (table(separator=";", head="clip_id,label,p_angry,p_happy,p_sad", more="{label},0#4,0#3,0#3").replace("#", ","), "said.csv", "between semicolons"),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_right_answers_are_right_however_they_are_written(read: Read, way: str) -> None:
    text, name, said = WAYS[way]
    made = read(text, name=name)
    assert ua(made) == 1
    assert any(said in note for note in made.notes) if said else made.notes == ()


def test_decimal_commas_are_told(read: Read) -> None:
    text, name, _ = WAYS["decimal commas"]
    made = read(text, name=name)
    assert "decimal commas are read as points (54 times, first in line 2)" in made.notes
    assert "labels contradict their probabilities on 12 of 18 clips" in made.warnings[0]


def shares(*rows: str, head: str = "p_angry,p_happy,p_sad", label: bool = False) -> str:
    """Probabilities, the same row for all but the first clips."""
    given = [*rows, *[rows[-1]] * (len(CLIPS) - len(rows))]
    lines = [f"{c},{'angry,' * label}{p}" for c, p in zip(CLIPS, given, strict=True)]
    return "\n".join([f"clip_id,{'label,' * label}{head}", *lines]) + "\n"


REFUSED: dict[str, tuple[str | bytes, str, str]] = {
    "a tie": (shares("0.4,0.4,0.2"), "said.csv", r"line 2: 'angry' and 'happy' are equally probable \(0.4\)"),
    "labels for some": (shares("0.4,0.4,0.2", label=True).replace("s1_sad.wav,angry", "s1_sad.wav,"), "said.csv", r"line 3: has probabilities and no label, where other rows have labels"),
    "per cent and shares": (shares("10,10,80", "0.1,0.1,0.8"), "said.csv", r"line 3: probabilities sum to 1, where rows before sum to 100"),
    "a class left out": (shares("0.1,0.1,0.5"), "said.csv", r"line 2: probabilities sum to 0.7, not to one"),
    "one digit does not excuse all": (shares("0.3,0.3,0.2"), "said.csv", r"line 2: probabilities sum to 0.8, not to one"),
    "logits": (shares("-1.5,2.0,0.5"), "said.csv", r"line 2: the probability of angry must lie in 0..1, found -1.5; scores before the softmax"),
    "probability NaN": (shares("nan,0.5,0.5"), "said.csv", r"the probability of angry must be a finite number, found 'nan'; leave the cell blank"),
    "columns called like labels": (shares("0.1,0.1,0.8", head="angry,happy,sad"), "said.csv", r"--columns angry=p_angry,happy=p_happy,sad=p_sad"),
    "no first line": ("\n".join(f"{c},angry" for c in CLIPS), "said.csv", r"names no clip|unknown column"),
    "a spreadsheet called csv": (b"PK\x03\x04rest", "said.csv", r"is a spreadsheet or another packed file"),
    "Parquet called csv": (b"PAR1rest", "said.csv", r"is Parquet: let its name end in .parquet"),
    "packed": (b"\x1f\x8brest", "said.csv", r"is packed with gzip"),
    "a web page": (b"<!DOCTYPE html><html>", "said.csv", r"is an HTML page"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid", "said.csv", r"is a Git LFS pointer"),
    "no row": (b"clip_id,label\n", "said.csv", "holds no row"),
    "nothing": (b"", "said.csv", "holds no row"),
    "nothing answered": ("\n".join(["clip_id,label", *(f"{c}," for c in CLIPS)]), "said.csv", "answers nothing"),
    "too many cells": (table().replace("angry\n", "angry,x\n"), "said.csv", r"line 2: expected 2 cells, as the first line has, found 3"),
    "a column twice": (table(head="clip_id,label,Label", more="{label},{label}"), "said.csv", "a column stands twice"),
    "clip and file name": (table(head="clip_id,file_name,label", clip="{clip},{clip}"), "said.csv", "two columns are read as 'clip_id'"),
    "float numbers": (table(more="{i}.0"), "said.csv", r"line 2: '0.0' is a number, and which emotion"),
    "one clip under two names": (table() + "s1_angry.wav,sad\n", "said.csv", r"line 20: 's1_angry.wav' is answered again"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_mean_several_things_is_refused(read: Read, kind: str) -> None:
    text, name, said = REFUSED[kind]
    with pytest.raises(DataError, match=said) as caught:
        read(text, name=name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", sorted(NO_ANSWERS))
def test_a_word_for_nothing_is_no_label_and_fails_where_that_is_said(tmp_path: Path, word: str) -> None:
    path = tmp_path / "said.csv"
    path.write_text(table().replace("s3_sad.wav,sad", f"s3_sad.wav,{word.upper()}"))
    with pytest.raises(DataError, match=r"line 9: label .* is no answer"):
        list(read_rows(path))
    statuses = Counter(row.status for row in read_rows(path, rules=FAILED))
    assert statuses == {"ok": 17, "failed": 1}


def test_labels_are_mapped_and_probabilities_with_them(read: Read) -> None:
    rules = ReadingRules(labels=parse_labels(["0=angry,1=happy,2=sad", "9=refused"]))
    codes = {"angry": 0, "happy": 1, "sad": 2}
    rows = [{"clip_id": c, "label": float(codes[c.rpartition("_")[2][:-4]])} for c in CLIPS]
    stream = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    assert ua(read(stream.getvalue().to_pybytes(), rules, "said.parquet")) == 1
    made = read(shares("0.1,0.1,0.8", head="p_0,p_1,p_2"), rules)
    assert made.record.facts.statuses == {"ok": 18}
    refused = table().replace("s1_angry.wav,angry", "s1_angry.wav,9")
    assert read(refused, rules).record.facts.statuses == {"ok": 17, "refused": 1}
    merged = ReadingRules(labels=parse_labels(["joy=happy"]))
    text = shares("0.1,0.4,0.1,0.4", head="p_angry,p_happy,p_sad,p_joy")
    assert ua(read(text, merged)) == pytest.approx(1 / 3)


def test_what_is_said_of_a_table_is_part_of_what_was_answered(read: Read) -> None:
    codes = table().replace("angry\n", "0\n").replace("happy\n", "1\n").replace("sad\n", "2\n")
    one = read(codes, ReadingRules(labels={"0": "angry", "1": "happy", "2": "sad"}))
    other = read(codes, ReadingRules(labels={"0": "angry", "1": "sad", "2": "happy"}))
    assert (ua(one), ua(other)) == (1, pytest.approx(1 / 3))
    assert one.record.facts.system_identity != other.record.facts.system_identity


@pytest.mark.parametrize(
    ("parse", "given", "said"),
    [
        (parse_columns, "clip_id=file", "write the table's own name first: file=clip_id"),
        (parse_columns, "file=clip", "there is no column 'clip' here; did you mean 'clip_id'"),
        (parse_columns, "file", "expected pairs"),
        (parse_columns, "a=label,b=label", "two columns are to be 'label'"),
        (parse_labels, "0", "expected pairs, like --map-labels 0=angry"),
        (parse_labels, "0=", "expected pairs"),
        (parse_labels, "0=ok", "name a label, or why there is none"),
        (parse_labels, "0=sad,0=happy", "'0' is said to mean 'sad' and 'happy'"),
    ],
)
def test_options_with_a_slip(parse: Callable[[list[str]], object], given: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse([given])


def test_a_name_that_may_be_two_clips_is_refused() -> None:
    names = ClipNames(["a/x.wav", "b/x.wav", "b/y.wav", "b/y.flac"])
    assert names.find("b/x.mp3")[0] == "b/x.wav"
    assert names.find("y.flac")[0] == "b/y.flac"
    for name in ("x.wav", "c/x.wav", "x", "y.mp3"):
        with pytest.raises(DataError, match="may be"):
            names.find(name)
    for name in ("z.wav", "", ".wav", "..", "xx.wav", "\udc80", "a"):
        assert names.find(name)[0] is None


def dimensional(columns: str = "valence,arousal,dominance", values: str = "0.2,0.8,0.5") -> str:
    varied = [values.replace("0.2", f"{0.1 + 0.04 * i:.2f}") for i in range(len(CLIPS))]
    return "\n".join([f"clip_id,{columns}", *(f"{c},{v}" for c, v in zip(CLIPS, varied, strict=True))])


def kinds(scores: tuple[ScoreRow, ...]) -> set[str]:
    return {s.metric for s in scores}


def test_dimensions_alone_give_no_categorical_score(read: Read, place: Path, tmp_path: Path) -> None:
    made = read(dimensional())
    assert kinds(made.record.scores) >= {"ccc", "rmse"}
    assert not kinds(made.record.scores) & {"ua", "wa", "macro_f1", "ece", "brier"}
    assert made.record.facts.statuses == {"ok": 18}
    again = read_record(made.path)
    assert [s.as_json() for s in again.scores] == [s.as_json() for s in made.record.scores]
    with pytest.raises(DataError, match=r"line 2: valence must lie in 0..1, found 3.5"):
        read("clip_id,valence\n" + "".join(f"{c},3.5\n" for c in CLIPS))


def test_a_system_that_fails_on_all_clips_is_wrong_on_all(read: Read) -> None:
    text = "clip_id,status\n" + "".join(f"{c},refused\n" for c in CLIPS)
    made = read(text)
    assert ua(made) == 0
    assert any("coverage 0.000" in o for o in made.record.facts.obstacles)


@pytest.fixture
def serbench(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    monkeypatch.setenv("SERBENCH_DATA", str(place / "data"))
    monkeypatch.chdir(tmp_path)
    return command(monkeypatch, capsys)


@pytest.mark.parametrize("protocol", ["zero-shot", "within"])
def test_the_template_is_filled_and_imported(
    serbench: Command, place: Path, tmp_path: Path, protocol: str
) -> None:
    run = shutil.copytree(place / "run", tmp_path / "run")
    done = serbench("import", "--template", "own5.ms", "--protocol", protocol)
    assert done.code == 0, done.err
    assert "18 test clips of own5.ms" in done.out
    with (tmp_path / "own5.ms.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [r["clip_id"] for r in rows] == CLIPS
    assert list(rows[0]) == [
        "clip_id", *(["fold"] if protocol == "within" else []), "label", "p_happy", "p_sad", "p_angry",
        "valence", "arousal", "dominance", "status",
    ]  # fmt: skip
    card = tmp_path / "card.yaml"
    track = "adapted" if protocol == "within" else "released"
    card.write_text(f"name: mine\nfamily: service\ntrack: {track}\n")
    blank = serbench("import", run, "own5.ms.csv", "--system", card)
    assert "answers nothing" in blank.sentence
    for row in rows:
        row["label"] = row["clip_id"].rpartition("_")[2][:-4]
    with (tmp_path / "own5.ms.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    filled = serbench("import", run, "own5.ms.csv", "--system", card, "--json")
    assert filled.code == 0, filled.err
    assert filled.json["scores"][0]["protocol"] == protocol
    assert "is there already" in serbench("import", "--template", "own5.ms").sentence


def test_the_template_can_be_printed(serbench: Command) -> None:
    done = serbench("import", "--template", "own5.ms", "--out", "-")
    assert len(list(csv.reader(io.StringIO(done.out)))) == 19
    assert "no corpus 'own6'" in serbench("import", "--template", "own6.ms").sentence
    assert "serbench import RUN TABLE --system CARD" in serbench("import").sentence


def test_the_command_says_its_notes_and_warnings(serbench: Command, place: Path, tmp_path: Path) -> None:
    run = shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "t.csv").write_text(shares("0.1,0.1,0.8", label=True).replace(",", ";"))
    done = serbench("import", run, "t.csv", "--system", place / "card.yaml")
    assert done.code == 0, done.err
    assert "note: its cells stand between semicolons" in done.out
    assert "warning: labels contradict their probabilities on 18 of 18 clips" in done.out
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    refused = serbench("import", run, "t.xlsx", "--system", place / "card.yaml")
    assert refused.code == 2
    assert "tables are read from .csv, .tsv" in refused.sentence


@pytest.mark.parametrize("text", ["sep=;", "sep=;\n", ",\n", "\n\n", "clip_id", ",,,\n,,,", "|", "[]", "{}", "[1]", '{"clip_id": NaN}', "[" * 50])  # fmt: skip
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.json", "t.jsonl"])
def test_next_to_nothing_is_one_sentence(read: Read, text: str, name: str) -> None:
    with pytest.raises(BenchError) as caught:
        read(text, name=name)
    assert "\n" not in str(caught.value)
