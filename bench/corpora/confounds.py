"""Confounds: what tells a clip's label without listening to the emotion, found in a corpus's manifest.

A speaker who shows one emotion only, sentences that belong to emotions, clips of one emotion that are longer: a system can
score on them without hearing any emotion. Each is measured in two ways that chance does not flatter, and becomes a
caution where it is large enough to matter, with the protocols that it matters for: who speaks (and in which session) can only
be learnt where training and test share speakers; what a gender or a length tells, by whatever learns on the corpus; what a sentence
tells may be heard in its words by a system that learnt nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.cards.caution import Caution, Scope
from bench.protocols import Array
from bench.statistics.validation import coded

LENGTH_SHARE = 0.06
"""Share of the variance of log clip length between labels, from which a warning is given (Cohen's medium η²)."""
UA_ABOVE_CHANCE = 0.1
"""A warning is given where something besides the voice's emotion gives a tenth of UA more than chance …"""
INFORMATION = 0.05
"""… and a twentieth of what there is to know about the label."""
SINGLE_SHARE = 0.1
"""Share of clips whose speakers show one label only, from which a warning is given."""
LENGTH_FOLDS = 10
BADGES: Mapping[str, tuple[str, Scope]] = {
    "speaker": ("voices tell labels", "shared speakers"),
    "session": ("sessions tell labels", "shared speakers"),
    "gender": ("gender tells labels", "within"),
    "script": ("words tell labels", "everywhere"),
    "file format": ("format tells labels", "within"),
    "length": ("length tells labels", "within"),
}
"""What a column that tells the label is called beside scores, and for which records that matters."""


@dataclass(frozen=True)
class Association:
    """How far a column (speaker, gender, …) tells the label.

    ``ua``: unweighted accuracy of answering a clip with the most frequent label of the *other* clips of its group (ties
    split evenly); ``chance`` is one over the number of labels. ``information``: mutual information as a share of the
    label's entropy, less the (G − 1)(K − 1)/2N nats that independent columns would show (Miller & Madow), at least 0.
    ``single``: groups all of whose clips have one label, ``single_clips`` how many clips these hold.
    """

    column: str
    groups: int
    single: int
    single_clips: int
    clips: int
    ua: float
    chance: float
    information: float

    @property
    def telling(self) -> bool:
        """Whether the column tells more of the label than chance would."""
        return self.ua >= self.chance + UA_ABOVE_CHANCE and self.information >= INFORMATION

    @property
    def large(self) -> bool:
        """Whether a user must be told."""
        return self.telling or (self.column == "speaker" and self.single_clips >= SINGLE_SHARE * self.clips)

    @property
    def caution(self) -> Caution:
        """The association in one sentence, with the protocols that it matters for."""
        badge, holds = BADGES.get(self.column, (f"{self.column} tells labels", "within"))
        association = (
            f"the {self.column} alone tells the label with UA {self.ua:.2f} (chance {self.chance:.2f}, "
            f"normalised mutual information {self.information:.2f})"
        )
        if self.column != "speaker" or not self.single:
            return Caution(text=association, badge=badge, holds=holds)
        one = (
            f"{self.single} of {self.groups} speakers show one emotion only "
            f"({self.single_clips:,} of {self.clips:,} clips)"
        )
        told = f": recognising voices would pass for recognising emotions, and {association}"
        share = self.single_clips / self.clips
        return Caution(text=one + told if self.telling else one, badge=badge, holds=holds, share=share)


@dataclass(frozen=True)
class LengthAssociation:
    """How far clip length tells the label: η² of log length, and UA of the class with the nearest mean log length.

    The class means are those of other speakers (ten folds of speakers).
    """

    share: float
    ua: float
    chance: float

    @property
    def large(self) -> bool:
        """Whether a user must be told."""
        return self.share >= LENGTH_SHARE or self.ua >= self.chance + UA_ABOVE_CHANCE

    @property
    def caution(self) -> Caution:
        """The association in one sentence, with the protocols that it matters for."""
        badge, holds = BADGES["length"]
        return Caution(
            text=f"clip length tells part of the label: {self.share:.0%} of the variance of log length lies between labels, and a rule "
            f"that knows length alone reaches UA {self.ua:.2f} on other speakers (chance {self.chance:.2f})",
            badge=badge,
            holds=holds,
        )


def find_confounds(
    labels: Sequence[str | None],
    columns: Mapping[str, Sequence[str]],
    seconds: ArrayLike,
    speakers: Sequence[str],
) -> list[Caution]:
    """Return a caution per confound that is large enough to matter.

    Args:
        labels: emotion per clip, (clips,); None where there is none.
        columns: values per clip by column ("speaker", "gender", "script" …), (clips,), blank where unknown.
        seconds: length per clip, (clips,), 0 for no audio.
        speakers: speaker per clip, (clips,), blank where unknown.

    Returns:
        Cautions in the order of the columns, clip length last.
    """
    found: list[Association | LengthAssociation | None] = [
        associate(name, values, labels) for name, values in columns.items()
    ]
    found.append(length_association(seconds, labels, speakers))
    return [a.caution for a in found if a is not None and a.large]


def associate(column: str, values: Sequence[str], labels: Sequence[str | None]) -> Association | None:
    """Measure how far a column tells the label.

    Args:
        column: its name.
        values: its value per clip, (clips,), blank where unknown.
        labels: emotion per clip, (clips,); None where there is none.

    Returns:
        The association, over clips that have both; None with fewer than two labels or two groups.

    >>> associate("speaker", ["a", "a", "b", "b"], ["sad", "sad", "happy", "happy"]).single
    2
    """
    table = _counts(values, labels)
    n_groups, n_labels = table.shape
    if n_labels < 2 or n_groups < 2:
        return None
    return Association(
        column=column,
        groups=n_groups,
        single=int((alone := (table > 0).sum(axis=1) == 1).sum()),
        single_clips=int(table[alone].sum()),
        clips=int(table.sum()),
        ua=_leave_one_out_ua(table),
        chance=1 / n_labels,
        information=_information(table),
    )


def _counts(values: Sequence[str], labels: Sequence[str | None]) -> Array:
    """Clips by group and label, (groups, labels), of the clips that have both."""
    group, groups = coded(values)
    label, names = coded(labels)
    table = np.bincount(group * len(names) + label, minlength=len(groups) * len(names))
    known = table.reshape(len(groups), len(names)).astype(np.float64)
    known = known[[bool(g) for g in groups]][:, [bool(n) for n in names]]
    return np.asarray(known[known.sum(axis=1) > 0][:, known.sum(axis=0) > 0])


def _leave_one_out_ua(table: Array) -> float:
    recalls = []
    for k in range(table.shape[1]):
        others = table.copy()
        others[:, k] -= 1
        best = others.max(axis=1)
        ties = (others == best[:, np.newaxis]).sum(axis=1)
        hit = np.where(others[:, k] == best, 1 / ties, 0.0)
        hit[others.sum(axis=1) <= 0] = 1 / table.shape[1]  # nothing else is known of the group
        recalls.append(float((table[:, k] * hit).sum() / table[:, k].sum()))
    return float(np.mean(recalls))


def _information(table: Array) -> float:
    total = table.sum()
    joint = table / total
    rows, columns = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    mutual = float((joint[filled] * np.log((joint / (rows * columns))[filled])).sum())
    bias = (table.shape[0] - 1) * (table.shape[1] - 1) / (2 * total)
    entropy = float(-(columns * np.log(columns)).sum())
    return float(max(mutual - bias, 0.0) / entropy)


def length_association(
    seconds: ArrayLike, labels: Sequence[str | None], speakers: Sequence[str]
) -> LengthAssociation | None:
    """Measure how far clip length tells the label.

    Args:
        seconds: length per clip, (clips,), 0 for no audio.
        labels: emotion per clip, (clips,); None where there is none.
        speakers: speaker per clip, (clips,), blank where unknown.

    Returns:
        The association, over clips that have a length and a label; None without two labels, any variance, or two speakers.
    """
    length = np.asarray(seconds, dtype=np.float64)
    label, names = coded(labels)
    speaker, who = coded(speakers)
    usable = (length > 0) & np.array([bool(n) for n in names])[label]
    share = between_share(length, labels)
    if share is None or len(np.unique(speaker[usable])) < 2:
        return None
    present, truth = np.unique(label[usable], return_inverse=True)
    logs = np.log(length[usable])
    rank = np.argsort(np.argsort(who))  # alphabetical: not the order of rows
    fold = rank[speaker[usable]] % LENGTH_FOLDS
    hits = np.zeros(len(present))
    for f in np.unique(fold):
        test = fold == f
        with np.errstate(divide="ignore", invalid="ignore"):
            means = _sums(truth[~test], logs[~test], len(present)) / _sums(truth[~test], None, len(present))
        distance = np.abs(logs[test, np.newaxis] - np.where(np.isnan(means), np.inf, means))
        right = distance.argmin(axis=1) == truth[test]
        hits += _sums(truth[test][right], None, len(present))
    ua = float((hits / _sums(truth, None, len(present))).mean())
    return LengthAssociation(share, ua, 1 / len(present))


def between_share(seconds: ArrayLike, labels: Sequence[str | None]) -> float | None:
    """Share of the variance of log length that lies between labels (η²); None without two labels or any variance.

    >>> between_share([1, 1, 2, 2], ["sad", "sad", "happy", "happy"])
    1.0
    """
    length = np.asarray(seconds, dtype=np.float64)
    label, names = coded(labels)
    usable = (length > 0) & np.array([bool(n) for n in names], dtype=bool)[label]
    present, own = np.unique(label[usable], return_inverse=True)
    if len(present) < 2:
        return None
    logs = np.log(length[usable])
    total = float(((logs - logs.mean()) ** 2).sum())
    if total < 1e-12 * len(logs):
        return None
    clips = _sums(own, None, len(present))
    means = _sums(own, logs, len(present)) / clips
    return round(float((clips * (means - logs.mean()) ** 2).sum()) / total, 4)


def _sums(codes: NDArray[np.intp], weights: Array | None, n: int) -> Array:
    return np.bincount(codes, weights=weights, minlength=n).astype(np.float64)
