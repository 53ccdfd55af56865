"""``python -m tests.superb_parity``: one fold under s3prl's own frame-wise head, and under ours on pooled features.

s3prl's parts are imported from the installed package: its ``Featurizer`` (softmax layer weights), ``UtteranceLevel`` with
``MeanPooling``, in the loop of its runner: Adam, cross-entropy, gradient norm at most 1, batches of 32 (its 8 × 4
accumulated), a shuffling DataLoader, the checkpoint with the best validation accuracy. Frames are encoded once here and
read from memory, which gives the numbers that encoding them again at every step would give (the encoder is frozen); how
long encoding at every step takes is measured apart. Initial weights and the order of clips differ by family: what
must agree is the distribution over seeds. Writes report.md and figures.json (about 10 minutes of one core).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.prepared import find_corpora
from bench.execution.worker import quiet_single_thread
from bench.features.probes import ProbeFold, ProbeTask
from bench.features.probes.batched_adam import Schedule, Trial, train_heads
from bench.features.probes.learning_rate_search import NO_ROWS
from bench.features.probes.losses import CrossEntropy
from bench.features.probes.pooled_head import PooledHead
from bench.features.probes.superb import SuperbProbe
from bench.features.store import Keep
from bench.metrics import unweighted_accuracy
from bench.protocols import Weights
from bench.storage.atomic import write_json, write_text
from bench.storage.provenance import machine_facts
from bench.storage.run_folder import cache_folder
from bench.tasks import build_task

CORPUS, TASK, WEIGHTS = "emodb", "emodb.de", "whisper-tiny.en-encoder"
BATCH, LOOK, HIDDEN = 32, 20, 256
Frames = NDArray[np.float32]


@dataclass(frozen=True)
class Material:
    """A task with the frames of its clips: (layers, frames, dims) each, and waveforms to encode again."""

    frames: list[Frames]
    waveforms: list[Frames]
    labels: NDArray[np.int64]
    n_labels: int
    speakers: tuple[str, ...]
    folds: tuple[ProbeFold, ...]
    encode_seconds: float

    @property
    def pooled(self) -> Frames:
        """(clips, layers, dims)."""
        return np.stack([Keep(pooled=True).of(f) for f in self.frames])


def encoder() -> Any:
    """Whisper tiny.en on a clip's own frames."""
    from adapters.transformers_encoder import TransformersEncoder

    return TransformersEncoder(Weights(Path(os.environ["SERBENCH_WEIGHTS"]) / WEIGHTS, "parity"))


def load() -> Material:
    """Decode and encode the corpus."""
    named = [Path(p) for p in os.environ["SERBENCH_DATA"].split(os.pathsep) if p]
    (prepared,) = [c for c in find_corpora(named)[0] if c.card.name == CORPUS]
    table = open_table(prepared, cache_folder())
    decode_missing(table)
    task = build_task(table, TASK, "within")
    waveforms = [clip.read() for clip in task.decoded]
    model = encoder()
    model.encode(waveforms[:1])
    started = time.process_time()
    frames = [model.encode([w])[0] for w in waveforms]
    seconds = time.process_time() - started
    code = {label: i for i, label in enumerate(task.labels)}
    return Material(
        frames,
        waveforms,
        np.array([code[e] for e in task.emotions if e is not None]),
        len(task.labels),
        task.speakers,
        tuple(ProbeFold(f.train, f.dev, f.test) for f in task.folds),
        seconds,
    )


