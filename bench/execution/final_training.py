"""``serbench train``: fit a system on whole tasks and keep it, as a folder that is a system of its own."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import yaml
from pydantic import Field

from bench.cards.corpus import Name
from bench.cards.registry import load_system, shipped_files, with_settings
from bench.cards.system import SystemCard
from bench.cards.typed_yaml import Strict, read_typed
from bench.errors import CannotRun, UsageError, nearest
from bench.execution.fitting import build_predictor
from bench.execution.in_process import Say, encode_in_process
from bench.execution.planning.plan import Group
from bench.execution.planning.systems import resolve_system
from bench.execution.unlabelled import TrainOn, group_of
from bench.execution.worker import Runner
from bench.features.store import FeatureStore
from bench.protocols import FitContext, Predictor
from bench.storage.atomic import write_text
from bench.storage.run_folder import cache_folder

CARD = "system.yaml"
LONGEST_WAIT = timedelta(days=7)
"""How long processes wait for the first one, which encodes what all of them read."""


class TrainConfig(Strict):
    """What to train: a system card, some of its settings changed, and the tasks to learn from."""

    name: Name
    """Of the system that comes out."""
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

    One whose settings decide whether it can has ``require_keepable()`` as well, which raises :class:`UsageError`.
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
    if name_or_path.suffix in (".yaml", ".yml") or name_or_path.exists():
        return name_or_path
    shipped = shipped_files("training")
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    raise UsageError(
        f"no training config {str(name_or_path)!r}; {nearest(str(name_or_path), sorted(shipped))}"
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

    Raises:
        UsageError: the config does not validate, or its system cannot be kept.
        CannotRun: weights or a package is missing.
        DataError: nothing to learn from.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; name a folder to train into with --out")
    config_path = find_config(config_path)
    config = read_typed(config_path, TrainConfig)
    if config.log is not None and importlib.util.find_spec(config.log) is None:
        extra = "'.[train]'" if config.log == "tensorboard" else config.log
        raise CannotRun(
            f"{config_path}: log: {config.log} needs a package that is not here: pip install {extra}"
        )
    card = load_system(config.system, base=config_path.parent)
    if card.adapter is None:
        raise UsageError(
            f"{config_path}: {card.name} has no adapter that trains (a probe is fitted by serbench run); "
            "name a system of family trained, like meralion-ser-small"
        )
    card = _changed(card, config.params)
    system = resolve_system(card)
    if system.blocked is not None:
        raise CannotRun(f"{card.name}: {system.blocked}")
    cache = cache_folder()
    lesson = TrainOn(config.tasks, config.view, data)
    group = group_of(system, (), cache, lesson, config.seed)
    predictor = build_predictor(system)
    if not isinstance(predictor, Keepable):
        raise UsageError(
            f"{config_path}: {card.name}'s adapter {card.adapter} has no save(folder), so nothing could be kept of it"
        )
    first = first_process()
    if (require := getattr(predictor, "require_keepable", None)) is not None:
        require()
    unused = left_out(group)
    for line in unused if first else ():
        say(line)
    with _after_the_first(device):
        encode_in_process([group], Runner(device), cache=cache, say=say if first else lambda line: None)
    out.mkdir(parents=True, exist_ok=True)
    clips = _fit(predictor, group, config, out, cache, device, progress)
    notes = getattr(predictor, "notes", {})
    if first:
        adapter = predictor.save(out)
        write_text(out / CARD, _card(config, card, lesson, adapter, notes, out))
    return KeptTraining(out, out / CARD, clips, notes, unused)


def left_out(group: Group) -> tuple[str, ...]:
    """One line per task of which not every clip is learnt from."""
    return tuple(
        f"{s.task}: {s.left_out:,} of {s.clips + s.left_out:,} clips are left out: no audio, no label of the view and no dimension, or heard before"
        for s in group.material.sources
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


def _fit(
    predictor: Predictor,
    group: Group,
    config: TrainConfig,
    out: Path,
    cache: Path,
    device: str,
    progress: Callable[[float, float], None],
) -> int:
    material, fold = group.material, group.material.folds[0]
    key = group.system.feature_key
    work = out / "work"
    work.mkdir(exist_ok=True)
    context = FitContext(
        labels=material.labels,
        dimensions=material.has_dimensions((fold.train, fold.dev)),
        seed=config.seed,
        workdir=work,
        device=device,
        features=None if key is None else FeatureStore(cache / "features").reader(key),
        feature_params=group.system.feature_params,
        log=config.log,
        progress=progress,
    )
    learnt, judged = (material.examples(rows) for rows in (fold.train, fold.dev))
    predictor.fit(learnt, judged, context)
    return len(learnt) + len(judged)


def _card(
    config: TrainConfig,
    base: SystemCard,
    lesson: TrainOn,
    adapter: str,
    notes: dict[str, Any],
    out: Path,
) -> str:
    """Card of the trained system: what it had met of any corpus is marked from what it learnt from."""
    tasks = lesson.candidates()
    met = sorted({t.card.name for t in tasks.values()})
    before = base.training_corpora
    described = {
        "name": config.name,
        "title": f"{config.name} ({base.title or base.name}, trained here)",
        "family": "trained",
        "track": "released",
        "adapter": adapter,
        "weights": {"local": out.resolve().name},
        "seeds": False,
        "licence": config.licence,
        "languages": sorted({t.language for t in tasks.values()}),
        # What was learnt here is marked; what the base met and nobody tells stays untold.
        "training_corpora": [
            *({"corpus": c.corpus, "split": c.split} for c in (() if before == "undisclosed" else before)),
            *({"corpus": name, "split": "all"} for name in met),
        ],
        "also_undisclosed": before == "undisclosed" or base.also_undisclosed,
        "parameters": notes.get("parameters"),
        "description": config.description
        or f"{base.name} trained with serbench train on {', '.join(lesson.tasks)}, labels of the view {lesson.view}.",
    }
    return yaml.safe_dump(described, sort_keys=False, allow_unicode=True, width=120)
