"""Small source trees as owners ship them: tones of 0.3 s, each another sound, under any name, rate and suffix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from bench.cards.corpus import CorpusCard
from bench.cards.typed_yaml import parse_typed
from bench.corpora.preparation.joining import complete
from bench.corpora.preparation.listing import Listing
from bench.corpora.preparation.scanning import scan
from bench.corpora.preparation.source import open_source

FORMATS = {".wav": "WAV", ".flac": "FLAC", ".mp3": "MP3", ".ogg": "OGG"}


def tone(seed: str, seconds: float = 0.3, rate: int = 16_000) -> np.ndarray:
    """A tone of its own pitch and grain for every seed."""
    rng = np.random.default_rng(list(seed.encode()))
    time = np.arange(round(seconds * rate)) / rate
    return np.asarray(
        0.3 * np.sin(2 * np.pi * rng.uniform(100, 900) * time) + 0.01 * rng.standard_normal(time.size)
    )


def write_sound(
    folder: Path,
    name: str,
    *,
    seconds: float = 0.3,
    rate: int = 16_000,
    channels: int = 1,
    seed: str | None = None,
) -> Path:
    """Write a clip; its sound depends on its name unless a seed is given."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = tone(seed or name, seconds, rate)
    if path.suffix.lower() in (".m4a", ".mp4"):
        write_container(path, samples, rate)
    else:
        both = np.stack([samples] * channels, axis=1) if channels > 1 else samples
        soundfile.write(path, both, rate, format=FORMATS[path.suffix.lower()])
    return path


def write_container(path: Path, samples: np.ndarray, rate: int) -> None:
    """Write AAC in an MP4 container."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
        frame.rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def write_file(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    """Write a text file, folders and all."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)
    return path


def card(layout: str, *, head: str = "") -> CorpusCard:
    """A card called ``toy`` with this layout (YAML), checked against a listing."""
    indented = "\n".join("  " + line for line in layout.strip("\n").splitlines())
    return parse_typed(
        f"name: toy\nverification: layout\n{head}\nlayout:\n  cites: test\n{indented}\n",
        "toy.yaml",
        CorpusCard,
    )


def listed(toy: CorpusCard, source: Path, work: Path) -> Listing:
    """Scan a source without decoding anything."""
    tree = open_source(toy, source, work)
    listing = scan(toy, tree)
    complete(toy, tree, listing)
    return listing


def rows_of(listing: Listing) -> dict[str, dict[str, str]]:
    """Columns by clip name, without the paths."""
    return {d.name: {k: v for k, v in d.columns.items() if k != "source_path"} for d in listing.drafts}


def kinds(listing: Listing) -> list[tuple[str, str]]:
    """(kind, where) of the problems."""
    return [(p.kind, p.where) for p in listing.problems]
