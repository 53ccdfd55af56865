"""Finding cards: systems from entry points, corpora from the tree and from prepared folders."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from bench.cards.code_beside import make_importable
from bench.cards.parameters import check_parameters
from bench.cards.probe_names import PROBES
from bench.cards.system import SystemCard, SystemFile, WeightsSpec
from bench.cards.typed_yaml import Strict, parse_typed, path_hint, read_typed
from bench.errors import CannotRun, UsageError, nearest
from bench.storage.hashing import hash_json
from bench.storage.source_code import split_dotted

if TYPE_CHECKING:
    from bench.cards.corpus import CorpusCard
    from bench.protocols import Weights

ENTRY_POINTS = "serbench.adapters"
PATTERN = frozenset("*?[")
"""Characters that make a pattern of a system's name."""
GIVEN = ("weights", "parts", "serve", "device")
"""Parameters of adapters and encoders that no card names: found for them by the suite."""


def system_card_files() -> Mapping[str, Path]:
    """Map the stems of system card files to the files."""
    return shipped_files("systems")


def shipped_files(kind: str) -> Mapping[str, Path]:
    """Map stems to the ``.yaml`` files of one kind, from every module behind the entry-point group ``serbench.adapters``.

    Each such module ships its cards in a folder ``systems/`` beside its code, and what ``serbench train`` knows by name in
    ``training/``; the suite's own come the same way.
    """
    return _shipped(kind)[0]


@functools.cache
def _shipped(kind: str) -> tuple[Mapping[str, Path], tuple[str, ...]]:
    """The files, and one sentence for each that is left out: a package that is gone, or a name that is taken."""
    found: dict[str, Path] = {}
    faults = []
    for entry in sorted(
        importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda e: (e.name != "builtin", e.name)
    ):
        try:
            folders = _module_folders(entry.value)
        except UsageError as error:
            if entry.name == "builtin":  # nothing is left without the suite's own
                raise
            faults.append(str(error))
            continue
        for path in (p for folder in folders for p in sorted(folder.joinpath(kind).glob("*.yaml"))):
            other = found.setdefault(path.stem, path)
            if other != path:
                faults.append(
                    f"two files for {path.stem!r} in {kind}: {other} and {path}; rename one (the first is used)"
                )
    return found, tuple(faults)