class FrameWise(torch.nn.Module):
    """s3prl's head for emotion, frame by frame."""

    def __init__(self, layers: int, dims: int, outputs: int) -> None:
        from adapters.s3prl_upstream.compat import import_s3prl

        import_s3prl()
        from s3prl.downstream.model import UtteranceLevel
        from s3prl.nn.upstream import Featurizer

        class Upstream:
            num_layers, hidden_sizes, downsample_rates = layers, [dims] * layers, [320] * layers

        super().__init__()
        self.featurizer = Featurizer(Upstream())
        self.projector = torch.nn.Linear(dims, HIDDEN)
        self.model = UtteranceLevel(input_dim=HIDDEN, output_dim=outputs, pooling="MeanPooling")

    def forward(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Frames (layers, frames, dims) per clip → (clips, outputs)."""
        lengths = torch.tensor([c.shape[1] for c in clips])
        padded = torch.nn.utils.rnn.pad_sequence([c.transpose(0, 1) for c in clips], batch_first=True)
        layers = list(padded.permute(2, 0, 1, 3))
        mixed, mixed_lengths = self.featurizer(layers, [lengths] * len(layers))
        scores: torch.Tensor = self.model(self.projector(mixed), mixed_lengths)[0]
        return scores


def train_frame_wise(
    material: Material, fold: ProbeFold, rate: float, seed: int, steps: int
) -> tuple[float, float]:
    """UA on the test clips at the last step, and at the step with the best validation accuracy."""
    torch.manual_seed(seed)
    layers, _, dims = material.frames[0].shape
    head = FrameWise(layers, dims, material.n_labels)
    optimizer = torch.optim.Adam(head.parameters(), lr=rate)
    loader = torch.utils.data.DataLoader(fold.train.tolist(), batch_size=BATCH, shuffle=True, collate_fn=list)
    labels = torch.from_numpy(material.labels)
    step, best, chosen = 0, -1.0, None
    while step < steps:
        for rows in loader:
            if len(rows) < BATCH:  # an epoch's rest: its accumulation goes on into the next one at s3prl
                continue
            optimizer.zero_grad()
            scores = head([torch.from_numpy(material.frames[i]) for i in rows])
            torch.nn.functional.cross_entropy(scores, labels[rows]).backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            step += 1
            if step % LOOK == 0:
                answers = _answers(head, material, fold.dev)
                accuracy = float((answers == material.labels[fold.dev]).mean())
                if accuracy > best:
                    best, chosen = accuracy, _ua(material, fold.test, _answers(head, material, fold.test))
            if step == steps:
                break
    assert chosen is not None
    return _ua(material, fold.test, _answers(head, material, fold.test)), chosen


def _answers(head: FrameWise, material: Material, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    with torch.no_grad():
        parts = [
            head([torch.from_numpy(material.frames[i]) for i in rows[k : k + BATCH]]).argmax(dim=1)
            for k in range(0, len(rows), BATCH)
        ]
    return torch.cat(parts).numpy()


def _ua(material: Material, rows: NDArray[np.int64], answers: NDArray[np.int64]) -> float:
    return unweighted_accuracy(material.labels[rows].tolist(), answers.tolist())


def train_pooled(
    material: Material, fold: ProbeFold, rate: float, seeds: Sequence[int], steps: int
) -> list[tuple[float, float]]:
    """The same two figures per seed from our heads: the last step, and the step with the lowest validation loss."""
    x = torch.from_numpy(material.pooled)
    objective = CrossEntropy(torch.from_numpy(material.labels), material.n_labels)
    trials = [Trial(fold.train, NO_ROWS, rate, seed, steps) for seed in seeds]
    family = PooledHead(x, HIDDEN)
    heads = train_heads(family, trials, objective, Schedule(batch_size=BATCH)).heads
    last = family.scores(heads, torch.from_numpy(fold.test)).argmax(dim=2).numpy()  # type: ignore[arg-type]
    hidden = material.labels.copy()
    hidden[fold.test] = -1
    task = ProbeTask(
        material.pooled, hidden, material.n_labels, np.full((len(hidden), 3), np.nan), material.speakers,
        (fold,), tuple(seeds),
    )  # fmt: skip
    probe = SuperbProbe(
        [rate], HIDDEN, BATCH, steps, decay=False, evaluate_every=LOOK, patience=steps, refit=False
    )
    chosen = probe.run(task, lambda done, total: None)
    found = []
    for i, seed in enumerate(seeds):
        probabilities = chosen[0, seed].probabilities
        assert probabilities is not None
        found.append(
            (_ua(material, fold.test, last[i]), _ua(material, fold.test, probabilities.argmax(axis=1)))
        )
    return found


def seconds_per_s3prl_step(material: Material, fold: ProbeFold, steps: int = 4) -> float:
    """CPU seconds of a step that encodes its 32 clips, as s3prl's runner does."""
    layers, _, dims = material.frames[0].shape
    head, model = FrameWise(layers, dims, material.n_labels), encoder()
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    labels, random = torch.from_numpy(material.labels), np.random.default_rng(0)
    taken = []
    for _ in range(steps):
        rows = random.permutation(fold.train)[:BATCH]
        started = time.process_time()
        clips = [torch.from_numpy(model.encode([material.waveforms[i]])[0]) for i in rows]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(clips), labels[rows]).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


