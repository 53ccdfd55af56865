"""How a run was asked for on this machine, kept in ``asked.json`` for the commands that go on from it."""

from __future__ import annotations

from pathlib import Path

from bench.cards.typed_yaml import Strict
from bench.corpora.prepared import data_folders
from bench.errors import DataError
from bench.execution.prepared_run import RunSettings
from bench.storage.atomic import write_json
from bench.storage.run_folder import RunFolder


class RunRequest(Strict):
    """What ``asked.json`` of a run says; a run made before that file was written has none, and was asked for plainly."""

    cards_from: Path | None = None
    data: tuple[Path, ...] = ()
    limit: int | None = None
    settings: dict[str, dict[str, str]] = {}
    shard: str | None = None
    """Of a part of a matrix: ``i/n``."""


def note_request(folder: RunFolder, settings: RunSettings, cards_from: Path) -> None:
    """Write how a run is asked for.

    Args:
        folder: of the run.
        settings: what was asked.
        cards_from: where relative card paths start.
    """
    asked = {
        "cards_from": str(cards_from.resolve()),
        "data": [str(path.resolve()) for path in data_folders(settings.data)],
        "limit": settings.limit,
        "settings": {
            name: {key: value for key, value in given.items() if key != "server"}
            for name, given in settings.settings.items()
        },
    }
    if settings.shard is not None:
        asked["shard"] = str(settings.shard)
    write_json(folder.asked, asked)


def read_request(folder: RunFolder) -> RunRequest:
    """Read how a run was asked for.

    Raises:
        DataError: the file is damaged.
    """
    if not folder.asked.exists():
        return RunRequest()
    try:
        return RunRequest.model_validate_json(folder.asked.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder.asked}: cannot be read ({error}); run the matrix again") from None
