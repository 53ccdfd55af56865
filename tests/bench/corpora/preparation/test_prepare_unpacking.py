"""Archives: what is in them comes out, in the folder, under its name, and nothing else happens."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from bench.corpora.preparation.unpacking import Limits, unpack
from bench.errors import DataError
from tests.bench.corpora.preparation.sources import card, listed, rows_of, write_sound


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 2, 3, 4, 5, 6)), content, zipfile.ZIP_DEFLATED)
    return path


def tarred(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_names_of_any_script_come_out_with_their_times(tmp_path: Path) -> None:
    members = {"声音/高兴.txt": b"1", "a\\b.txt": b"2", "e\u0301.txt": b"3", "empty/": b""}
    unpack(zipped(tmp_path / "a.zip", members), tmp_path / "out")
    assert contents(tmp_path / "out") == {"声音/高兴.txt": b"1", "a/b.txt": b"2", "\u00e9.txt": b"3"}
    assert (tmp_path / "out/a/b.txt").stat().st_mtime == 1580702706  # 2020-02-03 04:05:06, taken as UTC


def test_utf8_names_that_do_not_say_so(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"AAAAAA.txt": b"1"})
    path.write_bytes(path.read_bytes().replace(b"AAAAAA", "喜悦".encode()))
    unpack(path, tmp_path / "out")
    assert contents(tmp_path / "out") == {"喜悦.txt": b"1"}


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:/evil.txt"]
)
def test_a_member_outside_the_folder_refuses_the_whole_archive(tmp_path: Path, name: str) -> None:
    for path in (
        zipped(tmp_path / "in/a.zip", {"good.txt": b"1", name: b"2"}),
        tarred(tmp_path / "in/a.tgz", member("good.txt", size=1), member(name, size=1)),
    ):
        with pytest.raises(DataError, match="would lie outside the folder; the archive is refused"):
            unpack(path, tmp_path / "work/out")
        assert not list(tmp_path.rglob("*.txt"))


def test_links_that_lead_out_refuse_the_archive_and_links_inside_are_followed(tmp_path: Path) -> None:
    for kind, aim in (
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "../../x"),
        (tarfile.LNKTYPE, "../x"),
    ):
        path = tarred(tmp_path / "a.tgz", member("d/l.txt", kind, aim))
        with pytest.raises(DataError, match="leads out of the folder"):
            unpack(path, tmp_path / "out")
    path = tarred(
        tmp_path / "a.tgz",
        member("d/a.txt", size=3),
        member("d/l.txt", tarfile.SYMTYPE, "a.txt"),
        member("h.txt", tarfile.LNKTYPE, "d/a.txt"),
    )
    unpack(path, tmp_path / "out")
    assert contents(tmp_path / "out") == dict.fromkeys(("d/a.txt", "d/l.txt", "h.txt"), b"xxx")
    assert not any(p.is_symlink() for p in (tmp_path / "out").rglob("*"))
    link = zipfile.ZipInfo("l.txt")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
        archive.writestr(link, "../../etc/passwd")
    with pytest.raises(DataError, match="leads out of the folder"):
        unpack(tmp_path / "l.zip", tmp_path / "out")


def test_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="device or a pipe"):
        unpack(tarred(tmp_path / "a.tgz", member("p.wav", tarfile.FIFOTYPE)), tmp_path / "out")


def test_bombs_are_stopped_before_they_fill_the_disk(tmp_path: Path) -> None:
    limits = Limits(members=3, ratio=50, free=100_000)
    bomb = zipped(tmp_path / "a.zip", {"a.wav": bytes(10_000_000)})
    with pytest.raises(DataError, match="decompression bomb"):
        unpack(bomb, tmp_path / "out", limits)
    info = member("a.wav", size=10_000_000)
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(DataError, match="decompression bomb"):
        unpack(tmp_path / "a.tgz", tmp_path / "out", limits)
    with pytest.raises(DataError, match="more than 3 files"):
        unpack(zipped(tmp_path / "b.zip", {f"{i}.wav": b"" for i in range(4)}), tmp_path / "out", limits)
    assert not (tmp_path / "out").exists()


def test_a_lie_about_the_size_is_no_way_around(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.wav": bytes(1_000_000)})
    raw = path.read_bytes()
    path.write_bytes(raw.replace((1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match="damaged"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_and_encrypted_archives_say_what_to_do(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.wav": os.urandom(5000)})
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 255
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"damaged .* get it again"):
        unpack(path, tmp_path / "out")
    cut = tarred(tmp_path / "a.tgz", member("a.wav", size=100_000))
    cut.write_bytes(cut.read_bytes()[:-60])
    with pytest.raises(DataError, match="damaged"):
        unpack(cut, tmp_path / "out")
    path = zipped(tmp_path / "e.zip", {"a.wav": b"1"})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="is encrypted; unpack it with the owner's password"):
        unpack(path, tmp_path / "out")


CARD = r"parts: [{audio: ['**/*.wav'], pattern: '(?P<speaker>\w+)_(?P<emotion>\w+)\.wav'}]"


def archive_of(folder: Path, names: list[str], path: Path) -> Path:
    return zipped(path, {n: write_sound(folder, n).read_bytes() for n in names})


def test_an_archive_or_a_folder_of_archives_is_a_source(tmp_path: Path) -> None:
    one = archive_of(tmp_path / "x", ["a/1_sad.wav"], tmp_path / "s/one.zip")
    archive_of(tmp_path / "x", ["a/2_sad.wav"], tmp_path / "s/two.zip")
    assert set(rows_of(listed(card(CARD), one, tmp_path / "w1"))) == {"1_sad"}
    assert set(rows_of(listed(card(CARD), tmp_path / "s", tmp_path / "w2"))) == {"1_sad", "2_sad"}
    inside = zipped(tmp_path / "all.zip", {"deep/one.zip": one.read_bytes()})
    assert set(rows_of(listed(card(CARD), inside, tmp_path / "w3"))) == {"1_sad"}
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["one.zip", "two.zip"]


def test_beside_audio_only_the_archives_that_the_card_names_are_unpacked(tmp_path: Path) -> None:
    write_sound(tmp_path / "s", "3_sad.wav")
    archive_of(tmp_path / "x", ["1_sad.wav"], tmp_path / "s/actors/one.zip")
    archive_of(tmp_path / "x", ["2_sad.wav"], tmp_path / "s/old.zip")
    assert set(rows_of(listed(card(CARD), tmp_path / "s", tmp_path / "w"))) == {"3_sad"}
    toy = card(f"unpack: actors/*.zip\n{CARD}")
    assert set(rows_of(listed(toy, tmp_path / "s", tmp_path / "w"))) == {"1_sad", "3_sad"}


def test_a_kind_of_archive_nobody_reads_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match=r"expected a folder, or a zip or tar archive; unpack it yourself"):
        listed(card(CARD), tmp_path / "a.rar", tmp_path / "w")
