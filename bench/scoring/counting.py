"""From prediction tables and true labels to additive statistics: every clip is counted once, in its cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from bench.cards.analysis_plan import AnalysisPlan
from bench.cards.labels import VIEWS, label_table
from bench.corpora.naming import Naming
from bench.errors import DataError
from bench.protocols import DIMENSIONS, STATUSES, Array
from bench.scoring.human_reference import human_references
from bench.scoring.predictions import PredictionTable
from bench.scoring.record_schema import AxisDescription, ClusterFold
from bench.scoring.records import LISTENER, MOMENTS, SENTENCE, Counts
from bench.scoring.segment_answers import put_together
from bench.scoring.sentences import SentenceCells, sentence_cells
from bench.scoring.subgroups import SubgroupAxis, axes_of
from bench.statistics.additive import (
    calibration_statistics,
    confusion_statistics,
    moment_statistics,
    soft_label_statistics,
)
from bench.statistics.calibration import FINE_EDGES
from bench.tasks import Task, recheck
from bench.tasks.segments import scored

ClipCodes = NDArray[np.intp]
"""One number per clip, (clips,): where it is counted. −1 leaves the clip out."""
CONFIDENCES = tuple(str(i) for i in range(len(FINE_EDGES)))
"""Names of the fine bins of confidence."""
CALIBRATION_SUMS = ("n", "sum_confidence", "right", "sum_brier")
VOTE_SUMS = ("n", "sum_entropy", "sum_kullback_leibler", "sum_jensen_shannon")
"""Names of the four sums of soft labels, nats."""
MID_SCALE = 0.5
"""What a missing answer to a dimension counts as."""


class CountedParts(TypedDict):
    """Fields of a record's facts that counting decides."""

    clusters: tuple[ClusterFold, ...]
    speaker_names: tuple[str, ...]
    sentence_names: tuple[str, ...]
    sentence_cells: tuple[tuple[int, int], ...]
    sentences_absent: str
    axes: tuple[AxisDescription, ...]
    statuses: dict[str, int]
    coverage: float


@dataclass(frozen=True)
class Counted:
    """A record's statistics, and what they are counted over: clusters (hashed names) with the fold each is tested in."""

    clusters: tuple[str, ...]
    folds: tuple[str, ...]
    speaker_names: tuple[str, ...]
    sentences: SentenceCells
    axes: tuple[SubgroupAxis, ...]
    statuses: Mapping[str, int]
    blocks: tuple[Counts, ...]
    slices: tuple[Counts, ...]

    @property
    def coverage(self) -> float:
        """Share of answers that are ok, over all seeds."""
        return self.statuses.get("ok", 0) / sum(self.statuses.values())

    def described(self) -> CountedParts:
        """What a record says of its own counts."""
        return CountedParts(
            clusters=tuple(
                ClusterFold(name=n, fold=f) for n, f in zip(self.clusters, self.folds, strict=True)
            ),
            speaker_names=self.speaker_names,
            sentence_names=self.sentences.names,
            sentence_cells=self.sentences.cells,
            sentences_absent=self.sentences.absent,
            axes=tuple(a.described() for a in self.axes),
            statuses=dict(self.statuses),
            coverage=self.coverage,
        )


