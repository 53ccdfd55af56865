"""Small copies of published downloads: the names of a listing, with tones for sounds."""

from __future__ import annotations

import itertools
import re
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import yaml

RATE = 16_000
CONTAINERS = {
    ".mp4": ("mp4", "aac", RATE),
    ".m4a": ("mp4", "aac", RATE),
    ".avi": ("avi", "pcm_s16le", RATE),
    ".webm": ("webm", "libopus", 48_000),
}
BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


def cases() -> dict[str, dict[str, Any]]:
    """Return the fixture trees of ``layouts.yaml`` by corpus name."""
    text = (Path(__file__).parent / "layouts.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return loaded


def expand(name: str) -> list[tuple[str, list[str]]]:
    """Expand ``{a,b}``; the same braces twice in a name go together. Returns (name, what the braces stood for).

    >>> [n for n, _ in expand("s{1,2}/s{1,2}_{a,b}.wav")]
    ['s1/s1_a.wav', 's1/s1_b.wav', 's2/s2_a.wav', 's2/s2_b.wav']
    """
    different = list(dict.fromkeys(BRACES.findall(name)))
    made = []
    for values in itertools.product(*(d.split(",") for d in different)):
        chosen = dict(zip(different, values, strict=True))
        made.append((BRACES.sub(lambda m, c=chosen: c[m[1]], name), list(values)))
    return made


def build(case: Mapping[str, Any], folder: Path) -> Path:
    """Write a fixture tree; every sound is another one."""
    number = 0
    for line in case.get("audio", []):
        path, _, seconds = line.partition(" @")
        for name, _ in expand(path):
            number += 1
            write_tone(folder / name, float(seconds or 0.3), 110 + 7 * number)
    for line, text in case.get("texts", {}).items():
        for name, values in expand(line):
            filled = re.sub(r"<(\d)>", lambda m, v=values: v[int(m[1]) - 1], text)
            write_text(folder / name, filled)
    for name in case.get("junk", []):
        write_text(folder / name, "not a clip\n")
    for name in case.get("broken", []):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"RIFF\0\0\0\0 no sound here")
    for name in case.get("pack", []):
        with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
            for inside in sorted((folder / name).iterdir()):
                archive.add(inside, inside.name)
        shutil.rmtree(folder / name)
    if "huggingface" in case:
        write_data_set(case["huggingface"], folder)
    return folder


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def tone(seconds: float, pitch: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a rising tone at 16 kHz, float32 in -1..1; no two stretches of it are the same."""
    time = np.arange(int(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * (pitch + 20 * time) * time)).astype(np.float32)


def write_tone(path: Path, seconds: float, pitch: float) -> None:
    """Write a tone in the format of the file's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = tone(seconds, pitch)
    if path.suffix not in CONTAINERS:
        soundfile.write(path, samples, RATE)
        return
    container_format, codec, rate = CONTAINERS[path.suffix]
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="fltp", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))


def write_data_set(spec: Mapping[str, Any], folder: Path) -> None:
    """Write a data set of the Hugging Face hub: one Parquet file of one split, audio inside."""
    import datasets
    import pyarrow
    from pyarrow import parquet

    rows = []
    for number, row in enumerate(spec["rows"]):
        path = folder / "tone.wav"
        write_tone(path, 0.3, 200 + 30 * number)
        rows.append({**row, spec["audio"]: {"bytes": path.read_bytes(), "path": row[spec["audio"]]}})
        path.unlink()
    further = {k: datasets.Value("string") for k in rows[0] if k != spec["audio"]}
    schema = datasets.Features({spec["audio"]: datasets.Audio(), **further}).arrow_schema
    (folder / "data").mkdir(parents=True)
    name = f"{spec.get('split', 'train')}-00000-of-00001.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), folder / "data" / name)
