"""Protocol ``transfer``: learn on other corpora, answer on all clips of the target.

What is learnt never comes from the target's pool, nor from a corpus that contains it or is contained in it, nor from any clip whose
sound occurs in the target: a second copy of a corpus under another name shares no speaker with its first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.cards.corpus import CorpusCard
from bench.cards.labels import View, label_table
from bench.errors import DataError, UsageError, nearest
from bench.protocols import Array
from bench.storage.hashing import digest, hash_json
from bench.tasks.folds import MIN_DEV_GROUPS, MIN_DEV_SHARE, Fold, groups_of
from bench.tasks.names import match_tasks, split_task_name
from bench.tasks.task import Task
from bench.tasks.training_data import TrainingData, TrainingSource

_Value = TypeVar("_Value")
OTHER_POOLS = "other-pools"
"""Train on all pools but the target's."""
OTHER_LANGUAGES = "other-languages"
"""Train on all corpora in other languages than the target's, and never on its pool."""


@dataclass(frozen=True)
class Candidate:
    """A task at hand, as far as it must be known to be chosen or left out."""

    name: str
    card: CorpusCard

    @property
    def language(self) -> str:
        """Primary subtag of its BCP 47 tag: ``en`` of ``en-SG``."""
        return split_task_name(self.name)[1].partition("-")[0].lower()


