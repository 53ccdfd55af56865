"""To submit: a run's own records put on a board as its checks will see them, with who sent them; or nothing at all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bench.errors import BenchError, DataError, UsageError
from bench.leaderboard.attesting import attest, require_name
from bench.leaderboard.publication import Board, Publication, Submission
from bench.leaderboard.publishing import Added, add_run
from bench.leaderboard.validation import BoardRecord, validate
from bench.storage.atomic import write_json
from bench.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Submitted:
    """What was put on the board, how far it was checked as the board's machine will check it, and what is left to do by hand."""

    added: Added
    records: tuple[BoardRecord, ...]
    attested: tuple[str, ...]
    steps: tuple[str, ...]


def submit(
    run: Path,
    board: Board,
    by: str,
    *,
    name: str | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
    link: str = "",
    data: Sequence[Path] = (),
    cache: Path | None = None,
) -> Submitted:
    """Publish a run's own records into a checkout's board, check the board as its machine will, and say what is left to do.

    What stands there already is left out. The sender's name goes before the names of systems that are not the suite's own.
    Where the corpora are at hand the labels are checked, and the sender vouches for them. Nothing is left behind when
    anything is refused.

    Args:
        run: folder of a finished run.
        board: the results folder of a checkout.
        by: who sends it.
        name: of the publication; blank for the sender's name and the matrix's.
        only: patterns by ``system``, ``task``, ``protocol``, ``condition``.
        link: an https address where more is told.
        data: folders of prepared corpora (else SERBENCH_DATA).
        cache: folder that holds which files were checked before.

    Returns:
        What was put there.

    Raises:
        UsageError: a name, link or pattern that cannot be.
        DataError: a record is refused, or nothing is left to publish.
    """
    require_name(by)
    try:
        note = Submission(by=by, link=link)
    except ValidationError:
        raise UsageError(
            f"--link {link!r}: expected an address that begins with https:// and holds no blanks or quotes"
        ) from None
    target = board.publication(name or _name(run, by))
    with _Restored(target) as kept:
        added = add_run(run, board, target.name, only=only, owner=by, taken="drop")
        write_json(target.submission_path, note.model_dump(mode="json", by_alias=True))
        found = validate(board, cache=cache, labels=False)
        if found.problems:
            ours = [p for p in found.problems if p.publication == target.name]
            first = (ours or found.problems)[0].sentence
            raise DataError(
                f"{first} (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else first
            )
        vouched = _vouch(board, by, target.name, data)
        kept.keep()
    if vouched:
        found = validate(board, cache=cache, labels=False)
    records = tuple(r for r in found.records if r.publication == target.name)
    return Submitted(added, records, vouched, _steps(board, target, by))


class _Restored:
    """Puts a publication back as it was, unless what was done in between is kept."""

    def __init__(self, target: Publication) -> None:
        self._root, self._kept = target.folder.root, False

    def keep(self) -> None:
        """Let the new one stand."""
        self._kept = True

    def __enter__(self) -> _Restored:
        self._aside = Path(tempfile.mkdtemp(prefix="serbench-submit-"))
        if self._root.is_dir():
            shutil.copytree(self._root, self._aside / "before")
        return self

    def __exit__(self, *_: object) -> None:
        if not self._kept:
            shutil.rmtree(self._root, ignore_errors=True)
            if (self._aside / "before").is_dir():
                shutil.copytree(self._aside / "before", self._root)
        shutil.rmtree(self._aside, ignore_errors=True)


def _name(run: Path, by: str) -> str:
    described = Publication(RunFolder(run)).described() if RunFolder(run).matrix.is_file() else {"matrix": {}}
    own = re.sub(r"[^a-z0-9._+-]", "-", str(described["matrix"].get("name", "run")).lower())
    return f"{by}-{own}"[:80]


def _vouch(board: Board, by: str, publication: str, data: Sequence[Path]) -> tuple[str, ...]:
    """Attest whatever can be counted again here; a record whose labels are not the corpus's is refused."""
    found = validate(board, data)
    if ours := [p for p in found.problems if p.publication == publication]:
        raise DataError(ours[0].sentence)
    places = [r.place for r in found.records if r.publication == publication and r.badge == "labels"]
    if not places:
        return ()
    try:
        return attest(board, by, places, data).records.get(publication, ())
    except BenchError as error:
        raise DataError(f"could not be attested: {error}") from None


def _steps(board: Board, target: Publication, by: str) -> tuple[str, ...]:
    """The commands of a pull request, to be run in the checkout that holds the board."""
    folder = target.folder.root
    where = f" at {board.rules.address}" if board.rules.address.startswith("https://") else ""
    return (
        f"git checkout -b submit-{target.name}",
        f"git add {folder}",
        f'git commit -m "Records of {by}: {target.name}"',
        f"git push -u origin submit-{target.name}",
        f"open a pull request{where}: its checks are serbench leaderboard validate, which just passed here, and build",
    )