def count_all(
    task: Task,
    seeds: Sequence[PredictionTable],
    plan: AnalysisPlan,
    *,
    by_clip: bool = False,
    names: Naming | None = None,
) -> Counted:
    """Count a record: all of it, and its slices in the finest view it has and the plan's primary view.

    Clusters are named under the key of the corpus's audio, so that records of the same corpus pair up, whatever their
    protocol and split.

    Args:
        task: what was answered; segments are put together here.
        seeds: one table per seed over all test clips (:func:`whole_table`).
        plan: names the primary view.
        by_clip: make every clip a cluster of its own, for those who ask what that would say; no slices then.
        names: how clusters and speakers were named otherwise, in a record of an earlier schema; None: as they are named now.

    Returns:
        Statistics of the whole and of slices, and what they are counted over.
    """
    task, naming = scored(task), names or task.names
    units = task.clip_ids if by_clip else task.clusters
    named = {unit: naming.cluster(unit) for unit in set(units)}
    clusters = sorted(named.values())
    place = {name: i for i, name in enumerate(clusters)}
    cluster_of = np.array([place[named[unit]] for unit in units], dtype=np.intp)
    fold_of = np.zeros(len(clusters), dtype=np.intp)
    for f, part in enumerate(task.folds):
        fold_of[cluster_of[part.test]] = f
    axes = () if by_clip else tuple(axes_of(task, naming))
    sentences = SentenceCells() if by_clip else sentence_cells(task, cluster_of, naming)
    views = {task.view, plan.primary_view}
    statuses = Counter(s for seed in seeds for s in seed.statuses)
    blocks = count(task, seeds, cluster_of, len(clusters))
    if not by_clip:
        blocks += count_probabilities(task, seeds, cluster_of, len(clusters))
    return Counted(
        clusters=tuple(clusters),
        folds=tuple(task.folds[f].name for f in fold_of),
        speaker_names=next((a.groups for a in axes if a.name == "speaker"), ()),
        sentences=sentences,
        axes=axes,
        statuses={s: statuses[s] for s in STATUSES if statuses[s]},
        blocks=tuple(blocks),
        slices=()
        if by_clip
        else tuple(
            count_slices(task, seeds, cluster_of, len(clusters), axes, views)
            + count_sentences(task, seeds, sentences, views)
            + count_listeners(task, len(seeds), place, naming)
        ),
    )


def whole_table(task: Task, protocol: str, seed: int, parts: Sequence[PredictionTable]) -> PredictionTable:
    """Put the folds of one seed together, in the task's row order; segments to clips where the task says so.

    Args:
        task: what was answered, before segments are put together.
        protocol: of the record; ``within`` checks the folds again.
        seed: for the sentences.
        parts: the tables, one per fold.

    Returns:
        One table over all test clips.

    Raises:
        DataError: the tables do not answer each test clip once, or were made with other labels; the message names
            the tables and the clips.
    """
    if protocol == "within":
        recheck(task)
    tests = {f.name: {task.clip_ids[i] for i in f.test} for f in task.folds}
    what, task = f"{task.name}, seed {seed}", task.tested
    for part in parts:
        test_clips = tests.get(str(part.identity.get("fold")))
        if test_clips is not None and (wrong := sorted(set(part.clip_ids) - test_clips)):
            raise DataError(
                f"{part.origin}: answers {wrong[0]!r} ({len(wrong)} such clips), which fold {part.identity['fold']} of {what} "
                "does not test"
            )
        if part.labels != task.offered_labels:
            raise DataError(
                f"{part.origin}: offers the labels {', '.join(part.labels)}, but {what} has {', '.join(task.offered_labels)}"
            )
    row: dict[str, tuple[int, int]] = {}
    for p, part in enumerate(parts):
        for j, clip in enumerate(part.clip_ids):
            if clip in row:
                raise DataError(
                    f"{what}: the clip {clip!r} is answered in two prediction tables, {parts[row[clip][0]].origin} and {part.origin}"
                )
            row[clip] = (p, j)
    known = set(task.clip_ids)
    strange = [(clip, parts[p].origin) for clip, (p, _) in row.items() if clip not in known]
    if strange:
        raise DataError(
            f"{strange[0][1]}: answers {strange[0][0]!r}, which is no test clip of {what} ({len(strange)} such clips)"
        )
    missing = [c for c in task.clip_ids if c not in row]
    if missing:
        raise DataError(
            f"{what}: the {len(parts)} prediction table(s) do not answer each test clip once: {len(missing)} of {len(task)}"
            f" missing, first {missing[0]!r} ({_missing_folds(task, set(missing))})"
        )
    positions = [row[c] for c in task.clip_ids]
    all_probable = all(p.probabilities is not None for p in parts)
    probabilities = np.stack([parts[p].probabilities[j] for p, j in positions]) if all_probable else None  # type: ignore[index]
    whole = PredictionTable(
        clip_ids=task.clip_ids,
        statuses=tuple(parts[p].statuses[j] for p, j in positions),
        answers=tuple(parts[p].answers[j] for p, j in positions),
        labels=parts[0].labels,
        probabilities=probabilities,
        dimensions=np.stack([parts[p].dimensions[j] for p, j in positions]),
        replies=tuple(parts[p].replies[j] for p, j in positions),
        identity={},
    )
    return put_together(task, whole) if task.by_clip else whole


