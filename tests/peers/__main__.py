"""``make peers``: another suite of speech emotion recognition and ours on the same clips and folds, in turn; then the next.

    python -m tests.peers --nkululeko .venv-peers-nkululeko/bin/python --ertk .venv-peers-ertk/bin/python

Everybody gets the clips of EmoDB (SERBENCH_DATA), is run as its users run it, whole process, cold, A B A B; answers per clip,
or counts of them, are read from what it wrote, checked to be on the same clips and folds, and scored by our scorer. Writes
results/peers.json and the section of docs/peers.md (four minutes of processor time for each peer). What stands there of a
peer that is not named is kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.storage.atomic import write_json
from bench.storage.provenance import machine_facts
from tests.peers.corpus import TASK, Export, export, fold_faults
from tests.peers.ertk_suite import ErtkSuite
from tests.peers.findings import Given, SuiteRun, prediction_faults
from tests.peers.nkululeko_suite import NkululekoSuite
from tests.peers.our_suite import OurSuite
from tests.peers.results import RESULT, Gap, Peers, Session, SuiteFound, Turn, gap, read, score, write_page
from tests.peers.whole_process import PeerFailed, Taken, measure

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
"""Variables that a suite's process gets from ours: no number of threads, no cache, no data."""

# Each peer by the name of its option, and what is run with its interpreter. The second run of ERTK takes away the one thing
# in which its recipe differs from ours with C = 1.
PEERS: Mapping[str, Callable[[Path], Sequence[SuiteRun]]] = {
    "nkululeko": lambda python: [NkululekoSuite(python)],
    "ertk": lambda python: [
        first := ErtkSuite(python),
        ErtkSuite(python, name="ERTK, no class weights", balanced=False, features_of=first),
    ],
}


