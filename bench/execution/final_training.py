"""``serbench train``: fit a system on whole tasks and keep it, as a folder that is a system of its own."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import yaml
from pydantic import Field

from bench.cards.registry import imported, load_system, shipped_files, with_settings
from bench.cards.system import SystemCard
from bench.cards.typed_yaml import Name, Strict, path_hint, read_typed
from bench.errors import CannotRun, UsageError, nearest
from bench.execution.fitting import build_predictor, stored_features
from bench.execution.in_process import Say, encode_in_process
from bench.execution.planning.plan import Group
from bench.execution.planning.systems import resolve_system
from bench.execution.unlabelled import TrainOn, group_of
from bench.execution.worker import Runner
from bench.protocols import FitContext, Predictor
from bench.storage.atomic import write_text
from bench.storage.run_folder import cache_folder

CARD = "system.yaml"
FAMILIES = {"trained": "trained", "audio-lm": "audio-llm"}
"""What a config calls a family, and what a card does."""
LONGEST_WAIT = timedelta(days=7)
"""How long processes wait for the first one, which encodes what all of them read."""


class TrainConfig(Strict):
    """What to train: a system card, some of its settings changed, and the tasks to learn from."""

    name: Name
    """Of the system that comes out."""
    family: Literal["trained", "audio-lm"] | None = None
    """What kind of system it must be: a network with a head, or an Audio-LLM; unsaid: either."""
    system: str
    """A system with an adapter: its name, or the path of its card relative to this file."""
    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    view: Literal["seven", "four"] = "seven"
    params: dict[str, Any] = {}
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    log: Literal["tensorboard", "wandb"] | None = None
    """Where the curves go: Accelerate's trackers. Files lie in ``work/`` of the trained folder."""
    licence: str = "unknown"
    description: str = ""


@runtime_checkable
class Keepable(Protocol):
    """A predictor that can be kept: it writes what it learnt, and names the adapter that reads it.

    One whose settings decide whether it can has ``require_keepable()`` as well, which raises :class:`UsageError`; one that is
    kept as another kind of system has ``kept_as(name)``, which returns what else the card says.
    """

    def save(self, folder: Path) -> str:
        """Write what was learnt into ``folder``; return the ``module:Class`` of the adapter that answers from it."""
        ...


@dataclass(frozen=True)
class KeptTraining:
    """What training left behind."""

    folder: Path
    card: Path
    clips: int
    notes: dict[str, Any]
    left_out: tuple[str, ...] = ()
    """A sentence per task of which not every clip was learnt from."""


def find_config(name_or_path: Path) -> Path:
    """Return the path of a config: a file as it is, else one of those that are shipped, by name."""
    if name_or_path.suffix in (".yaml", ".yml") or name_or_path.is_file():
        return name_or_path
    shipped = shipped_files("training")
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    raise UsageError(
        f"no training config {str(name_or_path)!r}; {nearest(str(name_or_path), sorted(shipped))}; {path_hint(str(name_or_path), 'config')}"
    )


def train(
    config_path: Path,
    *,
    out: Path,
    data: tuple[Path, ...] = (),
    device: str = "cpu",
    progress: Callable[[float, float], None] = lambda done, total: None,
    say: Say = lambda line: None,
) -> KeptTraining:
    """Train what a config asks for, or go on with it; write the model folder and its card ``system.yaml``.

    Every tenth clip or so, of whole speakers of every corpus, judges the epochs where the recipe asks for it. Under a
    launcher of several processes (torchrun) the first encodes and writes; the others read, compute, and write nothing.

    Args:
        config_path: a config file, or the name of a shipped one; see :class:`TrainConfig`.
        out: folder of the trained model, its card, and ``work/`` with checkpoints and curves.
        data: folders of prepared corpora; SERBENCH_DATA when empty.
        device: ``cpu`` or ``cuda:N``.
        progress: told of (done, total) training steps.
        say: gets a line for what is left out and what is encoded.

    Returns:
        The folder, the card, and how many clips were learnt from.

    Raises:
        UsageError: the config does not validate, or its system cannot be kept.
        CannotRun: weights or a package is missing.
        DataError: nothing to learn from.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; name a folder to train into with --out")
    config_path = find_config(config_path)
    config, card = _read_config(config_path)
    system = resolve_system(card, answers=False)
    if system.blocked is not None:
        raise CannotRun(f"{card.name}: {system.blocked}")
    cache, first = cache_folder(), first_process()
    training = TrainOn(config.tasks, config.view, data)
    group = group_of(system, (), cache=cache, training=training, seed=config.seed)
    predictor = build_predictor(system)
    if not isinstance(predictor, Keepable):
        raise UsageError(
            f"{config_path}: {card.name}'s adapter {card.adapter} has no save(folder), so nothing could be kept of it"
        )
    if (require := getattr(predictor, "require_keepable", None)) is not None:
        require()
    unused = left_out(group)
    for line in unused if first else ():
        say(line)
    with _after_the_first(device):
        encode_in_process([group], Runner(device), cache=cache, say=say if first else lambda line: None)
    (out / "work").mkdir(parents=True, exist_ok=True)
    fold = group.data.folds[0]
    context = FitContext(
        labels=group.data.labels,
        dimensions=group.data.has_dimensions((fold.train, fold.dev)),
        seed=config.seed,
        workdir=out / "work",
        device=device,
        features=stored_features(system, cache),
        feature_params=system.feature_params,
        log=config.log,
        progress=progress,
    )
    clips = _fit(predictor, group, context)
    notes = getattr(predictor, "notes", {})
    if first:
        kept = {"adapter": predictor.save(out)}
        if (kept_as := getattr(predictor, "kept_as", None)) is not None:
            kept |= kept_as(config.name)
        text = _card(config, card, training, kept=kept, parameters=notes.get("parameters"), folder=out)
        write_text(out / CARD, text)
    return KeptTraining(out, card=out / CARD, clips=clips, notes=notes, left_out=unused)


def forecast(config_path: Path, *, data: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Say what a training would take, without weights, encoder or device; audio is decoded for its length.

    Args:
        config_path: a config file, or the name of a shipped one.
        data: folders of prepared corpora; SERBENCH_DATA when empty.

    Returns:
        What the adapter's ``forecast`` says, by name.

    Raises:
        UsageError: the config does not validate, or its system's adapter makes no forecast.
        DataError: nothing to learn from.
    """
    config_path = find_config(config_path)
    config, card = _read_config(config_path)
    assert card.adapter is not None
    told = getattr(imported(card.adapter), "forecast", None)
    if told is None or card.parameters is None:
        lacks = (
            "adapter makes no forecast" if told is None else "card does not say how many parameters it has"
        )
        raise UsageError(f"{config_path}: {card.name}'s {lacks}; leave --dry-run out")
    system = replace(resolve_system(card, fetch=False, answers=False), blocked=None)
    training = TrainOn(config.tasks, config.view, data)
    group = group_of(system, (), cache=cache_folder(), training=training, seed=config.seed)
    fold = group.data.folds[0]
    train, dev = (group.data.clips(rows) for rows in (fold.train, fold.dev))
    found: dict[str, Any] = told(card.params, card.parameters, train, dev)
    return {"system": card.name, "weights_at_hand": system.weights is not None} | found


