"""The soak in short: five kills at random moments. ``make soak`` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import Fault, Soak, soak


@pytest.mark.slow
def test_five_kills_lose_nothing_and_leave_nothing() -> None:
    tally = soak("local", 5, seed=248)  # every target, and every signal
    assert sum(tally.kills.values()) == 5
    assert {kind.split()[0] for kind in tally.kills} == {"driver", "worker", "warden", "group"}
    assert {kind.split()[1] for kind in tally.kills} == {"SIGTERM", "SIGINT", "SIGKILL"}
    assert tally.rounds >= 1


def test_the_soak_sees_what_it_looks_for(tmp_path: Path) -> None:
    import random

    for name in ("undisturbed", "killed-0"):
        for part in ("records", "tables"):
            (tmp_path / name / part).mkdir(parents=True)
            (tmp_path / name / part / "a").write_text("the same")
        (tmp_path / name / "matrix.json").write_text("{}")
        (tmp_path / f"{name}.said").write_text("")
    run = Soak(tmp_path, "local", random.Random(0))
    run._compare("killed-0")
    for path, text, said in (
        ("killed-0/tables/a", "another", "tables are not those"),
        ("killed-0/.a.tmp", "", "left behind"),
        ("killed-0.said", "Traceback (most recent call last)", "said a traceback"),
    ):
        before = (tmp_path / path).read_text() if (tmp_path / path).exists() else None
        (tmp_path / path).write_text(text)
        with pytest.raises(Fault, match=said):
            run._compare("killed-0")
        (tmp_path / path).unlink() if before is None else (tmp_path / path).write_text(before)