def _module_folders(module: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise UsageError(
            f"the entry point {module!r} ({ENTRY_POINTS}) names no installed module: reinstall its package"
        )
    return [Path(spec.origin).parent]


def system_names() -> list[str]:
    """Return the names of all known systems, sorted; those of cards that cannot be read are left out (:func:`system_faults`)."""
    return sorted(name for path in system_card_files().values() for name in _readable(path)[0])


def system_faults() -> list[str]:
    """Say, one sentence each, which system cards cannot be read, and which packages that ship some are not as they must be."""
    faults = (_readable(path)[1] for path in system_card_files().values())
    return [*_shipped("systems")[1], *(fault for fault in faults if fault)]


def _readable(path: Path) -> tuple[Mapping[str, SystemCard], str]:
    """The systems of a file, none where it cannot be read; and why it cannot."""
    try:
        return _cards_in(path), ""
    except (UsageError, OSError) as error:
        return {}, str(error)


def match_systems(name_or_pattern: str) -> list[str]:
    """Return the systems that a matrix's pattern means (``*-superb``), sorted; a plain name or a path means itself.

    Raises:
        UsageError: a pattern that no known system fits.
    """
    if not set(name_or_pattern) & PATTERN:
        return [name_or_pattern]
    found = fnmatch.filter(system_names(), name_or_pattern)
    if not found:
        raise UsageError(
            f"no known system fits the pattern {name_or_pattern!r}; serbench list systems names them"
        )
    return found


def load_system(name_or_path: str, *, base: Path | None = None) -> SystemCard:
    """Load a system card by name, or from a ``.yaml`` path (relative to ``base``; ``path.yaml:mode`` for one of several).

    A folder of ``serbench train`` stands for the ``system.yaml`` in it.

    Raises:
        UsageError: no such system (nearest names given), or a card that does not validate.
    """
    path_text, _, mode = name_or_path.rpartition(":")
    if name_or_path.endswith((".yaml", ".yml")):
        path_text, mode = name_or_path, ""
    if path_text.endswith((".yaml", ".yml")):
        path = (base or Path()) / path_text
        file = read_typed(path, SystemFile)
        cards = file.cards()
        if len(cards) == 1 and not mode:
            return _of_file(next(iter(cards.values())), path)
        chosen = cards.get(f"{file.name}-{mode}") if mode else None
        if chosen is None:
            raise UsageError(
                f"{path_text} describes several systems ({', '.join(cards)}); say which with {path_text}:MODE"
            )
        return _of_file(chosen, path)
    files = system_card_files()
    # A model's file is called like the model; its systems are called like the file and one of its modes.
    own_name = name_or_path.rpartition("/")[2]
    faults = []
    for stem in (s for s in files if own_name == s or own_name.startswith(f"{s}-")):
        found, fault = _readable(files[stem])
        if name_or_path in found:
            return found[name_or_path]
        faults += [fault] if fault else []
    trained = (base or Path()) / name_or_path / "system.yaml"
    if trained.is_file():
        return load_system(str(trained))
    if faults:
        raise UsageError(faults[-1])
    raise UsageError(
        f"unknown system {name_or_path!r}; {nearest(name_or_path, system_names())}; {path_hint(name_or_path, 'card')}"
    )


def load_model(name_or_path: str) -> SystemCard:
    """Load a system card by name or path; of a file that describes several systems the first, for what they have in common."""
    if not name_or_path.endswith((".yaml", ".yml")):
        return load_system(name_or_path)
    path = Path(name_or_path)
    return _of_file(next(iter(read_typed(path, SystemFile).cards().values())), path)


def _of_file(card: SystemCard, path: Path) -> SystemCard:
    make_importable(card, path)
    weights = None if card.weights is None else card.weights.of_card(path)
    parts = {name: part.of_card(path) for name, part in card.parts.items()}
    return card.model_copy(update={"weights": weights, "parts": parts}).located(path)


def _cards_in(path: Path) -> Mapping[str, SystemCard]:
    state = path.stat()
    return _cards_of(path, state.st_mtime_ns, state.st_size)


@functools.cache
def _cards_of(path: Path, _written: int, _size: int) -> Mapping[str, SystemCard]:
    """The cards of a file as it is now: a listing asks for each of a file's systems in turn."""
    file = read_typed(path, SystemFile)
    if file.name.rpartition("/")[2] != path.stem:
        raise UsageError(
            f"{path}: name is {file.name!r}, but the file is called {path.name}; make them equal"
        )
    return {name: card.located(path) for name, card in file.cards().items()}


def with_settings(card: SystemCard, settings: Mapping[str, str]) -> SystemCard:
    """Apply ``--set`` values (YAML text) to a card's ``params``, ``features.params`` or ``server``.

    A parameter that the card leaves at its default can be set too, where the code behind the card takes it.

    Raises:
        UsageError: the card has no such parameter.
    """
    params, feature_params, server = (
        dict(card.params),
        dict(card.features.params if card.features else {}),
        card.server,
    )
    for key, text in settings.items():
        if key == "python" and card.requirements is not None:
            card = card.run_by(text)
            continue
        value = _setting(card, key, text)
        if key == "server" and card.family == "audio-llm":
            server = str(value)
        elif key in params:
            params[key] = value
        elif key in feature_params:
            feature_params[key] = value
        elif key in (
            own := _taken(PROBES.get(card.probe, "") if card.probe else _code_here(card, card.adapter))
        ):
            params[key] = value
        elif key in (encoders := _taken(_code_here(card, card.features.encoder) if card.features else None)):
            feature_params[key] = value
        else:
            known = {*params, *feature_params, *own, *encoders}
            raise UsageError(f"{card.name} has no parameter {key!r}; {nearest(key, known)}")
    features = card.features.model_copy(update={"params": feature_params}) if card.features else None
    return card.model_copy(update={"params": params, "features": features, "server": server})


def _setting(card: SystemCard, key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(
            f"--set {card.name}:{key}={text}: the value is no YAML; write it as a card would, and a text with such signs in quotes"
        ) from None


def _code_here(card: SystemCard, dotted: str | None) -> str | None:
    """Code that may be imported here; that of a card with requirements runs elsewhere, and the card alone tells what it takes."""
    return None if card.requirements is not None else dotted


def _taken(dotted: str | None) -> list[str]:
    """Names of the parameters that ``package.module:Name`` takes, but for those that the suite itself gives it."""
    if not dotted:
        return []
    try:
        taken = inspect.signature(imported(dotted)).parameters.values()
    except CannotRun:  # not installed here: the card alone tells
        return []
    return [
        p.name for p in taken if p.name not in GIVEN and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]


def given_weights(dotted: str, weights: Weights | None, spec: WeightsSpec | None) -> dict[str, Weights]:
    """What an adapter or encoder gets of its weights, as keyword arguments.

    Weights inside a package are loaded by that package as it likes: they are hashed, and given only to whoever takes them.

    Args:
        dotted: ``package.module:Name``.
        weights: as found; None where the card names none.
        spec: as the card names them.

    Raises:
        CannotRun: the code is not installed.
        UsageError: no such name.
    """
    if weights is None:
        return {}
    if spec is not None and spec.package is not None:
        taken = inspect.signature(imported(dotted)).parameters.values()
        if not any(p.name == "weights" or p.kind is p.VAR_KEYWORD for p in taken):
            return {}
    return {"weights": weights}


def build(dotted: str, kwargs: Mapping[str, Any]) -> Any:
    """Import ``package.module:Name`` and call it with keyword arguments.

    Raises:
        CannotRun: the module, or something it imports, is not installed.
        UsageError: no such name, parameters it does not take, or values of another kind than it says.
    """
    made = imported(dotted)
    check_parameters(made, kwargs, dotted)
    try:
        return made(**kwargs)
    except TypeError as error:
        raise UsageError(
            f"{dotted} does not take these parameters ({error}); given: {', '.join(sorted(kwargs))}"
        ) from error


def imported(dotted: str) -> Any:
    """Import ``package.module:Name``.

    Raises:
        CannotRun: the module, or something it imports, is not installed.
        UsageError: no such name.
    """
    module_name, name = split_dotted(dotted)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise CannotRun(
            f"{dotted} cannot be imported: {error}. Install what is missing, then run again"
        ) from error
    try:
        return getattr(module, name)
    except AttributeError:
        public = [n for n in vars(module) if not n.startswith("_")]
        raise UsageError(f"{module_name} has no {name!r}; {nearest(name, public)}") from None


def card_hash(card: SystemCard | CorpusCard) -> str:
    """Hash what a card says: what it leaves at its default is left out, and so is a server's address, which each run sets.

    So a card that a record keeps with every default written out hashes like the file that it was read from.
    """
    said = card.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"server"})
    return hash_json(said)[:16]