def _missing_folds(task: Task, missing: set[str]) -> str:
    """Name the folds that are missing altogether, or those that lack some clips."""
    ids = [[task.clip_ids[i] for i in fold.test] for fold in task.folds]
    whole = [f.name for f, clips in zip(task.folds, ids, strict=True) if missing.issuperset(clips)]
    torn = [f.name for f, clips in zip(task.folds, ids, strict=True) if not missing.isdisjoint(clips)]
    return f"no table of fold {', '.join(whole)}" if whole else f"in fold {', '.join(torn)}"


def count(
    task: Task,
    seeds: Sequence[PredictionTable],
    places: ClipCodes,
    n_places: int,
    *,
    views: Collection[str] = VIEWS,
    outsides: Collection[str] = ("wrong", "masked"),
    kinds: Collection[str] = ("all", "ok"),
) -> list[Counts]:
    """Count what scores are made of, for each view, outside rule and choice of rows, and for each dimension.

    Args:
        task: what was answered, segments put together.
        seeds: one table per seed, in the task's row order.
        places: where each clip is counted, (clips,): its cluster, for a start; −1 leaves it out.
        n_places: how many places there are.
        views: the views to count in, of those no finer than the task's.
        outsides: what becomes of answers outside the view, ``wrong`` or ``masked``.
        kinds: ``all`` clips, or those answered (``ok``).

    Returns:
        Blocks whose values are (seeds, n_places, K, K + 1) for K classes, (seeds, n_places, 6) for a dimension.
    """
    blocks: list[Counts] = []
    named = VIEWS[VIEWS.index(task.view) :] if any(map(_answers_classes, seeds)) else ()
    for view in (v for v in named if v in views):
        labels = label_table().view_labels(view, task.labels)
        if len(labels) < 2:
            continue
        for outside in outsides:
            if outside == "masked" and (view == "native" or any(s.probabilities is None for s in seeds)):
                continue
            for rows in kinds:
                values = [_confusions(task, s, view, labels, outside, rows, places, n_places) for s in seeds]
                blocks.append(Counts(view, outside, rows, "category", labels, np.stack(values)))
    for d, dimension in enumerate(DIMENSIONS):
        known = np.isfinite(task.dimensions[:, d])
        # A system that answers it on none of the clips that carry it has no score, rather than that of mid-scale.
        if all(np.isfinite(s.dimensions[known, d]).any() for s in seeds):
            for rows in kinds:
                values = [_moments(task, s, d, rows, places, n_places) for s in seeds]
                blocks.append(Counts("dimensions", "wrong", rows, dimension, (), np.stack(values), MOMENTS))
    return blocks


def _answers_classes(table: PredictionTable) -> bool:
    """Whether a system answers classes at all: one that gives numbers for dimensions alone has no UA, rather than one of 0.

    Rows that are not ok say nothing of it: of a system that failed everywhere, each class is counted as missed.
    """
    ok = np.array([status == "ok" for status in table.statuses])
    dimensions_alone = ok.any() and bool(np.isfinite(table.dimensions[ok]).any(axis=1).all())
    return not (dimensions_alone and table.probabilities is None and not any(table.answers))