def main() -> int:
    """Measure, write, say; 2 where a suite cannot be run or did not run on the same clips."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in PEERS:
        parser.add_argument(f"--{name}", type=Path, help=f"an interpreter with {name}")
    parser.add_argument("--rounds", type=int, default=2, help="turns of every suite (default 2: A B A B)")
    parser.add_argument("--out", type=Path, default=RESULT, help="the result's file")
    parser.add_argument("--no-page", action="store_true", help="leave the docs as they are")
    given = parser.parse_args()
    sessions: dict[str, Session] = {}
    try:
        if given.rounds < 1:
            raise PeerFailed(f"--rounds must be at least 1, found {given.rounds}")
        interpreters: dict[str, Path] = {n: p for n in PEERS if (p := getattr(given, n)) is not None}
        if not interpreters:
            raise PeerFailed(f"no peer is named; give one or more of {', '.join(f'--{n}' for n in PEERS)}")
        if missing := [str(python) for python in interpreters.values() if not python.exists()]:
            raise PeerFailed(f"{', '.join(missing)}: no such interpreter; make peers builds it")
        # resolve() would follow the link out of the environment.
        for name, python in interpreters.items():
            suites = [*PEERS[name](python.absolute()), OurSuite(), OurSuite("ser-bench, C = 1", (1.0,))]
            with tempfile.TemporaryDirectory(prefix="serbench-peers-") as scratch:
                sessions[name] = compare(suites, given.rounds, Path(scratch))
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:  # what was measured before an error is kept; nothing is written before, for it would be our version's ".dirty"
        if sessions:
            keep(sessions, given.out, page=not given.no_page)
    return 0


def keep(sessions: Mapping[str, Session], out: Path, *, page: bool) -> None:
    """Put sessions into the file, and the file onto the page; those of other peers stay as they are."""
    before = read(out)
    found = Peers(sessions={**(before.sessions if before else {}), **sessions})
    write_json(out, found.model_dump(mode="json"))
    if page:
        write_page(found)
    for suite in (s for session in sessions.values() for s in session.suites):
        print(
            f"{suite.name}: UA {suite.ua:.3f} ({suite.low:.3f} to {suite.high:.3f}), {[round(t.cpu_seconds, 1) for t in suite.turns]} processor seconds"
        )
    print(out)


def compare(suites: Sequence[SuiteRun], rounds: int, scratch: Path) -> Session:
    """Export the clips, run every suite in turn, score what each answered.

    Args:
        suites: in the order of a round.
        rounds: turns of each.
        scratch: an empty folder.

    Raises:
        BenchError: no corpus, a suite that fails, or one whose clips or folds are not those that were given.
    """
    given = export(scratch / "clips", scratch / "decoded")
    if faults := fold_faults(given.clips):
        raise PeerFailed(f"{TASK} is not leave one speaker out: {'; '.join(faults)}")
    environment = {k: v for k, v in os.environ.items() if k in KEPT} | {
        "MPLCONFIGDIR": str(scratch / "fonts")
    }
    for number, suite in enumerate(suites):
        folder = scratch / f"warm-{number}"
        folder.mkdir()
        measure(suite.warm_up(folder), folder=folder, log=folder / "log.txt", environment=environment)
    took: dict[str, list[Taken]] = {s.name: [] for s in suites}
    answers: dict[str, list[Given]] = {s.name: [] for s in suites}
    for turn in range(rounds):
        for number, suite in enumerate(suites):
            folder = scratch / f"turn-{turn}-{number}"
            folder.mkdir()
            taken, told = one_turn(suite, given, folder, environment)
            took[suite.name].append(taken)
            answers[suite.name].append(told)
            print(
                f"turn {turn + 1}, {suite.name}: {taken.cpu_seconds:.1f} processor seconds, {taken.wall_seconds:.1f} s",
                flush=True,
            )
    return Session(
        task=TASK,
        content_hash=given.content_hash,
        clips=len(given.clips),
        speakers=len({c.speaker for c in given.clips}),
        folds=len({c.fold for c in given.clips}),
        order=tuple(s.name for s in suites) * rounds,
        machine=machine_facts(["cpu"]),
        suites=tuple(found_of(s, given, took[s.name], answers[s.name]) for s in suites),
        gaps=gaps_to_ours(suites, given, answers),
    )  # fmt: skip


def one_turn(
    suite: SuiteRun, given: Export, folder: Path, environment: Mapping[str, str]
) -> tuple[Taken, Given]:
    """Run a suite once and read what it gave.

    Raises:
        PeerFailed: it fails, or its clips or folds are others.
    """
    commands, variables = suite.prepare(given, folder)
    taken = measure(commands, folder=folder, log=folder / "log.txt", environment={**environment, **variables})
    told = suite.read(given, folder)
    if faults := prediction_faults(told, given.clips):
        raise PeerFailed(f"{suite.name} did not run on the same clips and folds: {'; '.join(faults)}")
    return taken, told


def found_of(suite: SuiteRun, given: Export, took: Sequence[Taken], told: Sequence[Given]) -> SuiteFound:
    """What is written down of a suite; its answers are those of its first turn."""
    ua, low, high = score(given.clips, told[0].predictions)
    return SuiteFound(
        name=suite.name, packages=dict(suite.packages()), recipe=suite.recipe, cold=suite.cold,
        turns=tuple(
            Turn(turn=i + 1, wall_seconds=round(t.wall_seconds, 2), cpu_seconds=round(t.cpu_seconds, 2), peak_mib=round(t.peak_mib, 1), load=t.load)
            for i, t in enumerate(took)
        ),
        answered=told[0].answered, scored_from=told[0].scored_from,
        ua=round(ua, 6), low=round(low, 6), high=round(high, 6),
        repeatable=all(t.predictions == told[0].predictions for t in told),
        own_figures=dict(told[0].own_figures), told=told[0].told,
    )  # fmt: skip


def gaps_to_ours(
    suites: Sequence[SuiteRun], given: Export, answers: Mapping[str, Sequence[Given]]
) -> tuple[Gap, ...]:
    """Every peer less each of our own recipes."""
    ours = [s.name for s in suites if isinstance(s, OurSuite)]
    return tuple(
        gap(given.clips, (s.name, answers[s.name][0]), (own, answers[own][0]))
        for s in suites if s.name not in ours for own in ours
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
