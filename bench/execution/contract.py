"""The adapter contract test: what every system must do, tried on a tiny corpus of generated sounds and on odd clips.

A check says what it demands, whether it holds, and what was seen. One that raises has failed; the others still run.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.cards.corpus import CorpusCard, Protocol
from bench.cards.system import SystemCard
from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.prepared import PreparedCorpus
from bench.corpora.synthetic import write_tiny_corpus
from bench.errors import CannotRun, UsageError
from bench.execution.contract_demands import (
    LATE_REACH,
    Violation,
    changed_at_the_ends,
    close_arrays,
    counted_frames,
    hears_in_its_place,
    hears_the_end,
    json_notes,
    known_statuses,
    odd_audio,
    offered_labels,
    one_row_each,
    same_answers,
    sound_dimensions,
    sound_probabilities,
    untouched,
    well_shaped,
)
from bench.execution.fitting import build_predictor
from bench.execution.in_process import JobFailed, run_in_process
from bench.execution.planning.cells import make_plan
from bench.execution.planning.expansion import MatrixRow
from bench.execution.planning.matrix import Entry, Matrix
from bench.execution.planning.plan import Group
from bench.execution.planning.systems import System, resolve_system
from bench.execution.worker import build_encoder
from bench.features.extraction import compute_features, compute_kept
from bench.features.store import FeatureStore, Keep
from bench.protocols import (
    STATUSES,
    Answers,
    Clips,
    Closes,
    Encoder,
    FeatureReader,
    FitContext,
    Predictor,
    SendsRequests,
)
from bench.tasks import Task, build_task
from bench.tasks.training_data import own_training_data

BATCH_TOLERANCE = 1e-4
"""Largest difference between a clip encoded in company and alone, in units of its own largest absolute value (or 1)."""
ORDER_TOLERANCE = 1e-3
"""Largest difference of probabilities and dimensions (0..1) when the same clips come in another order."""
LEAK_TOLERANCE = 1e-5
"""Largest difference when test labels change: probes train all folds in one batch, whose rounding differs by 1e-7."""
PROBE_STEPS = 40
"""Steps that a probe trains for here, at most: what is asked is conduct, not skill, and three fits are made."""
TASK = "contract.qaa"
ODD = "0.05 s, silence, clipping, 31 s"


@dataclass(frozen=True)
class Check:
    """One demand of the contract."""

    name: str
    demand: str
    passed: bool
    seen: str = ""


@dataclass(frozen=True)
class ContractReport:
    """How a system did."""

    system: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(c.passed for c in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"system": self.system, "passed": self.passed, "checks": [asdict(c) for c in self.checks]}


def check_system(card: SystemCard) -> ContractReport:
    """Run the contract test on a system, on the CPU, in a temporary folder.

    Raises:
        CannotRun: weights, a server or a package is missing here.
        UsageError: the card does not fit its code.
    """
    system = resolve_system(card)
    if system.blocked is not None:
        raise CannotRun(f"{card.name}: {system.blocked}")
    with tempfile.TemporaryDirectory(prefix="serbench-check-") as scratch:
        bed = TestBed(_hurried(system), Path(scratch))
        checks = []
        if card.features is not None:
            checks += list(encoder_checks(bed))
        try:
            checks += list(answer_checks(bed))
        finally:
            bed.close()
    return ContractReport(card.name, tuple(checks))


def sent_with_one_clip(card: SystemCard, labels: tuple[str, ...]) -> str | None:
    """Return what a system that asks a server sends with one clip; None for other systems. No server is needed.

    Args:
        card: the system.
        labels: canonical names on offer.

    Raises:
        UsageError: the card does not fit its code.
        CannotRun: a package is missing here.
    """
    if card.serve is None and card.server is None:
        return None
    predictor = build_predictor(resolve_system(card))
    if not isinstance(predictor, SendsRequests):
        return None
    with tempfile.TemporaryDirectory(prefix="serbench-check-") as scratch:
        return predictor.sent_for_one_clip(
            FitContext(labels=labels, dimensions=False, seed=0, workdir=Path(scratch))
        )


def _hurried(system: System) -> System:
    """Return the system with its probe's training cut short."""
    asked = system.card.params.get("max_steps")
    if system.card.probe is None or asked is None:
        return system
    steps = min(asked, PROBE_STEPS) if isinstance(asked, int) else PROBE_STEPS
    params = {**system.card.params, "max_steps": steps}
    return replace(system, card=system.card.model_copy(update={"params": params}))


