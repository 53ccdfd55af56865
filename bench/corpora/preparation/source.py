"""Opening a source: a folder, an archive, or the card's own downloads, as one tree of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.audio.decoding import AUDIO_SUFFIXES
from bench.cards.corpus import CorpusCard
from bench.corpora.preparation.copies import already_unpacked
from bench.corpora.preparation.downloading import download
from bench.corpora.preparation.tree import SourceFile, SourceTree, glob_pattern, walk_folder
from bench.corpora.preparation.unpacking import FOREIGN, is_archive, unpack
from bench.errors import DataError
from bench.storage.run_folder import cache_folder

DEPTH = 3
"""How deep archives may lie in archives."""


def open_source(
    card: CorpusCard, source: Path | None, work: Path, step: Callable[[int], object] = int
) -> SourceTree:
    """Open a source as one tree of files. The source itself is never written to.

    A single archive is unpacked. Inside a folder, those that the layout's ``unpack`` names are; without ``unpack``,
    all of them if there is no audio beside them.

    Args:
        card: with its layout.
        source: folder or archive; None: the card's own downloads.
        work: where archives are unpacked.
        step: called with the bytes that came, or the members that were unpacked.

    Returns:
        The tree.

    Raises:
        DataError: not reachable, damaged, unsafe, or nothing there.
    """
    layout = card.layout
    assert layout is not None
    if source is None:
        source = _fetch(card, step)
    if source.is_file():
        if not is_archive(source.name):
            hint = "; unpack it yourself and give the folder" if source.name.lower().endswith(FOREIGN) else ""
            raise DataError(f"{source}: expected a folder, or a zip or tar archive{hint}")
        folder = work / "unpacked" / "source"
        unpack(source, folder, step=step)
    else:
        folder = source
    files = walk_folder(folder)
    named = [glob_pattern(g) for g in layout.unpack]
    opened: set[str] = set()
    repeated: dict[str, str] = {}
    for depth in range(DEPTH):
        bare = not any(f.lower().endswith(AUDIO_SUFFIXES) for f in files)
        inner = [
            rel
            for rel in sorted(files)
            if is_archive(rel)
            and rel not in opened
            and (bare if not named else any(p.fullmatch(rel) or p.fullmatch(Path(rel).name) for p in named))
        ]
        if not inner:
            break
        for number, rel in enumerate(inner):
            place = work / "unpacked" / f"{depth}-{number:04d}"
            unpack(files[rel].path, place, step=step)
            opened.add(rel)
            members = walk_folder(place)
            if there := already_unpacked(files, members, rel):
                rest = {name: file for name, file in members.items() if name not in there}
                repeated[rel] = _repeated(there, len(members), len(rest))
                members = rest
            _mount(files, members, rel)
    if not files:
        raise DataError(f"{source}: is empty")
    tree = SourceTree(files, folder, work)
    tree.repeated = repeated
    return tree


def _repeated(there: dict[str, str], members: int, rest: int) -> str:
    folder = next(iter(there.values())).rpartition("/")[0] or "."
    further = f"; its other {rest} were taken from it" if rest else ""
    return (
        f"{len(there)} of its {members} files lie unpacked beside it already (in {folder}, byte for byte) and were taken from there"
        f"{further}. Move the archive away to have them once"
    )


def _mount(files: dict[str, SourceFile], unpacked: dict[str, SourceFile], archive: str) -> None:
    """Put an archive's files beside it; where two archives hold one path, under the archive's own name."""
    beside = archive.rpartition("/")[0]
    stem = archive.rpartition("/")[2].partition(".")[0]
    base = f"{beside}/" if beside else ""
    if any(base + rel in files for rel in unpacked):
        base = f"{base}{stem}/"
    files.update({base + rel: file for rel, file in unpacked.items()})


def _fetch(card: CorpusCard, step: Callable[[int], object]) -> Path:
    """Download what the card names into the cache, where it stays until the user removes it."""
    layout = card.layout
    assert layout is not None
    folder = cache_folder() / "downloads" / card.name
    for what in layout.downloads:
        download(what, folder, step)
    for part in layout.parts:
        if part.huggingface is not None:
            from bench.corpora.preparation.huggingface import fetch

            folder = fetch(part.huggingface, folder)
    return folder
