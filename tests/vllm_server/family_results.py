"""What came of the server of each model class: the file in ``results/`` and the table in the docs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "results/server_families.json"
PAGE = ROOT / "docs/audio_lms.md"
BEGIN, END = "<!-- server families: made by make vllm-families -->", "<!-- end of server families -->"
MODES = ("choice", "free", "likelihood", "likelihood-sum")


class ModeOutcome(BaseModel):
    """One way to ask, tried.

    Args:
        works: every request was answered as the mode wants it.
        cause: what stood in the way, or what the server did otherwise; "" where nothing did.
        answers: clips with a usable answer; in mode free, with any reply.
        clips: asked about.
        seconds: for all of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    works: bool
    cause: str
    answers: int
    clips: int
    seconds: float


class FamilyOutcome(BaseModel):
    """A model class on its server.

    Args:
        family: name of the model.
        card: its card, from which the server was started.
        architecture: vLLM's model class.
        stand_in: what of the real model is not what ran, beside sizes and weights; "" where nothing else.
        versions: of the packages in the server's environment.
        changed: arguments and variables that the toy on a CPU needs, and the card does not have.
        start_seconds: until the server was ready; None where it never was.
        memory_gib: highest resident memory of all the server's processes, added up.
        cause: why it did not start; "" where it did.
        hears: whether likelihoods differ between clips; None where that could not be asked.
        audio_tokens: prompt tokens of a request by the seconds of its clip.
        modes: by mode.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    family: str
    card: str
    architecture: str
    stand_in: str = ""
    versions: dict[str, str]
    changed: tuple[str, ...]
    start_seconds: float | None
    memory_gib: float | None
    cause: str = ""
    hears: bool | None
    audio_tokens: dict[str, int]
    modes: dict[str, ModeOutcome]

    @property
    def works(self) -> bool:
        """Whether every mode does, and the model hears."""
        return (
            bool(self.hears) and set(self.modes) == set(MODES) and all(m.works for m in self.modes.values())
        )


class Families(BaseModel):
    """All that was tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    what: str = "Real vLLM servers on a CPU, started from the shipped cards, with tiny random models of each class: python -m tests.vllm_server.families"
    families: tuple[FamilyOutcome, ...] = ()

    def with_outcome(self, found: FamilyOutcome, order: Sequence[str]) -> Families:
        """Return the same with one family's outcome put in its place."""
        kept = {f.card: f for f in self.families} | {found.card: found}
        return Families(families=tuple(kept[card] for card in order if card in kept))

    def completed(self, found: FamilyOutcome) -> FamilyOutcome:
        """Return an outcome with the modes that it did not try, as they stand on record of the same server.

        Args:
            found: what was tried now; where its server did not start, or packages or arguments differ from those on record, it stays as it is.
        """
        before = next((f for f in self.families if f.card == found.card), None)
        if (
            before is None
            or found.cause
            or (before.versions, before.changed) != (found.versions, found.changed)
        ):
            return found
        modes = {mode: tried for mode in MODES if (tried := found.modes.get(mode) or before.modes.get(mode))}
        hears = before.hears if found.hears is None else found.hears
        return found.model_copy(
            update={"modes": modes, "hears": hears, "audio_tokens": found.audio_tokens or before.audio_tokens}
        )


def read(path: Path = RESULT) -> Families:
    """Return what was measured before; nothing where there is no file."""
    return Families.model_validate_json(path.read_bytes()) if path.exists() else Families()


def table(found: Families) -> str:
    """Return the table of the docs."""
    rows = [
        "| model class | server | " + " | ".join(MODES) + " | start, s | memory, GiB |",
        "|---|---|" + "---|" * (len(MODES) + 2),
    ]
    rows += [_row(family) for family in found.families]
    notes = [f"- {f.family}: {text}" for f in found.families for text in _notes(f)]
    return "\n".join([*rows, "", *notes]).rstrip() + "\n"


def _row(found: FamilyOutcome) -> str:
    server = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    cells = [_cell(found, mode) for mode in MODES]
    start = "–" if found.start_seconds is None else f"{found.start_seconds:.0f}"
    memory = "–" if found.memory_gib is None else f"{found.memory_gib:.1f}"
    return (
        f"| [{found.family}](../adapters/systems/{found.card}.yaml) | {server} | "
        + " | ".join([*cells, start, memory])
        + " |"
    )


def _cell(found: FamilyOutcome, mode: str) -> str:
    if mode not in found.modes:
        return "–"
    return "works" if found.modes[mode].works else "**no**"


def _notes(found: FamilyOutcome) -> list[str]:
    notes = [found.stand_in] if found.stand_in else []
    notes += [f"the server did not start: {found.cause}"] if found.cause else []
    notes += [f"`{mode}`: {tried.cause}" for mode, tried in found.modes.items() if tried.cause]
    if found.hears is False:
        notes.append("its likelihoods are the same for every clip")
    return notes


def write_page(found: Families, page: Path = PAGE) -> None:
    """Put the table between its marks in the docs."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    if not rest:
        raise ValueError(
            f"{page.name} has no line {BEGIN}: put it where the table belongs, and {END} below it"
        )
    page.write_text(f"{before}{BEGIN}\n{table(found)}{END}{after}", encoding="utf-8")