class TestBed:
    """A system, the tiny task it is tried on, and what it needs to run there."""

    __test__ = False  # not a pytest class

    def __init__(self, system: System, folder: Path) -> None:
        self.system, self.folder = system, folder
        corpus = folder / "contract"
        write_tiny_corpus(corpus)
        card = CorpusCard(name="contract", languages=("qaa",), scale=(1, 7), synthetic=True)
        table = open_table(PreparedCorpus(card, corpus), folder)
        decode_missing(table)
        protocol: Protocol = "zero-shot" if system.card.track == "released" else "within"
        self.task = build_task(table, TASK, protocol)
        self._latest: Predictor | None = None

    def close(self) -> None:
        """End what the predictor that was fitted last holds."""
        if isinstance(self._latest, Closes):
            self._latest.close()

    @property
    def test_clips(self) -> Clips:
        """The clips the first fold is tested on."""
        return own_training_data(self.task).clips(self.task.folds[0].test)

    def encoder(self) -> Encoder:
        """Build the system's frozen encoder anew."""
        made: Encoder = build_encoder(self.system, "cpu")
        return made

    def group(self, task: Task) -> Group:
        """Lay out the system's cells on a task, as a run would."""
        name = self.system.name
        matrix = Matrix(name="contract", entries=(Entry(systems=(name,), tasks=(task.name,)),))
        row = MatrixRow(self.system, task.name, task.protocol, (0,))
        return make_plan(matrix, [row], lambda _name, _protocol: task).groups[0]

    def answers(self, task: Task) -> Answers:
        """Fit anew on the first fold and answer its test clips."""
        if self.system.card.probe:
            return self._probe_answers(task)
        return self.fitted(task).predict(own_training_data(task).clips(task.folds[0].test))

    def _probe_answers(self, task: Task) -> Answers:
        """By way of the very jobs of a run; all folds are computed together, the first is handed out."""
        group = self.group(task)
        try:
            table = run_in_process([group], cache=self.folder)[group.cells[0].key]
        except JobFailed as failed:
            raise Violation(failed.reason) from None
        return Answers(table.statuses, table.answers, table.probabilities, table.dimensions)

    def fitted(self, task: Task) -> Predictor:
        """Build a predictor anew and fit it on the first fold (which is empty, zero-shot). The one before it is closed."""
        self.close()
        system, fold = self.system, task.folds[0]
        predictor = self._latest = build_predictor(system)
        with tempfile.TemporaryDirectory(dir=self.folder) as workdir:
            context = FitContext(
                labels=task.labels,
                dimensions=task.has_dimensions,
                seed=0,
                workdir=Path(workdir),
                features=self.features,
                feature_params=system.feature_params,
                server=system.card.server,
            )
            data = own_training_data(task)
            predictor.fit(data.examples(fold.train), data.examples(fold.dev), context)
        return predictor

    @functools.cached_property
    def features(self) -> FeatureReader | None:
        """Encoder output of the task's clips and the odd ones; None for a system that stores none."""
        key, spec = self.system.feature_key, self.system.card.features
        if key is None or spec is None:
            return None
        store, encoder = FeatureStore(self.folder / "features"), self.encoder()
        for clips in (own_training_data(self.task).clips(np.arange(len(self.task))), odd_audio()):
            keep = Keep(spec.pooled, spec.every)
            (arrays,), failures = compute_kept(encoder, clips, range(len(clips)), [keep])
            store.write(key, arrays, failures)
        return store.reader(key)


