"""Records of the same clips beside each other: what they say of the truth must be one thing, whoever was tested.

Two records with one ``content_hash`` were scored on the same clips with the same labels and speakers. So they have the same clusters
and, in each of these, the same true classes, ratings and votes. Where two disagree, at least one of them was forged, and how many say the
same proves nothing: a forger may send ten. The one whose labels were checked against the corpus stands; else none does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from bench.leaderboard.own_evidence import true_sums
from bench.protocols import Array
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import LISTENER, Counts, Record
from bench.storage.hashing import digest

CLOSE = 1e-6
NAMINGS = (1, 2, 4)
"""Schemas from which on clusters are named in another way: by the folds, by the task's content, by a key from the audio."""


@dataclass(frozen=True)
class Truth:
    """What a record says of the truth: digests of what is counted, and sums of what is rated, by what they are of.

    ``counted`` names → two digests: with the clusters' names, and without (sorted), for records that name clusters
    otherwise. ``rated`` → (clusters, sums), clusters by name.
    """

    naming: int
    counted: Mapping[str, tuple[str, str]]
    rated: Mapping[str, Array]

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "naming": self.naming,
            "counted": {k: list(v) for k, v in self.counted.items()},
            "rated": {k: v.tolist() for k, v in self.rated.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Truth:
        """Read what :meth:`as_json` gave; raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            int(value["naming"]),
            {str(k): (str(a), str(b)) for k, (a, b) in value["counted"].items()},
            {str(k): np.asarray(v, dtype=float) for k, v in value["rated"].items()},
        )

    def difference(self, other: Truth) -> str:
        """Say what the two tell differently, the first of it, or nothing."""
        which = 0 if self.naming == other.naming else 1
        for name, own in self.counted.items():
            if name in other.counted and own[which] != other.counted[name][which]:
                return name
        if which:
            return ""
        for name, sums in self.rated.items():
            beside = other.rated.get(name)
            if beside is not None and not (
                sums.shape == beside.shape and np.allclose(sums, beside, rtol=1e-9, atol=CLOSE)
            ):
                return name
        return ""


def truth_of(record: Record) -> Truth:
    """Gather what a record says of the truth."""
    facts = record.facts
    counted = {
        "clips, speakers and clusters": _digests([(facts.clips, facts.speakers, facts.cluster, len(facts.clusters))]),
        "names of clusters": _digests([(c.name,) for c in facts.clusters], named=True),
        f"clusters of each fold of {facts.folds_hash}": _digests([(c.name, c.fold) for c in facts.clusters], named=True),
        **{f"groups of clips by {_sorted_by(a.axis, facts)}": _digests([("", a.groups, bool(a.absent))]) for a in facts.axes},
    }  # fmt: skip
    rated: dict[str, Array] = {}
    for block in (*record.blocks, *record.slices):
        name = _truth_name(block, facts)
        sums = true_sums(block) if name else None
        if sums is None:
            continue
        clusters = facts.cluster_names(block.axis)
        order = np.argsort(clusters)
        own = sums[0][order]
        if (block.categorical and block.axis != LISTENER) or block.target == "calibration":
            rows = [
                (clusters[i], np.rint(row).astype(int).tolist()) for i, row in zip(order, own, strict=True)
            ]
            counted[name] = _digests(rows)
        else:
            rated[name] = own
    naming = max(n for n in NAMINGS if n <= facts.schema_version)
    return Truth(naming, counted, rated)


def _truth_name(block: Counts, facts: RecordFacts) -> str:
    """What a block's true sums are of, in words that tell them apart; blank for those of the ok rows, which a system decides."""
    if block.rows != "all" or block.outside != "wrong":
        return ""
    what = f"true {block.target} ({block.view})"
    if block.target in ("votes", "calibration"):  # over the labels that were offered
        what += f" over {', '.join(facts.labels_offered)}"
        if block.target == "votes":
            what += ", where there are votes"
    if block.labels and block.target == "category":
        what += f" of {', '.join(block.labels)}"
    return what + (f" by {_sorted_by(block.axis, facts)} {block.group}" if block.axis else "")


def _sorted_by(axis: str, facts: RecordFacts) -> str:
    """An axis, of a further column with its edges: cards that draw other bands contradict nobody."""
    edges = facts.corpus_card.slices.get(axis, ())
    return axis + (f" at {', '.join(f'{e:.12g}' for e in edges)}" if edges else "")


def _digests(rows: Sequence[tuple[Any, ...]], *, named: bool = False) -> tuple[str, str]:
    """Digests of rows with their first entry, a cluster's name, and without; of rows that are names, their number alone."""
    whole = digest(*sorted(map(repr, rows)))
    without = digest(str(len(rows))) if named else digest(*sorted(repr(r[1:]) for r in rows))
    return whole, without


class _Placed(Protocol):
    """A published record as this module needs it."""

    @property
    def place(self) -> str:
        """What names it in a sentence: publication and record."""

    @property
    def trust(self) -> int:
        """How sure its labels are: 2 checked here, 1 attested by somebody the board accepts, 0 neither."""


Placed = TypeVar("Placed", bound=_Placed)


def disagreements(
    records: Sequence[tuple[Placed, RecordFacts]], truth: Callable[[Placed], Truth]
) -> Iterator[tuple[Placed, str]]:
    """Yield every record that cannot stand because another of the same clips says otherwise, with the sentence why.

    Args:
        records: published records that are not retracted, with their facts.
        truth: gives what a record says of the truth.
    """
    by_content: dict[str, list[Placed]] = defaultdict(list)
    for record, facts in records:
        by_content[facts.content_hash].append(record)
    for members in by_content.values():
        yield from _of_one_content(members, truth)


def _of_one_content(
    members: Sequence[Placed], truth: Callable[[Placed], Truth]
) -> Iterator[tuple[Placed, str]]:
    # The surest first: whoever disagrees with them is the one that is refused.
    camps: list[list[Placed]] = []
    against: dict[int, tuple[Placed, str]] = {}
    for record in sorted(members, key=lambda r: -r.trust):
        for camp in camps:
            what = truth(camp[0]).difference(truth(record))
            if not what:
                camp.append(record)
                break
            against.setdefault(id(record), (camp[0], what))
        else:
            camps.append([record])
    if len(camps) < 2:
        return
    most = max(r.trust for r in members)
    surest = [camp for camp in camps if camp[0].trust == most]
    stands = surest[0] if most > 0 and len(surest) == 1 else None
    for camp in camps:
        if camp is stands:
            continue
        for record in camp:
            other, what = against.get(id(record), (next(c for c in camps if c is not camp)[0], ""))
            what = what or truth(record).difference(truth(other))
            yield record, _sentence(other, what, stands is not None)


def _sentence(other: _Placed, what: str, stands: bool) -> str:
    said = f"says other {what[:200]} than {other.place}, though both were scored on the same clips"
    if stands:
        return f"{said}; the labels of that one were checked against the corpus, so this one does not stand: score the run again"
    return (
        f"{said}; nobody who checked the corpus's labels vouches for just one of them, so neither stands: retract the forged one, or let "
        "somebody who holds the corpus run serbench leaderboard attest"
    )
