"""Data sets of the Hugging Face hub, or local folders of the same formats, read through ``datasets`` without decoding."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from bench.corpora.preparation.listing import Listing, Piece, add_clip
from bench.corpora.preparation.tables import TableRow, flat
from bench.corpora.preparation.tree import SourceFile
from bench.errors import DataError, UsageError, nearest
from bench.storage.hashing import digest

if TYPE_CHECKING:
    from bench.cards.corpus_layout import HuggingFace, Part
    from bench.corpora.preparation.tree import SourceTree


def fetch(spec: HuggingFace, folder: Path) -> Path:
    """Download a data set's files at the card's revision into ``folder``; resumes what is there.

    Raises:
        DataError: the hub does not answer, or refuses (a gated set asks for a login and consent).
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    refusals: tuple[type[Exception], ...] = (HfHubHTTPError, OSError, *_transport_errors())
    try:
        return Path(
            snapshot_download(spec.repo, repo_type="dataset", revision=spec.revision, local_dir=str(folder))
        )
    except refusals as error:
        raise DataError(
            f"{spec.repo}: cannot be fetched from the Hugging Face hub ({str(error).strip().splitlines()[0][:160]}). "
            "Download it elsewhere and give the folder as --source; a gated data set needs: hf auth login"
        ) from None


def _transport_errors() -> tuple[type[Exception], ...]:
    """Return the error classes of the HTTP client that the hub's library has loaded; which one depends on its version."""
    bases = {"httpx2": "HTTPError", "httpx": "HTTPError", "requests": "RequestException"}
    return tuple(getattr(sys.modules[m], base) for m, base in bases.items() if m in sys.modules)


def read_data_set(part: Part, tree: SourceTree, listing: Listing) -> None:
    """List the rows of a data set that lies in the source folder, split by split.

    Class numbers become their names. Audio stays encoded; each row is a piece of an Arrow file, or a file of its own.

    Args:
        part: of the card's layout, with ``huggingface``.
        tree: the source; files made on the way are mounted in it.
        listing: what the clips and problems are added to.

    Raises:
        UsageError: no such split or column.
        DataError: ``datasets`` cannot read the folder.
    """
    assert part.huggingface is not None
    spec = part.huggingface
    loaded = _load(spec, tree)
    splits = spec.splits or {name: name for name in loaded}
    for ours, theirs in splits.items():
        if theirs not in loaded:
            raise UsageError(f"the data set has no split {theirs!r}; {nearest(theirs, loaded)}")
        _read_split(part, spec, loaded[theirs], ours, tree, listing)
    listing.used |= set(tree.files)


def _load(spec: HuggingFace, tree: SourceTree) -> dict[str, Any]:
    import datasets

    datasets.disable_progress_bars()
    base = tree.folder
    try:
        return dict(datasets.load_dataset(str(base), name=spec.config, cache_dir=str(tree.work / "arrow")))
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{base}: `datasets` cannot read this folder ({str(error).splitlines()[0][:200]}); expected the files of "
            f"{spec.repo} as the hub has them"
        ) from None


def _read_split(
    part: Part, spec: HuggingFace, data: Any, split: str, tree: SourceTree, listing: Listing
) -> None:
    import datasets

    if spec.audio not in data.column_names:
        raise UsageError(
            f"the data set has no column {spec.audio!r}; {nearest(spec.audio, data.column_names)}"
        )
    if not isinstance(data.features[spec.audio], datasets.Audio):
        raise UsageError(f"the column {spec.audio!r} holds no audio, but {data.features[spec.audio]}")
    classes = {n: f for n, f in data.features.items() if isinstance(f, datasets.ClassLabel)}
    # The Arrow files are written anew each time; what tells a change is the files they were made from.
    mark = digest(*(f"{rel} {file.fingerprint}" for rel, file in tree.files.items()))
    for number, cached in enumerate(data.cache_files):
        path = Path(cached["filename"])
        arrow = f"{split}-{number:05d}.arrow"
        tree.mount(arrow, SourceFile(path, path.stat().st_size, 0, mark))
        shard = datasets.Dataset.from_file(str(path))
        # Chunk by chunk: putting them together would copy the audio of the whole file into memory.
        audio_paths = (
            p.as_py() for chunk in shard.data.column(spec.audio).chunks for p in chunk.field("path")
        )
        described = shard.remove_columns([spec.audio])
        records = described if described.column_names else itertools.repeat({})
        for row, (audio_path, record) in enumerate(zip(audio_paths, records, strict=False)):
            cells: TableRow = {"split": split}
            cells |= flat(
                {k: classes[k].int2str(v) if k in classes and v is not None else v for k, v in record.items()}
            )
            name = PurePosixPath(audio_path).name if audio_path else f"{row:06d}"
            piece = Piece(arrow, row=row, column=spec.audio)
            own = {"split": split} if part.columns else cells
            add_clip(
                part,
                tree,
                listing,
                f"{split}/{name}",
                arrow,
                own,
                pieces=[piece],
                seen=cells,
                shown=f"{split}/{name}",
            )
