"""``serbench new adapter NAME``: a package with a system that works, its card, and its test."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template
from typing import Literal

from bench.errors import UsageError
from bench.storage.atomic import clear_os_errors, write_text

AdapterKind = Literal["predictor", "encoder"]

PYPROJECT = Template("""\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$name"
version = "0.1.0"
description = "A system for ser-bench"
requires-python = ">=3.11"
dependencies = ["ser-bench"]

# This is how serbench finds the cards in $module/systems.
[project.entry-points."serbench.adapters"]
$module = "$module"

[tool.setuptools]
packages = ["$module"]

[tool.setuptools.package-data]
$module = ["systems/*.yaml"]

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
""")
CARD_HEAD = """\
# The card is the system's identity: what stands here goes into every record.
name: $name
title: $title
track: probed            # released: nothing is trained here; probed: a frozen encoder; adapted: weights are trained here
"""
CARD_TAIL = """\
licence: unknown         # of the weights
# Every corpus behind the weights, or the word undisclosed. [] says: none.
training_corpora: []
description: The skeleton that serbench new adapter made.
"""
PREDICTOR_CARD = Template(
    CARD_HEAD
    + "family: acoustic\nadapter: $module:$cls\nparams: {softness: 1.0}   # arguments of the class; part of the identity\n"
    "seeds: false             # the same answer whatever the seed\n" + CARD_TAIL
)
ENCODER_CARD = Template(
    CARD_HEAD
    + "family: encoder\nfeatures:\n  encoder: $module:$cls\n  params: {bands: 12}    # arguments of the class; part of the identity\n"
    "probe: linear            # what is trained on the mean of each layer\n" + CARD_TAIL
)
PREDICTOR = Template('''\
"""$title: replace the two functions that listen, keep the shape of what is answered."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.protocols import Answers, Clips, Examples, FitContext, Waveform


class $cls:
    """Answers with the label whose training clips sound most alike; ``softness`` spreads the probabilities."""

    def __init__(self, softness: float = 1.0) -> None:
        self.softness = softness

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Learn from ``train``; ``dev`` holds other speakers, to choose and to stop on."""
        heard = np.array([listen(w) for w in train.clips.waveforms()])
        labels = np.array([x or "" for x in train.labels])
        self._labels = context.labels
        self._centre, self._spread = heard.mean(axis=0), heard.std(axis=0) + 1e-9
        scaled = (heard - self._centre) / self._spread
        overall = scaled.mean(axis=0)
        self._means = np.array(
            [scaled[labels == x].mean(axis=0) if (labels == x).any() else overall for x in self._labels]
        )

    def predict(self, clips: Clips) -> Answers:
        """One answer per clip, in order. A clip that cannot be answered gets another status than ok, and no label."""
        if len(clips) == 0:
            return Answers((), ())
        heard = (np.array([listen(w) for w in clips.waveforms()]) - self._centre) / self._spread
        distance = ((heard[:, None, :] - self._means[None, :, :]) ** 2).mean(axis=2)
        weights = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / self.softness)
        probabilities = weights / weights.sum(axis=1, keepdims=True)
        labels = tuple(self._labels[i] for i in probabilities.argmax(axis=1))
        return Answers(("ok",) * len(clips), labels, probabilities)


def listen(waveform: Waveform) -> NDArray[np.float64]:
    """What is heard of a clip (samples at 16 kHz, -1..1): loudness, its spread, and the rate of zero crossings."""
    samples = np.asarray(waveform, dtype=float)
    if samples.size < 2:
        return np.zeros(3)
    level = np.log(np.abs(samples) + 1e-4)
    return np.array([level.mean(), level.std(), np.mean(np.diff(np.signbit(samples)))])
''')
ENCODER = Template('''\
"""$title: replace the spectrum by your network, keep the shape of what is given back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.protocols import Waveform

WINDOW = 400
"""Samples per frame: 25 ms."""


class $cls:
    """A log spectrum in ``bands``, as one layer. Frozen: equal parameters mean equal output."""

    def __init__(self, bands: int = 12, device: str = "cpu") -> None:
        self.bands, self.device = bands, device

    def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
        """One array (layers, frames, dims) per clip, valid frames only: batching must not change the answer."""
        return [self._one(np.asarray(w, dtype=float)) for w in waveforms]

    def _one(self, samples: NDArray[np.float64]) -> NDArray[np.float32]:
        frames = len(samples) // WINDOW
        if frames == 0:
            raise DataError(f"a clip of {len(samples)} samples is shorter than one frame of {WINDOW}")
        cut = samples[: frames * WINDOW].reshape(frames, WINDOW)
        power = np.abs(np.fft.rfft(cut * np.hanning(WINDOW), axis=1)) ** 2
        edges = np.linspace(0, power.shape[1], self.bands + 1).astype(int)
        bands = np.stack([power[:, a:b].mean(axis=1) for a, b in zip(edges[:-1], edges[1:], strict=True)], axis=1)
        return np.log(bands + 1e-6)[np.newaxis].astype(np.float32)
''')
TEST = Template('''\
"""The system keeps the contract that every system of the suite keeps."""

from __future__ import annotations

from pathlib import Path

from bench.contract import check_system
from bench.registry import load_system

CARD = Path(__file__).resolve().parent.parent / "$module/systems/$name.yaml"


def test_the_contract_holds() -> None:
    report = check_system(load_system(str(CARD)))
    assert report.passed, [c for c in report.checks if not c.passed]
''')
README = Template("""\
# $title

    pip install -e .
    pytest                       the contract test
    serbench list systems        $name is among them
    serbench check $name
    serbench run matrix.yaml     on your prepared corpora (--data), beside the two reference systems

What to change: `$module/__init__.py` (the system) and `$module/systems/$name.yaml` (its card).
""")
MATRIX = Template("""\
name: $name-first
entries:
  - systems: [$name, majority, chance]
""")


def new_adapter(name: str, folder: Path, kind: AdapterKind) -> list[Path]:
    """Write the skeleton as ``folder/name``; returns its files.

    Raises:
        UsageError: a name that is none, or a folder that exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 60:
        raise UsageError(
            f"{name!r} cannot name a system: small letters, digits and single hyphens, starting with a letter, like my-model"
        )
    root = folder / name
    if root.exists():
        raise UsageError(f"{root}: exists; choose another name, or another folder with --into")
    words = {
        "name": name,
        "module": f"{name.replace('-', '_')}_adapter",
        "cls": "".join(w.capitalize() for w in name.split("-")),
        "title": name.replace("-", " ").capitalize(),
    }
    code, card = (ENCODER, ENCODER_CARD) if kind == "encoder" else (PREDICTOR, PREDICTOR_CARD)
    files = {
        "pyproject.toml": PYPROJECT,
        "README.md": README,
        "matrix.yaml": MATRIX,
        f"{words['module']}/__init__.py": code,
        f"{words['module']}/systems/{name}.yaml": card,
        f"tests/test_{words['module']}.py": TEST,
    }
    paths = []
    with clear_os_errors(root):
        for place, template in files.items():
            write_text(root / place, template.substitute(words))
            paths.append(root / place)
    return paths
