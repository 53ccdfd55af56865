"""Which column of a table from elsewhere is which of ours: by name, by what the user says, and what could be said."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from bench.cards.labels import label_table
from bench.errors import DataError, UsageError, nearest
from bench.execution.imports.reading import Cells, fold_column
from bench.execution.imports.remarks import Remarks
from bench.protocols import DIMENSIONS, STATUSES

SHARE = "p_"
"""Columns ``p_happy``, ``p_sad``, … hold probabilities, where they are not one column ``probabilities``."""
COLUMNS = ("clip_id", "label", "status", "probabilities", *DIMENSIONS, "reply", "seed", "fold")
OTHER_NAMES = {
    "clip_id": "file filename path filepath file_path audio audio_path audio_file wav clip clipid id name utterance utterance_id utt utt_id segment",
    "label": "emotion prediction predicted pred predictions predicted_label predicted_emotion emotion_pred label_pred y_pred class answer output hypothesis top1",
    "valence": "v val", "arousal": "a aro activation", "dominance": "d dom",
}  # fmt: skip
"""What other programs call our columns: never taken for them (an ``emotion`` may be the truth), only suggested."""


def named_columns(given: Cells, columns: Mapping[str, str], place: str, remarks: Remarks) -> Cells:
    """Cells under our names.

    Args:
        given: as the table has them.
        columns: our column by theirs.
        place: for the sentences.
        remarks: gets what is left out.

    Returns:
        Our cells; those under other names too, unless ``columns`` says what is what.

    Raises:
        DataError: two columns for one of ours.
    """
    said = {fold_column(theirs): ours for theirs, ours in columns.items()}
    found: Cells = {}
    taken = set(said.values())
    for name, value in given.items():
        folded = fold_column(str(name))
        ours = said.get(folded)
        if ours is None:
            ours = "clip_id" if folded == "file_name" else folded
            if ours in taken or (said and ours not in COLUMNS and not ours.startswith(SHARE)):
                remarks.note(f"the column {str(name)[:40]!r} is left out: --columns does not name it")
                continue
            if ours not in COLUMNS and not ours.startswith(SHARE):
                ours = str(name)
        if ours in found:
            raise DataError(
                f"{place}: two columns are read as {ours!r}; say with --columns which of them is meant"
            )
        found[ours] = value
    return found


def suggested_columns(given: Iterable[str], having: Container[str]) -> str:
    """The end of a sentence: what ``--columns`` could say of columns that go by other names; blank where nothing comes to mind."""
    names = [str(n) for n in given]
    folded = {fold_column(n) for n in names}
    pairs: list[tuple[str, str]] = []
    for name in names:
        own = fold_column(name)
        if own in COLUMNS or own == "file_name" or own.startswith(SHARE):
            continue
        ours = next((o for o, others in OTHER_NAMES.items() if own in others.split()), None)
        if ours is None and label_table().canonical(name) is not None:
            ours = f"{SHARE}{own}"
        if ours and ours not in folded and ours not in having and ours not in (p[1] for p in pairs):
            pairs.append((name, ours))
    shown = ",".join(f"{theirs}={ours}" for theirs, ours in pairs)
    return f"; columns of other names are told with --columns{f' {shown}' if shown else ' THEIRS=OURS'}"


def parse_columns(given: Sequence[str]) -> dict[str, str]:
    """Read ``--columns file=clip_id,emotion=label``: our column by theirs.

    Raises:
        UsageError: not of that form, or not one of our columns.

    >>> parse_columns(["file=clip_id,emotion=label"])
    {'file': 'clip_id', 'emotion': 'label'}
    """
    found: dict[str, str] = {}
    for theirs, ours in _pairs(given, "--columns", "file=clip_id,emotion=label"):
        name = "clip_id" if fold_column(ours) == "file_name" else fold_column(ours)
        if name not in COLUMNS and not (name.startswith(SHARE) and len(name) > len(SHARE)):
            turned = fold_column(theirs) in COLUMNS
            mend = (
                f"write the table's own name first: {ours}={theirs}"
                if turned
                else nearest(ours, [*COLUMNS, "p_happy"])
            )
            raise UsageError(f"--columns {theirs}={ours}: there is no column {ours!r} here; {mend}")
        if name in found.values():
            raise UsageError(f"--columns: two columns are to be {name!r}; name one")
        found[theirs] = name
    return found


def parse_labels(given: Sequence[str]) -> dict[str, str]:
    """Read ``--map-labels 0=angry,1=happy``: a label, or a status for no answer, by what stands in the table.

    Raises:
        UsageError: not of that form, or one word said to mean two things.

    >>> parse_labels(["0=angry,1=happy", "none=unparsed"])
    {'0': 'angry', '1': 'happy', 'none': 'unparsed'}
    """
    found: dict[str, str] = {}
    for raw, label in _pairs(given, "--map-labels", "0=angry,1=happy"):
        if label == "ok":
            raise UsageError(
                f"--map-labels {raw}=ok: name a label, or why there is none ({', '.join(STATUSES[1:])})"
            )
        if found.setdefault(raw, label) != label:
            raise UsageError(f"--map-labels: {raw!r} is said to mean {found[raw]!r} and {label!r}; keep one")
    return found


def _pairs(given: Sequence[str], option: str, like: str) -> list[tuple[str, str]]:
    pairs = []
    for part in (p for text in given for p in text.split(",") if p.strip()):
        left, between, right = (x.strip() for x in part.rpartition("="))
        if not between or not left or not right:
            raise UsageError(f"{option} {part}: expected pairs, like {option} {like}")
        pairs.append((left, right))
    return pairs