@dataclass(frozen=True)
class Parity:
    """Both sides over seeds (UA on the test clips of one fold), and CPU seconds."""

    learning_rate: float
    steps: int
    fold: int
    test_clips: int
    s3prl_last: list[float]
    s3prl_chosen: list[float]
    ours_last: list[float]
    ours_chosen: list[float]
    s3prl_seconds: float
    """All seeds, on frames in memory."""
    ours_seconds: float
    """All seeds, both figures: two trainings."""
    encode_seconds: float
    """One pass over the corpus."""
    s3prl_step_seconds: float
    """One step that encodes its clips."""
    task: str = "emodb-7class-2s.de"
    """What it was measured on; figures that do not say are of EmoDB's copy that was cut to 2 s."""


def measure(rate: float, steps: int, seeds: Sequence[int], fold: int) -> Parity:
    """Train both sides."""
    material = load()
    part = material.folds[fold]
    started = time.process_time()
    theirs = [train_frame_wise(material, part, rate, seed, steps) for seed in seeds]
    middle = time.process_time()
    ours = train_pooled(material, part, rate, seeds, steps)
    ended = time.process_time()
    return Parity(
        rate, steps, fold, len(part.test),
        [a for a, _ in theirs], [b for _, b in theirs], [a for a, _ in ours], [b for _, b in ours],
        middle - started, ended - middle, material.encode_seconds,
        seconds_per_s3prl_step(material, part), TASK,
    )  # fmt: skip


def difference(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, float]:
    """Ours minus theirs, and the standard error of that difference over seeds (Welch)."""
    error = (statistics.variance(theirs) / len(theirs) + statistics.variance(ours) / len(ours)) ** 0.5
    return statistics.mean(ours) - statistics.mean(theirs), error


def report(found: Parity) -> str:
    """The measured figures in Markdown."""
    lines = [
        "# The SUPERB head: s3prl's own, frame by frame, and ours on pooled features",
        "",
        f"Whisper tiny.en, {found.task}, fold {found.fold} ({found.test_clips} test clips), learning rate {found.learning_rate:g}, "
        f"{found.steps} steps of {BATCH} clips, {len(found.ours_last)} seeds on each side. Made by `python -m tests.superb_parity`. "
        "s3prl's side is its own `Featurizer` and `UtteranceLevel` with `MeanPooling` and the loop of its runner; initial weights "
        "and the order of clips differ on purpose.",
        "",
        "| UA on the test clips | s3prl: mean (SD over seeds) | ours: mean (SD over seeds) | ours − s3prl | standard error |",
        "|---|---|---|---|---|",
    ]
    for name, theirs, ours in (
        ("at the last step", found.s3prl_last, found.ours_last),
        ("at the step chosen on validation", found.s3prl_chosen, found.ours_chosen),
    ):
        gap, error = difference(theirs, ours)
        lines.append(
            f"| {name} | {statistics.mean(theirs):.3f} ({statistics.stdev(theirs):.3f}) | {statistics.mean(ours):.3f} "
            f"({statistics.stdev(ours):.3f}) | {gap:+.3f} | {error:.3f} |"
        )
    per_head = found.ours_seconds / (2 * len(found.ours_last) * found.steps)
    framewise = found.s3prl_seconds / (len(found.s3prl_last) * found.steps)
    lines += [
        "",
        "s3prl keeps the checkpoint with the best validation accuracy, ours the one with the lowest validation loss.",
        "",
        "| CPU seconds, one thread | |",
        "|---|---|",
        f"| s3prl's way: a step that encodes its {BATCH} clips | {found.s3prl_step_seconds:.3f} |",
        f"| s3prl's head on frames in memory, a step (validation included) | {framewise:.3f} |",
        f"| ours: a step of one head of {len(found.ours_last)} (validation included) | {per_head:.5f} |",
        f"| ours: one pass of the encoder over the corpus | {found.encode_seconds:.1f} |",
        "",
        f"Extrapolated from the first line, s3prl's way takes {found.s3prl_step_seconds * found.steps:,.0f} s for {found.steps} steps of "
        f"one fold, seed and learning rate, and {found.s3prl_step_seconds * 30_000 / 3600:.1f} h for SUPERB's 30,000; ours takes "
        f"{found.encode_seconds + per_head * found.steps:.1f} s for {found.steps} steps when the whole pass is charged to that one head.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/superb_parity"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--rate", type=float, default=1e-3)
    chosen = parser.parse_args()
    quiet_single_thread()
    torch.set_num_threads(1)
    found = measure(chosen.rate, chosen.steps, range(chosen.seeds), fold=0)
    facts = machine_facts(["cpu"])
    write_json(chosen.out / "figures.json", {**asdict(found), "machine": facts})
    write_text(chosen.out / "report.md", report(found))
    print(report(found))


if __name__ == "__main__":
    main()
