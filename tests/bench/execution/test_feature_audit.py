"""A user asks why features are computed again, whether the store is whole, and what can go."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.audio.decoding import pcm_hash
from bench.cli.app import app
from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.prepared import find_corpora
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.features.store import FeatureStore
from tests.bench.features.test_attentive_probe import CARD, ENCODER, MATRIX
from tests.conftest import write_tone_corpus


def ask(*words: str, code: int = 0) -> dict[str, object]:
    done = CliRunner().invoke(app, ["features", *words, "--json"])
    assert done.exit_code == code, done.output
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a frozen encoder under two probes, on one of two corpora, and its cache; tests get copies."""
    folder = tmp_path_factory.mktemp("audited")
    write_tone_corpus(folder / "data" / "tones")
    (folder / "counting_encoder.py").write_text(ENCODER)
    (folder / "counting.yaml").write_text(CARD.format(log=folder / "heard.txt"))
    (folder / "passes.yaml").write_text(MATRIX)
    settings = RunSettings(
        str(folder / "passes.yaml"), data=(folder / "data",), out=folder / "run", workers=1
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERBENCH_CACHE", str(folder / "cache"))
        patch.delenv("SERBENCH_DATA", raising=False)
        patch.setenv("PYTHONPATH", str(folder), prepend=":")
        patch.syspath_prepend(str(folder))
        assert run_matrix(settings, Reporter()).failed == ()
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run with its cache, which a test may damage; the encoder's log is that of all copies."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tones,) = find_corpora([tmp_path / "data"])[0]
    decode_missing(open_table(tones, cache))  # what was decoded is known by the folder that it lies in
    return tmp_path


def test_why_names_what_the_key_is_made_of_and_what_differs_from_what_is_stored(
    place: Path, finished: Path
) -> None:
    card, data = f"{place / 'counting.yaml'}:superb", ("--data", str(place / "data"))
    there = ask("why", card, "tones.ms", *data)
    assert there["verdict"] == "all 36 clips are stored under this key"
    identity = there["identity"]
    assert isinstance(identity, dict)
    assert identity["encoder"] == "counting_encoder:Counting"
    assert identity["params"] == {"log": str(finished / "heard.txt")}
    assert "torch" in identity["versions"]

    changed = ask("why", card, *data, "--set", "counting-superb:log=elsewhere.txt")
    assert changed["key"] != there["key"]
    assert "0 of 36 clips are stored under this key" in str(changed["verdict"])
    nearest = changed["others"][0]  # type: ignore[index]
    assert nearest["key"] == there["key"]
    assert nearest["differs"] == {
        "params.log": {"stored": str(finished / "heard.txt"), "wanted": "elsewhere.txt"}
    }

    (place / "counting_encoder.py").write_text(ENCODER + "\n# a change\n")
    from bench.storage.source_code import closure_hash

    closure_hash.cache_clear()
    edited = ask("why", card, *data)
    assert list(edited["others"][0]["differs"]) == ["source"]  # type: ignore[index]
    closure_hash.cache_clear()


def test_why_counts_what_was_never_decoded_and_what_reads_no_features(place: Path, cache: Path) -> None:
    write_tone_corpus(place / "data" / "others", speakers=3)
    card = f"{place / 'counting.yaml'}:superb"
    found = ask("why", card, "others.ms", "--data", str(place / "data"))
    assert found["verdict"] == "0 of 18 clips are stored under this key; 18 never decoded here"
    # Decoded since: they sound as the clips of tones do, but for a file without audio, which nobody waits for.
    others = place / "data" / "others"
    next(others.rglob("*.wav")).write_bytes(b"no audio")
    (corpus,) = (c for c in find_corpora([place / "data"])[0] if c.folder == others)
    decode_missing(open_table(corpus, cache))
    found = ask("why", card, "others.ms", "--data", str(place / "data"))
    assert found["verdict"] == "all 17 clips are stored under this key"
    assert "reads no stored features" in str(ask("why", "majority")["verdict"])
    done = CliRunner().invoke(app, ["features", "why", card, "tones.en", "--data", str(place / "data")])
    assert "no task 'tones.en' at hand; did you mean 'tones.ms'" in str(done.exception) + done.output


def test_verify_finds_the_damaged_shard_and_gc_removes_it_alone(place: Path, cache: Path) -> None:
    store = FeatureStore(cache / "features")
    assert ask("verify")["damaged"] == []
    cards = [x for mode in ("superb", "attentive") for x in ("--card", f"{place / 'counting.yaml'}:{mode}")]
    assert ask("gc", *cards)["found"] == []

    path = store.shards(store.stored_keys()[0])[0]
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(bytes(data))
    damaged = ask("verify", code=1)["damaged"]
    assert [d["path"] for d in damaged] == [str(path)]  # type: ignore[attr-defined]
    assert "checksum" in damaged[0]["fault"]  # type: ignore[index]

    leftover = path.with_name(f".{path.name}.abc.tmp")
    leftover.write_bytes(b"half")
    assert [f["reason"] for f in ask("gc", *cards)["found"]] == ["damaged"], "somebody may still write"  # type: ignore[attr-defined]
    os.utime(leftover, (time.time() - 7200, time.time() - 7200))
    found = ask("gc", *cards, "--delete")["found"]
    assert sorted(f["reason"] for f in found) == ["damaged", "left by a writer that was killed"]  # type: ignore[attr-defined]
    assert not path.exists()
    assert not leftover.exists()
    assert len(store.stored_keys()) == 2


def test_gc_lists_first_and_deletes_only_what_no_card_reaches(place: Path, cache: Path) -> None:
    store = FeatureStore(cache / "features")
    card = f"{place / 'counting.yaml'}:superb"
    listed = ask("gc", "--card", card)
    assert [f["reason"] for f in listed["found"]] == ["no card reaches it"]  # type: ignore[attr-defined]
    assert listed["found"][0]["identity"]["every"] == 2  # type: ignore[index]
    assert len(store.stored_keys()) == 2, "a listing removes nothing"
    ask("gc", "--card", card, "--delete")
    (kept,) = store.stored_keys()
    assert kept == ask("why", card)["key"]


def test_gc_spares_features_of_weights_that_are_not_at_hand(
    place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERBENCH_WEIGHTS", raising=False)
    store = FeatureStore(cache / "features")
    identity = {
        "encoder": "adapters.transformers_encoder:TransformersEncoder",
        "params": {"input": "own"},
        "weights": "a copy on a disk that is not mounted",
        "pooled": True,
    }
    store.remember("0" * 32, identity)
    found = ask("gc")["found"]
    assert "0" * 32 not in [f["key"] for f in found]  # type: ignore[attr-defined]


def flip(path: Path, *, every: int = 1000) -> None:
    """Turn one bit round in each of so many samples of a decoded shard."""
    samples = np.fromfile(path, "<i2")
    samples[::every] ^= 1 << 9
    samples.tofile(path)


def test_samples_that_the_disk_changed_are_never_used(place: Path, cache: Path) -> None:
    settings = RunSettings(str(place / "passes.yaml"), data=(place / "data",), out=place / "again", workers=1)
    for key in FeatureStore(cache / "features").stored_keys():
        shutil.rmtree(cache / "features" / key)
    table = open_table(find_corpora([place / "data"])[0][0], cache)
    flip(table.shards[0].samples_path)
    clip = table.decoded()[0]
    assert clip.message is None
    failed = run_matrix(settings, Reporter()).failed
    assert failed
    assert all("are not those that were stored" in (row.error or "") for row in failed)
    assert not any(FeatureStore(cache / "features").stored_keys()), "nothing was encoded from them"
    assert run_matrix(settings, Reporter()).failed == (), "the same command again decodes anew"
    assert pcm_hash(open_table(table.corpus, cache).decoded()[0].read_pcm()) == clip.pcm_hash


def test_deep_verification_finds_features_of_damaged_samples(place: Path, cache: Path) -> None:
    card, data = f"{place / 'counting.yaml'}:superb", ("--data", str(place / "data"))
    (whole,) = ask("verify", "--deep", "--system", card, *data)["systems"]  # type: ignore[misc]
    assert (whole["compared"], whole["ok"], whole["differing"]) == (36, True, {})

    store, key = FeatureStore(cache / "features"), whole["key"]
    stored = store.reader(key)
    clips = open_table(find_corpora([place / "data"])[0][0], cache).decoded()
    arrays = {c.pcm_hash: stored[c.pcm_hash] * (1.5 if i == 3 else 1.0) for i, c in enumerate(clips)}
    shutil.rmtree(store.root / key)
    store.write(key, arrays, {})
    assert ask("verify")["damaged"] == [], "its checksum says nothing"
    (found,) = ask("verify", "--deep", "--system", card, *data, code=1)["systems"]  # type: ignore[misc]
    assert list(found["differing"]) == [clips[3].pcm_hash]