def trainings(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """Spell out ``training:``: the two rules as they are, patterns as the tasks they mean.

    Raises:
        UsageError: neither a rule nor a task at hand.
    """
    found: dict[str, None] = {}
    for item in asked:
        if item in (OTHER_POOLS, OTHER_LANGUAGES):
            found[item] = None
            continue
        matched = match_tasks(item, known)
        if not matched and not set(item) & set("*?["):
            raise UsageError(
                f"training: {item!r} is neither a task at hand nor a rule; {nearest(item, [OTHER_POOLS, OTHER_LANGUAGES, *known])}"
            )
        found.update(dict.fromkeys(matched))
    return list(found)


def related(a: CorpusCard, b: CorpusCard) -> bool:
    """Whether two corpora draw from the same recordings: one pool, or one card says that it contains the other.

    ``contains`` may name corpora or pools.
    """
    if a.pool_name == b.pool_name:
        return True
    return any(
        {other.name, other.pool_name} & set(getattr(one, "contains", ())) for one, other in ((a, b), (b, a))
    )


def source_names(target: Candidate, training: str, candidates: Sequence[Candidate]) -> list[str]:
    """Choose the tasks that are learnt from.

    Real and synthetic corpora are never mixed by a rule; a task that is named is taken as it is.

    Args:
        target: what is answered on.
        training: ``other-pools``, ``other-languages``, or a task's name.
        candidates: the tasks at hand.

    Returns:
        The tasks' names.

    Raises:
        DataError: nothing is left, with the reason.
    """
    if training in (OTHER_POOLS, OTHER_LANGUAGES):
        alike = [c for c in candidates if c.card.synthetic == target.card.synthetic]
        chosen = [c for c in alike if not related(c.card, target.card)]
        if not chosen:
            raise DataError(
                f"{target.name}: nothing to learn from by {training!r}: every corpus at hand draws from its pool "
                f"{target.card.pool_name!r}; prepare another corpus, or name more folders with --data"
            )
        if training == OTHER_LANGUAGES:
            chosen = [c for c in chosen if c.language != target.language]
            if not chosen:
                raise DataError(
                    f"{target.name}: nothing to learn from by {training!r}: every other corpus at hand is in "
                    f"{target.language!r} as well; prepare one in another language"
                )
        return [c.name for c in chosen]
    named = next((c for c in candidates if c.name == training), None)
    if named is None:
        raise DataError(f"{target.name}: the training task {training!r} is not at hand")
    if related(named.card, target.card):
        raise DataError(
            f"{target.name}: cannot learn from {training}: both draw from the pool {target.card.pool_name!r} (or one contains "
            "the other), so they share speakers; use protocol: within, or another corpus"
        )
    return [named.name]


def transfer_data(target: Task, sources: Sequence[Task], view: View) -> tuple[Task, TrainingData]:
    """Lay out what is learnt from the sources and answered on the target, in a view.

    A clip that occurs in the target, or twice in the sources, is learnt from once at most.

    Args:
        target: the task that is answered on.
        sources: the tasks that are learnt from, of other pools.
        view: label space that is learnt and scored in.

    Returns:
        The target as it is asked about (its view, and the labels on offer: those the training clips show), and the training data.

    Raises:
        DataError: nothing is left to learn from, or too few speakers to choose on.
    """
    pools = {s.card.pool_name for s in sources}
    if target.card.pool_name in pools:
        raise DataError(f"{target.name}: its own pool {target.card.pool_name!r} is among its training data")
    known_sounds = {d.pcm_hash for d in target.decoded if d.message is None and d.pcm_hash}
    taken = _choosable([(source, _teaching(source, view, known_sounds)) for source in sources])
    used = [
        TrainingSource(
            s.name,
            len(rows),
            len({s.speakers[i] for i in rows} - {""}),
            len(s) - len(rows),
            _labels_learnt(s, rows, view),
        )
        for s, rows in taken
    ]
    if not any(s.clips for s in used):
        raise DataError(
            f"{target.name}: nothing to learn from: of {', '.join(s.name for s in sources)}, every clip has no label in the view "
            f"{view!r}, no audio, or occurs in the target itself"
        )
    emotions = [
        label_table().place(view, e) if e is not None else None
        for s, r in taken
        for e in _pick(s.emotions, r)
    ]
    offered = tuple(v for v in label_table().views[view] if v in set(emotions))
    n = len(target)
    speakers = tuple(x for s, r in taken for x in _pick(s.speakers, r))
    pool_of = [s.card.pool_name for s, r in taken for _ in r]
    kinds = [
        [x for s, r in taken for x in _pick(s.identities[kind], r)]
        for kind in ("speaker", "session", "dialogue")
    ]
    dev = _dev_rows(target.name, pool_of, speakers, groups_of(kinds))
    behind = np.arange(n, n + len(speakers))
    folds = tuple(Fold(f.name, behind[~dev], behind[dev], f.test) for f in target.folds)
    data = TrainingData(
        decoded=target.decoded + tuple(x for s, r in taken for x in _pick(s.decoded, r)),
        languages=target.languages + tuple(x for s, r in taken for x in _pick(s.languages, r)),
        transcripts=target.transcripts + tuple(x for s, r in taken for x in _pick(s.transcripts, r)),
        emotions=(None,) * n + tuple(emotions),
        dimensions=_stacked(n, taken),
        speakers=target.speakers + speakers,
        folds=folds,
        labels=offered,
        sources=tuple(used),
        soft_labels=_votes(n, offered, view, taken),
        hash=_hash(view, offered, behind[dev], taken),
    )
    return replace(target, view=view, offered=offered), data


def _labels_learnt(source: Task, rows: NDArray[np.intp], view: str) -> tuple[tuple[str, int], ...]:
    """How many of these rows carry each label of a view."""
    table = label_table()
    placed = Counter(table.place(view, e) for e in _pick(source.emotions, rows) if e is not None)
    return tuple((label, n) for label in table.views[view] if (n := placed[label]))


def _teaching(task: Task, view: str, known_sounds: set[str]) -> NDArray[np.intp]:
    """Rows to learn from: with audio, and a label of the view or a dimension; no sound that is known already.

    Adds to ``known_sounds``. Before any audio is decoded (a forecast) every labelled row is taken.
    """
    table = label_table()
    named = np.array([e is not None and table.place(view, e) is not None for e in task.emotions])
    labelled = named | np.isfinite(task.dimensions).any(axis=1)
    audible = task.audible
    rows = np.flatnonzero(labelled & audible if audible.any() else labelled)
    fresh = []
    for row in rows.tolist():
        pcm_hash = task.decoded[row].pcm_hash
        if not pcm_hash or pcm_hash not in known_sounds:
            fresh.append(row)
            known_sounds.add(pcm_hash)
    return np.array(fresh, dtype=np.intp)


def _choosable(taken: list[tuple[Task, NDArray[np.intp]]]) -> list[tuple[Task, NDArray[np.intp]]]:
    """Leave out clips that name no speaker, where otherwise no source could lend speakers to choose on.

    A pool with such clips is learnt from whole and lends nobody (:func:`_dev_rows`); when every pool is like that, those that name
    their speakers in part lend theirs, and the clips in which any of them may be heard are gone from training.
    """
    pools: dict[str, set[str]] = defaultdict(set)
    for source, rows in taken:
        pools[source.card.pool_name] |= {source.speakers[i] for i in rows.tolist()}
    if any("" not in names and len(names) > 1 for names in pools.values()):
        return taken
    return [
        (s, np.array([i for i in rows.tolist() if s.speakers[i]], dtype=np.intp))
        if len(pools[s.card.pool_name]) > MIN_DEV_GROUPS
        else (s, rows)
        for s, rows in taken
    ]


def _pick(values: Sequence[_Value], rows: NDArray[np.intp]) -> list[_Value]:
    return [values[i] for i in rows]


def _stacked(n: int, taken: Sequence[tuple[Task, NDArray[np.intp]]]) -> Array:
    """Dimensions of all rows; those of the target are withheld."""
    return np.concatenate([np.full((n, 3), np.nan), *(s.dimensions[r] for s, r in taken)])


def _votes(
    n: int, offered: Sequence[str], view: View, taken: Sequence[tuple[Task, NDArray[np.intp]]]
) -> Array | None:
    """Shares of listeners' votes over the labels on offer, NaN where none of them got one; None without any votes."""
    table, place = label_table(), {label: i for i, label in enumerate(offered)}
    parts = [np.zeros((n, len(offered)))]
    for source, rows in taken:
        counts = np.zeros((len(rows), len(offered)))
        for votes, label in zip(source.vote_counts[rows].T, source.labels, strict=False):
            if (column := place.get(table.place(view, label) or "")) is not None:
                counts[:, column] += votes
        parts.append(counts)
    counts = np.concatenate(parts)
    total = counts.sum(axis=1, keepdims=True)
    if not total.any():
        return None
    shares: Array = np.where(total > 0, counts / np.maximum(total, 1e-12), np.nan)
    return shares


def _hash(
    view: str, offered: Sequence[str], dev: NDArray[np.intp], taken: Sequence[tuple[Task, NDArray[np.intp]]]
) -> str:
    return hash_json(
        {
            "view": view,
            "offered": list(offered),
            "sources": [[s.name, s.content_hash, s.labels, r.tolist()] for s, r in taken],
            "dev": dev.tolist(),
        }
    )


def _dev_rows(
    what: str, pools: Sequence[str], speakers: Sequence[str], groups: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Choose validation rows: in every pool some speakers, the same ones every time, until they hold a tenth of its clips.

    Clips of one speaker, session or dialogue stay together. A pool with clips that nobody is named for is learnt from
    whole, since any of its speakers may be heard in them; so is a pool with one group alone.
    """
    dev = np.zeros(len(groups), dtype=bool)
    spare: list[list[int]] = []
    rows_of: dict[str, list[int]] = defaultdict(list)
    for i, pool in enumerate(pools):
        rows_of[pool].append(i)
    for _, rows in sorted(rows_of.items()):
        if not all(speakers[i] for i in rows):
            continue
        parts: dict[int, list[int]] = defaultdict(list)
        for i in rows:
            parts[int(groups[i])].append(i)
        dealt = sorted(parts.values(), key=lambda part: digest(min(speakers[i] for i in part)))
        chosen = 0
        while len(dealt) > 1 and chosen < MIN_DEV_SHARE * len(rows):
            part = dealt.pop()
            dev[part], chosen = True, chosen + len(part)
        spare += dealt
    # Two groups at least judge; the pools' further speakers fill up, as long as two are left to learn from.
    while len(set(groups[dev])) < MIN_DEV_GROUPS and len(spare) > MIN_DEV_GROUPS:
        dev[spare.pop()] = True
    if not dev.any() or dev.all():
        raise DataError(
            f"{what}: its training clips name {len({s for s in speakers if s})} speaker(s); at least two in one corpus whose clips "
            "all name theirs are needed, to choose on other speakers than those learnt from"
        )
    return dev