def encoder_checks(bed: TestBed) -> Iterator[Check]:
    """What a frozen encoder must do."""
    # Four lengths, so that batching has something to pad.
    waveforms = [w[: len(w) * (4 - i % 4) // 4] for i, w in enumerate(bed.test_clips.waveforms())]
    encoder = bed.encoder()

    def one_array_per_clip() -> str:
        return well_shaped(encoder.encode(waveforms), len(waveforms))

    def batch_equals_single() -> str:
        together = encoder.encode(waveforms)
        return close_arrays([encoder.encode([w])[0] for w in waveforms], together, BATCH_TOLERANCE)

    def repeats_itself() -> str:
        return close_arrays(encoder.encode(waveforms), bed.encoder().encode(waveforms), 0.0)

    def leaves_inputs_alone() -> str:
        given = [w.copy() for w in waveforms]
        encoder.encode(given)
        return untouched(waveforms, given)

    def hears_to_the_end() -> str:
        arrays, card = encoder.encode(changed_at_the_ends()), bed.system.card
        if card.frames_per_second is not None:
            seen = counted_frames(arrays, card.frames_per_second)
            return f"{seen}; {hears_the_end(arrays, least=0.0)}"
        return hears_in_its_place(arrays) if card.causal else hears_the_end(arrays)

    def odd_clips() -> str:
        clips = odd_audio()
        _, failures = compute_features(encoder, clips, range(len(clips)), True)
        names = dict(zip(clips.pcm_hashes, clips.ids, strict=True))
        return "; ".join(f"{names[h]} fails: {why}" for h, why in failures.items()) or "all are encoded"

    company = f"a clip in company is as alone, to {BATCH_TOLERANCE:g} of its largest value"
    odd = f"{ODD}: an array, or a failure of that clip alone"
    yield _check(
        "encoder: shapes", "per clip one finite float32 array (layers, frames, dims)", one_array_per_clip
    )
    yield _check("encoder: batch", company, batch_equals_single)
    yield _check("encoder: determinism", "built anew, the same clips give the same numbers", repeats_itself)
    end = _demand_of_the_end(bed.system.card)
    yield _check("encoder: end of clip", end, hears_to_the_end)
    yield _check("encoder: inputs", "waveforms stay as they were", leaves_inputs_alone)
    yield _check("encoder: odd audio", odd, odd_clips)


def _demand_of_the_end(card: SystemCard) -> str:
    if card.frames_per_second is not None:
        return f"{card.frames_per_second:g} frames per second, as the card says, and another sound at a clip's end moves features"
    if card.causal:
        return "causal, as the card says: another sound at a clip's end moves the frames from there on, and none before"
    return f"another sound at a clip's end moves the features {LATE_REACH:g} × as far as at its beginning, or more"


def answer_checks(bed: TestBed) -> Iterator[Check]:
    """What every system must do: fit, and answer."""
    first_answers: list[Answers] = []

    def runs() -> str:
        first_answers.append(bed.answers(bed.task))
        return f"{len(first_answers[0].statuses)} answers"

    yield (first := _check("runs", "fits, and answers on clips of other speakers", runs))
    if not first.passed:
        return
    answers, n, labels = first_answers[0], len(bed.test_clips), bed.task.labels
    anew = "fitted anew with the same seed, the same answers"
    yield _check("rows", "one answer per clip", lambda: one_row_each(answers, n))
    yield _check("statuses", f"one of {', '.join(STATUSES)}", lambda: known_statuses(answers))
    yield _check(
        "labels",
        "an offered label on every ok row (or probabilities, where the answer is none of them), if labels are offered",
        lambda: offered_labels(answers, labels),
    )
    yield _check(
        "probabilities",
        "finite, 0 or more, sum to one, or none",
        lambda: sound_probabilities(answers, labels),
    )
    yield _check(
        "dimensions", "(clips, 3) in 0..1, NaN for no answer, or none", lambda: sound_dimensions(answers)
    )
    yield _check("notes", "JSON values", lambda: json_notes(answers))
    yield _check("determinism", anew, lambda: same_answers(answers, bed.answers(bed.task), 0.0))
    yield _check("test labels", "no label of a test clip reaches it", lambda: _blind(bed, answers))
    if bed.system.card.adapter is not None:
        yield from predictor_checks(bed)


def predictor_checks(bed: TestBed) -> Iterator[Check]:
    """What is asked of a predictor beyond its answers."""
    predictor, clips = bed.fitted(bed.task), bed.test_clips

    def repeats() -> str:
        return same_answers(predictor.predict(clips), predictor.predict(clips), 0.0)

    def keeps_order() -> str:
        back = list(range(len(clips)))[::-1]
        turned = predictor.predict(_take(clips, back))
        return same_answers(predictor.predict(clips), _turn(turned, back), ORDER_TOLERANCE)

    def leaves_inputs_alone() -> str:
        waveforms = list(clips.waveforms())
        given = [w.copy() for w in waveforms]
        predictor.predict(replace(clips, read=lambda i: given[i]))
        return untouched(waveforms, given)

    yield _check("predicts again", "a second call gives the same answers", repeats)
    if bed.system.card.family != "reference":  # chance draws by the list of clips, not by their sound
        order = f"clips in another order get the same answers, to {ORDER_TOLERANCE:g}"
        yield _check("order", order, keeps_order)
    yield _check("inputs", "waveforms stay as they were", leaves_inputs_alone)
    yield _check("odd audio", f"{ODD}: a row each, no exception", lambda: _odd_answers(bed, predictor))


def _check(name: str, demand: str, body: Callable[[], str]) -> Check:
    try:
        return Check(name, demand, True, body())
    except (CannotRun, UsageError):
        raise  # the machine or the card, not the adapter's conduct
    except Violation as problem:
        return Check(name, demand, False, str(problem))
    except Exception as problem:  # noqa: BLE001 - an adapter may raise anything, and that is what is being tested
        return Check(name, demand, False, f"raises {type(problem).__name__}: {problem}")


def _blind(bed: TestBed, answers: Answers) -> str:
    """Give the first fold's test clips other labels and dimensions: its answers must not change."""
    task, test = bed.task, bed.task.folds[0].test
    names, moved = list(task.emotions), task.dimensions.copy()
    for i in test:
        names[i] = task.labels[(task.labels.index(names[i] or task.labels[0]) + 1) % len(task.labels)]
    moved[test] = 1 - moved[test]
    try:
        same_answers(
            answers, bed.answers(replace(task, emotions=tuple(names), dimensions=moved)), LEAK_TOLERANCE
        )
    except Violation as problem:
        raise Violation(f"with other test labels the answers change: {problem}") from None
    return "other test labels, the same answers"


def _odd_answers(bed: TestBed, predictor: Predictor) -> str:
    outcomes = []
    odd = odd_audio()
    for i, name in enumerate(odd.ids):
        if bed.features is not None and odd.pcm_hashes[i] not in bed.features:
            outcomes.append(f"{name}: not asked, its encoder fails")
            continue
        answers = predictor.predict(_take(odd, [i]))
        one_row_each(answers, 1)
        known_statuses(answers)
        sound_probabilities(answers, bed.task.labels)
        sound_dimensions(answers)
        outcomes.append(f"{name}: {answers.statuses[0]}")
    return ", ".join(outcomes)


def _take(clips: Clips, rows: Sequence[int]) -> Clips:
    """Clips at these places, in this order."""
    return Clips(
        ids=tuple(clips.ids[i] for i in rows),
        pcm_hashes=tuple(clips.pcm_hashes[i] for i in rows),
        seconds=clips.seconds[list(rows)],
        languages=tuple(clips.languages[i] for i in rows),
        read=lambda i: clips.read(rows[i]),
        transcripts=tuple(clips.transcripts[i] for i in rows) if clips.transcripts else (),
    )


def _turn(answers: Answers, rows: Sequence[int]) -> Answers:
    """Answers at these places, in this order."""
    order = list(rows)
    return Answers(
        tuple(answers.statuses[i] for i in order),
        tuple(answers.labels[i] for i in order),
        None if answers.probabilities is None else answers.probabilities[order],
        None if answers.dimensions is None else answers.dimensions[order],
    )
