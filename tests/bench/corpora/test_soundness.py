"""A user's own messy folder: everybody who decodes it says the same, and near misses of its table are read or named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from bench.cards.corpus import CorpusCard
from bench.cards.typed_yaml import parse_typed
from bench.cli.app import app
from bench.corpora.draft_card import draft_card
from bench.corpora.metadata import Metadata, read_metadata
from bench.corpora.prepared import PreparedCorpus
from bench.corpora.soundness import last_examination
from bench.errors import DataError, UsageError
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.storage.file_kinds import LFS_POINTER
from bench.tasks import build_task
from bench.tasks.corpus_report import describe_corpus
from tests.bench.corpora.test_identities import opened
from tests.conftest import write_tone_corpus

CAUSES = (
    "divide by 32768", "its 2 channels cancel", "a Git LFS pointer", "an HTML page", "every sample is zero",
    "holds a constant", "lasts 7.00 s", "lasts 10 ms",
)  # fmt: skip


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """A folder made for the purpose: nine good clips and one of each fault."""
    folder = write_tone_corpus(tmp_path / "data" / "messy", speakers=6, clips=2)
    rng = np.random.default_rng(0)
    x = 0.2 * np.clip(rng.standard_normal(16_000), -3, 3) / 3
    bad = {
        "scale": x * 32768,
        "turned": np.stack([x, -x], 1),
        "zero": 0 * x,
        "dc": 0 * x + 0.4,
        "long": np.tile(x, 7),
        "tiny": x[:160],
    }
    rows = (folder / "metadata.csv").read_text(encoding="utf-8")
    for name, samples in bad.items():
        soundfile.write(folder / f"audio/{name}.wav", samples, 16_000, subtype="FLOAT")
    (folder / "audio/pointer.wav").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    (folder / "audio/page.wav").write_bytes(b"<!DOCTYPE html><html>404</html>")
    for name in (*bad, "pointer", "page", "nofile"):
        rows += f"./audio/{name}.wav,05,sad,ms\n"
    (folder / "metadata.csv").write_text(rows, encoding="utf-8")
    return folder


def test_describe_verify_and_a_run_say_the_same(messy: Path, cache: Path, tmp_path: Path) -> None:
    report = describe_corpus("messy", [messy.parent], cache)
    said = "\n".join(report.warnings)
    assert all(cause in said for cause in CAUSES), said
    assert "1 of 45 listed files are missing, first 'audio/nofile.wav'" in said
    assert report.unlisted == ()
    assert last_examination(messy, "messy", cache) == list(report.findings)

    verified = CliRunner().invoke(app, ["corpus", "verify", str(messy)])
    assert verified.exit_code == 1
    assert all(cause in verified.output for cause in CAUSES), verified.output

    notes: list[str] = []

    class Listening(Reporter):
        def note(self, text: str) -> None:
            notes.append(text)

    (tmp_path / "m.yaml").write_text(
        "name: m\nsynthetic: never\nentries: [{systems: [majority]}]\nplan: {resamples: 1000, permutations: 1000}\n"
    )
    settings = RunSettings(str(tmp_path / "m.yaml"), data=(messy.parent,), out=tmp_path / "run", workers=1)
    run_matrix(settings, Listening())
    heard = "\n".join(notes)
    assert all(cause in heard for cause in CAUSES), heard
    assert "listed files are missing" in heard
    warned = "\n".join(c.text for c in build_task(opened(messy, cache), "messy.ms", "within").warnings)
    assert "divide by 32768" in warned


def test_predict_points_out_what_is_wrong_with_a_file(messy: Path, cache: Path) -> None:
    files = [str(messy / f"audio/{n}.wav") for n in ("scale", "turned", "zero", "pointer", "s0-sad-0")]
    words = [
        "predict",
        "egemaps-linear",
        *files,
        "--trained-on",
        "messy.ms",
        "--data",
        str(messy.parent),
        "--json",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output  # one file cannot be heard
    rows = {Path(r["file"]).stem: r for r in json.loads(done.stdout)}
    assert "divide by 32768" in rows["scale"]["warnings"][0]
    assert "its 2 channels cancel" in rows["turned"]["warnings"][0]
    assert "every sample is zero" in rows["zero"]["warnings"][0]
    assert (rows["pointer"]["status"], rows["pointer"]["message"]) == (
        "undecodable",
        f"is {LFS_POINTER.sentence}",
    )
    assert rows["s0-sad-0"]["warnings"] == []


def read(folder: Path, text: str, **card: object) -> Metadata:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.csv").write_text(text, encoding="utf-8")
    return read_metadata(PreparedCorpus(CorpusCard(name="c", **card), folder))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "header",
    [
        "file_name,speaker,emotion,valence",
        "File Name,Speaker,Emotion,VALENCE",
        "file-name,SPEAKER,emotion,Valence",
    ],
)
def test_headers_and_delimiters_that_can_mean_one_thing_are_read(
    tmp_path: Path, delimiter: str, header: str
) -> None:
    row = '"./audio//x.wav",s1,sad,"3,5"' if delimiter == "," else "./audio//x.wav,s1,sad,3@5"
    text = f"{header}\n{row}\n"
    if delimiter != ",":
        text = text.replace(",", delimiter).replace("@", ",")
    found = read(tmp_path / "c", text, scale=(1, 5))
    assert (found.clip_ids, found.speakers, found.emotions) == (("audio/x.wav",), ("c/s1",), ("sad",))
    assert found.dimensions[0, 0] == pytest.approx(0.625)
    drafted = draft_card(tmp_path / "c").card
    assert (drafted.labels, drafted.scale) == ({"sad": "sad"}, (1, 5))


def test_near_names_are_offered_with_synonyms(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"did you mean 'glad' \(our 'happy'\)"):
        read(tmp_path / "c", "file_name,emotion\nx.wav,gladd\n")
    with pytest.raises(DataError, match=r"columns 'Speaker', 'SPEAKER' could all be 'speaker'"):
        read(tmp_path / "c", "file_name,emotion,Speaker,SPEAKER\nx.wav,sad,a,b\n")
    with pytest.raises(DataError, match="is a Git LFS pointer"):
        read(tmp_path / "c", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def test_a_corpus_may_have_classes_of_its_own(tone_corpus: Path, cache: Path) -> None:
    (tone_corpus / "card.yaml").write_text(
        "name: tones\nlanguages: [ms]\nclasses: [drawling, clipped]\nlabels: {happy: drawling, sad: clipped, angry: angry}\n"
    )
    task = build_task(opened(tone_corpus, cache), "tones.ms", "within")
    assert task.labels == ("angry", "clipped", "drawling")
    from bench import evaluate

    record = evaluate("egemaps-linear", task)
    assert {s.view for s in record.scores} >= {"native"}
    with pytest.raises(UsageError, match="stands under 'classes'"):
        parse_typed("name: c\nlabels: {x: slepy}\n", "c", CorpusCard)
    with pytest.raises(UsageError, match="in the label table already"):
        parse_typed("name: c\nclasses: [glad]\n", "c", CorpusCard)


def test_one_class_is_refused_with_the_remedy(tone_corpus: Path, cache: Path, tmp_path: Path) -> None:
    (tone_corpus / "card.yaml").write_text("name: tones\nlanguages: [ms]\nlabels: {happy: null, sad: null}\n")
    report = describe_corpus("tones", [tone_corpus.parent], cache)
    assert "all its labelled clips are 'angry'" in str(report.tasks[0].problem)
    (tmp_path / "m.yaml").write_text("name: m\nsynthetic: never\nentries: [{systems: [majority]}]\n")
    settings = RunSettings(
        str(tmp_path / "m.yaml"), data=(tone_corpus.parent,), out=tmp_path / "run", workers=1
    )
    with pytest.raises(DataError, match="fewer than two classes"):
        run_matrix(settings, Reporter())


def test_nothing_on_the_command_line_is_dropped_without_a_word(
    tone_corpus: Path, cache: Path, tmp_path: Path
) -> None:
    matrix = tmp_path / "m.yaml"
    matrix.write_text(
        "name: m\nsynthetic: never\nentries: [{systems: [majority, chance, egemaps-linear], tasks: ['tone*', 'emdb-*', 'synthetic.*']}]\n"
    )
    ask = [
        "run",
        str(matrix),
        "--data",
        str(tone_corpus.parent),
        "--out",
        str(tmp_path / "run"),
        "--dry-run",
        "--rows",
    ]
    done = CliRunner().invoke(app, [*ask, "--only", "system=majority", "--only", "system=chance"])
    assert done.exit_code == 0, done.output
    assert "'emdb-*' names no task at hand" in done.output
    assert "'synthetic.*'" not in done.output, "meant for when no corpus is at hand"
    assert "majority" in done.output
    assert "chance" in done.output
    twice = CliRunner().invoke(app, [*ask, "--set", "egemaps-linear:C=1", "--set", "egemaps-linear:C=2"])
    assert isinstance(twice.exception, UsageError)
    assert "given twice" in str(twice.exception)


def test_dotslash_is_the_same_everywhere(shared_cases: Path, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "csv-dotslash"
    shutil.copytree(shared_cases / "csv-dotslash", folder)
    done = CliRunner().invoke(app, ["corpus", "verify", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["unlisted"] == []
    assert all(c.startswith("audio/") for c in opened(folder, cache).metadata.clip_ids)


def test_the_shared_messy_folder(shared_cases: Path, cache: Path) -> None:
    said = "\n".join(describe_corpus(str(shared_cases / "own"), [], cache).warnings)
    assert "clipped at full scale on 99.9% of its samples" in said
    assert all(
        cause in said for cause in (*CAUSES[1:], "(1 sample)" if "(1 sample)" in said else "tiny1sample")
    ), said
    assert "not listed" not in said
