"""Files travel to machines that share no file system, and back: by a folder, and by a real S3 server on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.corpora.decoded import open_table
from bench.corpora.prepared import open_corpus
from bench.errors import CannotRun, DamagedStore, UsageError
from bench.execution.executors.carriers import Carrier, Exchange
from bench.execution.executors.parcels import Mirror, Roots, files_of, mark, take_in
from bench.execution.jobs import DecodeJob
from bench.execution.prepared_run import RunSettings
from bench.execution.worker import Runner
from tests.conftest import write_tone_corpus
from tests.s3_server import s3_bucket


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket() as address:
        yield address


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "exchange")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def decode_job(folder: Path, cache: Path) -> DecodeJob:
    table = open_table(open_corpus("tones", [write_tone_corpus(folder / "tones")]), cache)
    return DecodeJob("tones", table.missing_shards()[0])


def travel(job: DecodeJob, mirror: Mirror, roots: Roots, carrier: Carrier) -> list[tuple[Path, object]]:
    """Do a job as another machine would that sees nothing of this one's files."""
    files = [(path, mark(path, roots)) for path in files_of(job)]
    mirror.receive([known for _, known in files], [carrier.send(path) for path, _ in files])
    mirror.begin()
    outcome = Runner().run(mirror.roots.unpack(roots.pack(job)), lambda done, total: None)
    assert outcome.error is None
    return list(take_in(mirror.made(), job, roots, carrier))


def test_a_job_is_done_where_none_of_the_drivers_files_are_seen(tmp_path: Path, address: str) -> None:
    job = decode_job(tmp_path / "data", tmp_path / "cache")
    roots = Roots([tmp_path / "run", tmp_path / "cache", Path("/")])
    carrier = Exchange(address)
    carrier.require()
    mirrors = [Mirror(tmp_path / f"node-{i}", carrier, tmp_path / "node-shared") for i in range(2)]
    came = travel(job, mirrors[0], roots, carrier)
    assert job.shard.samples_path in [path for path, _ in came]
    there = job.shard.samples_path.read_bytes()
    for path, reference in came:
        assert carrier.send(path) == reference, "what a node made is there for the others already"
    # Another worker of that machine links what is there: it comes once per machine, whatever has become of the address.
    if not address.startswith("s3:"):
        shutil.rmtree(address)
    job.shard.samples_path.unlink()
    travel(job, mirrors[1], roots, carrier)
    assert job.shard.samples_path.read_bytes() == there
    # And a file that is another one now comes anew.
    clip = files_of(job)[0]
    clip.write_bytes(clip.read_bytes() + b"more")
    travel(job, mirrors[1], roots, carrier)
    copies = [p for p in (tmp_path / "node-1" / "files").rglob(clip.name) if p.is_file()]
    assert [p.read_bytes() for p in copies] == [clip.read_bytes()]
    first = [p for p in (tmp_path / "node-0" / "files").rglob(clip.name) if p.is_file()]
    assert first[0].read_bytes() != clip.read_bytes(), "what another worker reads stays as it was"


def test_what_is_not_what_was_sent_is_never_used(tmp_path: Path, address: str) -> None:
    import fsspec

    carrier, file = Exchange(address), tmp_path / "weights.bin"
    file.write_bytes(b"a" * 100)
    name = carrier.send(file)
    with fsspec.open(f"{address}/{name[:2]}/{name}", "wb") as stream:
        stream.write(b"b" * 100)
    with pytest.raises(DamagedStore, match=r"is not what was sent there .*; delete it"):
        carrier.fetch(name, tmp_path / "copy.bin")
    with fsspec.open(f"{address}/{name[:2]}/{name}", "wb") as stream:
        stream.write(b"a" * 7)  # cut off, as a kill leaves it in a folder
    assert carrier.send(file) == name
    carrier.fetch(name, tmp_path / "copy.bin")
    assert (tmp_path / "copy.bin").read_bytes() == file.read_bytes()
    with pytest.raises(CannotRun, match="cannot be read"):
        carrier.fetch("0" * 32, tmp_path / "none.bin")


def test_an_address_that_does_not_serve_is_one_sentence(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        CannotRun, match=r"--exchange s3://no-such-bucket/x cannot be used \(.+\); it must exist"
    ):
        Exchange("s3://no-such-bucket/x").require()
    with pytest.raises(UsageError, match=r"expected an address such as s3://bucket/folder"):
        Exchange("nonsense://x").require()
    with pytest.raises(
        UsageError, match=r"what reaches gs:// is not installed: pip install gcsfs, here and on all nodes"
    ):
        Exchange("gs://x/y").require()
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotRun, match="cannot be used"):
        Exchange(str(tmp_path / "file")).require()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"exchange": "s3://bench/x"}, "--exchange s3://bench/x"),
        ({"ray_address": "here"}, "--ray-address here"),
        ({"shared_files": False}, "--no-shared-files"),
    ],
)
def test_what_only_a_cluster_has_is_for_ray(given: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=rf"{named} is for --executor ray"):
        RunSettings("m", **given)
    RunSettings("m", executor="ray", **given)
