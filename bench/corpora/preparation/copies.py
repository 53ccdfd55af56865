"""What a source holds twice: a folder inside that repeats another, an archive beside what was unpacked of it; and what was never fetched.

A copy is told by its bytes, before anything is decoded. One line says which folder repeats which, and what to do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath

from bench.corpora.preparation.listing import Draft, Listing
from bench.corpora.preparation.tree import SourceFile, SourceTree, same_bytes
from bench.errors import DataError
from bench.storage.file_kinds import kind_of_file

LOOKED_AT = 5
"""Files of a listing that are looked at first; only where all of these are no audio are the others."""


def refuse_unfetched(listing: Listing, tree: SourceTree) -> None:
    """Refuse a source of which every listed file is something else than audio: a pointer of Git LFS, a web page.

    Args:
        listing: the clips.
        tree: the source.

    Raises:
        DataError: all files are of one such kind; the sentence says what to do.
    """
    sources = list(dict.fromkeys(p.source for d in listing.drafts for p in d.pieces if p.row is None))
    if not sources:
        return
    for part in (sources[:LOOKED_AT], sources):
        kinds = [kind_of_file(tree.files[rel].path) for rel in part]
        if None in kinds:
            return
    first = max(set(kinds), key=kinds.count)
    assert first is not None
    raise DataError(
        f"{tree.folder}: {first.of_many(kinds.count(first), len(sources))}; first {sources[kinds.index(first)]}"
    )


def leave_out_copies(listing: Listing, tree: SourceTree) -> None:
    """Leave out clips of a folder that repeats another: same path below it, same columns, same bytes; one line per folder.

    The copy that lies deeper goes. Clips that differ in anything stay.

    Args:
        listing: the clips, changed in place.
        tree: the source.
    """
    by_name: dict[tuple[str, int], list[Draft]] = defaultdict(list)
    for draft in listing.drafts:
        if len(draft.pieces) == 1 and draft.pieces[0].row is None and draft.pieces[0].start is None:
            source = draft.pieces[0].source
            by_name[PurePosixPath(source).name.casefold(), tree.files[source].size].append(draft)
    gone: set[int] = set()
    doubled: dict[tuple[str, str], list[str]] = defaultdict(list)
    for drafts in by_name.values():
        if len(drafts) < 2:
            continue
        first, *others = sorted(drafts, key=lambda d: (d.pieces[0].source.count("/"), d.pieces[0].source))
        for other in others:
            if not _alike(first, other):
                continue
            a, b = first.pieces[0].source, other.pieces[0].source
            if not same_bytes([tree.files[a].path, tree.files[b].path]):
                continue
            gone.add(id(other))
            doubled[_apart(a, b)].append(b)
    listing.drafts = [d for d in listing.drafts if id(d) not in gone]
    for copy, kept in listing.doubles.items():
        listing.used.add(copy)
        doubled[_apart(kept, copy)].append(copy)
    for (kept, copy), paths in sorted(doubled.items()):
        listing.say("doubled", copy or paths[0], _doubled(kept, copy, len(paths)))


def _doubled(kept: str, copy: str, clips: int) -> str:
    where = f"repeats the folder {kept}" if kept else "repeats the folder it lies in"
    glob = f"{copy}/**" if copy else "**/FOLDER/**"
    return (
        f"{where}, {clips} clip(s), byte for byte; they were taken once. Remove one of the two folders, or put "
        f'ignore: ["{glob}"] under the card\'s layout'
    )


def _alike(a: Draft, b: Draft) -> bool:
    """Whether two clips of one file name say the same of themselves, but for where they lie."""
    return all(a.columns[k] == b.columns.get(k) for k in a.columns if k not in ("source_path", "split"))


def _apart(a: str, b: str) -> tuple[str, str]:
    """The folders in which two paths differ, without the end that they share.

    >>> _apart("Actor_01/x.wav", "audio/Actor_01/x.wav"), _apart("one/x.wav", "two/x.wav")
    (('', 'audio'), ('one', 'two'))
    """
    first, second = a.split("/"), b.split("/")
    while first and second and first[-1].casefold() == second[-1].casefold():
        first.pop()
        second.pop()
    return "/".join(first), "/".join(second)


def already_unpacked(
    files: Mapping[str, SourceFile], unpacked: Mapping[str, SourceFile], archive: str
) -> dict[str, str]:
    """Find the files of an archive that lie unpacked beside it already: path in the archive → path in the source.

    Args:
        files: of the source.
        unpacked: of the archive.
        archive: its path in the source.

    A file counts when its path ends like the archive's (below the archive's own folder) and its bytes are the same.
    """
    below = archive.rpartition("/")[0]
    by_name: dict[tuple[str, int], list[str]] = defaultdict(list)
    for rel, file in files.items():
        if not below or rel.startswith(below + "/"):
            by_name[PurePosixPath(rel).name.casefold(), file.size].append(rel)
    found = {}
    for rel, file in unpacked.items():
        for other in by_name.get((PurePosixPath(rel).name.casefold(), file.size), ()):
            ends_alike = f"/{other}".casefold().endswith(f"/{rel}".casefold())
            if ends_alike and same_bytes([file.path, files[other].path]):
                found[rel] = other
                break
    return found