def count_probabilities(
    task: Task, seeds: Sequence[PredictionTable], places: ClipCodes, n_places: int
) -> list[Counts]:
    """Count how far probabilities are to be trusted, and how far they are from listeners' votes where there are any.

    Over the labels that were offered, where all seeds gave probabilities, on the clips whose class (or whose votes, in
    part) was among them. A clip that is not ok knows nothing: its probabilities count as uniform, and as wrong.

    Args:
        task: what was answered, segments put together.
        seeds: one table per seed, in the task's row order.
        places: where each clip is counted, (clips,); −1 leaves it out.
        n_places: how many places there are.

    Returns:
        Blocks ``calibration``, (seeds, n_places, bins, 4), and ``votes``, (seeds, n_places, 4), for all rows and the ok ones.
    """
    labels, table = task.offered_labels, label_table()
    if len(labels) < 2 or any(s.probabilities is None for s in seeds):
        return []
    code = {label: i for i, label in enumerate(labels)}

    def offered(name: str | None) -> int:
        return code.get(table.place(task.view, name) or "", -1) if name else -1

    truth = np.array([offered(e) for e in task.emotions])
    votes = np.zeros((len(task), len(labels)))
    for i, clip_votes in enumerate(task.votes):
        for name, n in (clip_votes or {}).items():
            if (column := offered(name)) >= 0:
                votes[i, column] += n
    voted = votes.sum(axis=1) > 0
    blocks = []
    for rows in ("all", "ok"):
        calibration, agreement = [], []
        for seed in seeds:
            counted = _counted(seed, rows, places)
            probabilities = distributions(seed)
            usable = counted & (truth >= 0)
            sums = np.zeros((n_places, len(CONFIDENCES), len(CALIBRATION_SUMS)))
            if usable.any():
                sums += calibration_statistics(
                    truth[usable], probabilities[usable], places[usable], n_clusters=n_places
                )
            calibration.append(sums)
            usable = counted & voted
            sums = np.zeros((n_places, len(VOTE_SUMS)))
            if usable.any():
                sums += soft_label_statistics(
                    votes[usable], probabilities[usable], places[usable], n_clusters=n_places
                )
            agreement.append(sums)
        block = Counts(
            task.view, "wrong", rows, "calibration", CONFIDENCES, np.stack(calibration), CALIBRATION_SUMS
        )
        blocks.append(block)
        if voted.any():
            blocks.append(
                replace(block, target="votes", labels=(), values=np.stack(agreement), sums=VOTE_SUMS)
            )
    return blocks


def count_listeners(task: Task, seeds: int, place: Mapping[str, int], names: Naming) -> list[Counts]:
    """Count what one listener answers where the others' majority, or the intended label, is the truth.

    Args:
        task: with its votes and ratings.
        seeds: how many the record has. None decides anything here: all hold the same.
        place: row of each hashed cluster.
        names: how clusters are named.

    Returns:
        Blocks on the axis :data:`LISTENER`, (seeds, clusters, …); none without votes and ratings.
    """
    blocks = []
    for human in human_references(task):
        values = np.zeros((len(place), *human.statistics.shape[1:]))
        values[[place[names.cluster(c)] for c in human.clusters]] = human.statistics
        blocks.append(
            Counts(
                human.view, "wrong", "all", human.target, human.labels, np.repeat(values[np.newaxis], seeds, axis=0),
                () if human.target == "category" else MOMENTS, LISTENER, human.truth,
            )
        )  # fmt: skip
    return blocks


def count_slices(
    task: Task,
    seeds: Sequence[PredictionTable],
    cluster_of: ClipCodes,
    n_clusters: int,
    axes: Sequence[SubgroupAxis],
    views: Collection[str],
) -> list[Counts]:
    """Count over groups of clips: all rows, an answer outside the view wrong. Groups × clusters in one pass.

    Args:
        task: what was answered, segments put together.
        seeds: one table per seed, in the task's row order.
        cluster_of: each clip's cluster, (clips,).
        n_clusters: how many clusters there are.
        axes: how clips are sorted into groups.
        views: the views to count in.

    Returns:
        A block per group, (seeds, clusters, …); on the axis ``speaker`` one for all, (seeds, speakers, …).
    """
    blocks: list[Counts] = []
    for axis in axes:
        codes, groups = axis.codes, axis.groups
        if axis.absent or codes is None:
            continue
        by_speaker = axis.name == "speaker"
        places = codes if by_speaker else np.where(codes < 0, -1, codes * n_clusters + cluster_of)
        n_places = len(groups) * (1 if by_speaker else n_clusters)
        for whole in count(task, seeds, places, n_places, views=views, outsides=("wrong",), kinds=("all",)):
            if by_speaker:
                blocks.append(replace(whole, axis=axis.name))
                continue
            parts = np.split(whole.values, len(groups), axis=1)
            blocks += [
                replace(whole, values=v, axis=axis.name, group=g) for g, v in zip(groups, parts, strict=True)
            ]
    return blocks