def _read_config(path: Path) -> tuple[TrainConfig, SystemCard]:
    """Read a config and its system's card, with the config's parameters; refuse what cannot be trained here."""
    config = read_typed(path, TrainConfig)
    if config.log is not None and importlib.util.find_spec(config.log) is None:
        extra = "'.[train]'" if config.log == "tensorboard" else config.log
        raise CannotRun(f"{path}: log: {config.log} needs a package that is not here: pip install {extra}")
    card = load_system(config.system, base=path.parent)
    if card.adapter is None:
        raise UsageError(
            f"{path}: {card.name} has no adapter that trains (a probe is fitted by serbench run); "
            "name a system of family trained, like meralion-ser-small"
        )
    if card.requirements is not None:
        raise UsageError(
            f"{path}: {card.name} runs in an environment of its own (requirements), from which nothing that was trained can be kept; "
            "install its packages beside the suite to train it, and leave requirements out"
        )
    if config.family is not None and FAMILIES[config.family] != card.family:
        raise UsageError(
            f"{path}: family is {config.family}, and {card.name} is of family {card.family}; name a system of that family, or leave "
            "family out"
        )
    return config, _changed(card, config.params)


def left_out(group: Group) -> tuple[str, ...]:
    """One line per task of which not every clip is learnt from."""
    return tuple(
        f"{s.task}: {s.left_out:,} of {s.clips + s.left_out:,} clips are left out: no audio, no label of the view and no dimension, or heard before"
        for s in group.data.sources
        if s.left_out
    )


def _changed(card: SystemCard, params: dict[str, Any]) -> SystemCard:
    """Apply a config's parameters: those of the card's features there, all others to the adapter, which knows its own."""
    features = {} if card.features is None else card.features.params
    for_features = {key: yaml.safe_dump(value) for key, value in params.items() if key in features}
    for_adapter = {key: value for key, value in params.items() if key not in features}
    return with_settings(card.model_copy(update={"params": card.params | for_adapter}), for_features)


def first_process() -> bool:
    """Whether this process is the one that speaks and writes: the only one, or the first that a launcher started."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def _after_the_first(device: str) -> Iterator[None]:
    """The first of several processes goes through the block, then the others, who find its work done."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState(cpu=device == "cpu", timeout=LONGEST_WAIT).main_process_first():
        yield


def _fit(predictor: Predictor, group: Group, context: FitContext) -> int:
    """Fit on the group's one fold. Returns how many clips were learnt from or chosen on."""
    fold = group.data.folds[0]
    train, dev = (group.data.examples(rows) for rows in (fold.train, fold.dev))
    predictor.fit(train, dev, context)
    return len(train) + len(dev)


def _card(
    config: TrainConfig,
    base: SystemCard,
    training: TrainOn,
    *,
    kept: dict[str, Any],
    parameters: int | None,
    folder: Path,
) -> str:
    """Card of the system trained from ``base``: what it had met of any corpus is marked from what it learnt from."""
    tasks = training.candidates()
    met = sorted({t.card.name for t in tasks.values()})
    before = base.training_corpora
    described = {
        "name": config.name,
        "title": f"{config.name} ({base.title or base.name}, trained here)",
        "family": "trained",
        "track": "released",
        **kept,
        "weights": {"local": folder.resolve().name},
        "seeds": False,
        "licence": config.licence,
        "languages": sorted({t.language for t in tasks.values()}),
        # What was learnt here is marked; what the base met and nobody tells stays untold.
        "training_corpora": [
            *({"corpus": c.corpus, "split": c.split} for c in (() if before == "undisclosed" else before)),
            *({"corpus": name, "split": "all"} for name in met),
        ],
        "also_undisclosed": before == "undisclosed" or base.also_undisclosed,
        "parameters": parameters,
        "description": config.description
        or f"{base.name} trained with serbench train on {', '.join(training.tasks)}, labels of the view {training.view}.",
    }
    return yaml.safe_dump(described, sort_keys=False, allow_unicode=True, width=120)