@functools.cache
def card_versions(kind: Literal["systems", "corpora"]) -> Mapping[str, frozenset[str]]:
    """Return, by name, the hash of every card that this suite ever shipped: a record made long ago carries the card of its day.

    The lists lie beside the cards; ``python -m tests.card_versions`` writes them from the repository's history.
    """
    if kind == "corpora":
        path = Path(str(files("tasks").joinpath("card_versions.yaml")))
    else:
        (own,) = importlib.metadata.entry_points(group=ENTRY_POINTS, name="builtin")
        path = _module_folders(own.value)[0] / "card_versions.yaml"
    return {name: frozenset(hashes) for name, hashes in read_typed(path, CardVersions).cards.items()}


class CardVersions(Strict):
    """What ``card_versions.yaml`` holds: hashes by a card's name."""

    cards: dict[str, tuple[str, ...]]


def corpus_cards() -> Mapping[str, CorpusCard]:
    """Return all corpus cards shipped in ``tasks/corpora`` that can be read, by name; :func:`corpus_faults` tells of the others."""
    return _corpus_cards()[0]


def corpus_faults() -> Mapping[str, str]:
    """Say, one sentence each, which shipped corpus cards cannot be read, by the stems of their files."""
    return _corpus_cards()[1]


@functools.cache
def _corpus_cards() -> tuple[Mapping[str, CorpusCard], Mapping[str, str]]:
    # Only here: its model takes longest to build, and a listing of systems needs none of it.
    from bench.cards.corpus import CorpusCard

    folder = Path(str(files("tasks").joinpath("corpora")))
    cards: dict[str, CorpusCard] = {}
    faults: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            card = parse_typed(path.read_text(encoding="utf-8"), f"tasks/corpora/{path.name}", CorpusCard)
        except (UsageError, OSError, UnicodeDecodeError) as error:
            faults[path.stem] = (
                str(error)
                if isinstance(error, UsageError)
                else f"{path}: cannot be read as UTF-8 text ({error})"
            )
        else:
            cards[card.name] = card
    return cards, faults


def corpus_card_file(name: str) -> Path:
    """Return the file of a shipped corpus card."""
    return Path(str(files("tasks").joinpath("corpora", f"{name}.yaml")))


def matrix_files() -> dict[str, Path]:
    """Return the shipped matrices, by name."""
    folder = Path(str(files("tasks").joinpath("matrices")))
    return {p.stem: p for p in sorted(folder.glob("*.yaml"))}