def count_sentences(
    task: Task, seeds: Sequence[PredictionTable], sentences: SentenceCells, views: Collection[str]
) -> list[Counts]:
    """Count over cells of cluster and sentence: all rows, an answer outside the view wrong.

    Args:
        task: what was answered, segments put together.
        seeds: one table per seed, in the task's row order.
        sentences: the cells.
        views: the views to count in.

    Returns:
        A block per view and dimension, (seeds, cells, …); none where no cells are known.
    """
    if sentences.codes is None:
        return []
    whole = count(
        task, seeds, sentences.codes, len(sentences.cells), views=views, outsides=("wrong",), kinds=("all",)
    )
    return [replace(block, axis=SENTENCE) for block in whole]


def _confusions(
    task: Task, seed: PredictionTable, view: str, labels: tuple[str, ...], outside: str, rows: str,
    places: ClipCodes, n_places: int,
) -> Array:  # fmt: skip
    """Confusion counts of one seed, (places, K, K + 1)."""
    table = label_table()
    code = {label: i for i, label in enumerate(labels)}

    def coded(label: str | None) -> int:
        return code.get(table.place(view, label) or "", -1) if label is not None else -1

    truth = np.array([coded(e) for e in task.emotions])
    counted = (truth >= 0) & _counted(seed, rows, places)
    if outside == "masked":
        answers = masked_answers(seed, coded, len(labels))
    else:
        answers = np.array([coded(a) for a in seed.answers])
    counts = np.zeros((n_places, len(labels), len(labels) + 1))
    if counted.any():
        counts += confusion_statistics(
            truth[counted], answers[counted], places[counted], n_labels=len(labels), n_clusters=n_places
        )
    return counts


def _counted(seed: PredictionTable, rows: str, places: ClipCodes) -> NDArray[np.bool_]:
    inside = places >= 0
    return inside & np.array([s == "ok" for s in seed.statuses]) if rows == "ok" else inside


def masked_answers(table: PredictionTable, coded: Callable[[str | None], int], k: int) -> ClipCodes:
    """Answer with the class of the view that holds the most probability; −1 where there is none.

    Args:
        table: answers with probabilities.
        coded: the place of a label in the view, −1 outside it.
        k: how many classes the view has.

    Returns:
        A place per clip, (clips,).
    """
    assert table.probabilities is not None
    mass = np.zeros((len(table.clip_ids), k))
    for column, label in enumerate(table.labels):
        if (place := coded(label)) >= 0:
            mass[:, place] += table.probabilities[:, column]
    answered = np.array([s == "ok" for s in table.statuses]) & np.isfinite(mass).all(axis=1)
    return np.where(answered, np.nan_to_num(mass).argmax(axis=1), -1)


def distributions(seed: PredictionTable) -> Array:
    """Probabilities (clips, labels), NaN where the answer is not ok."""
    assert seed.probabilities is not None
    ok = np.array([s == "ok" for s in seed.statuses])
    return np.where(ok[:, np.newaxis], seed.probabilities, np.nan)


def _moments(task: Task, seed: PredictionTable, d: int, rows: str, places: ClipCodes, n_places: int) -> Array:
    """Six sums of one dimension and seed, (places, 6): a missing answer counts as mid-scale, or not at all (rows ``ok``)."""
    truth = task.dimensions[:, d]
    counted = np.isfinite(truth) & _counted(seed, rows, places)
    if rows == "ok":
        counted &= np.isfinite(seed.dimensions[:, d])
    predicted = np.where(np.isfinite(seed.dimensions[:, d]), seed.dimensions[:, d], MID_SCALE)
    sums = np.zeros((n_places, len(MOMENTS)))
    if counted.any():
        sums += moment_statistics(truth[counted], predicted[counted], places[counted], n_clusters=n_places)
    return sums
