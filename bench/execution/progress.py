"""Progress on the terminal: one bar for the matrix, one per running job, with time left; plain lines in a log."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.errors import printable
from bench.execution.planning.estimates import human_time


class Reporter:
    """What the driver tells whoever watches. This one tells nobody (Python API, tests)."""

    def stage(self, title: str, total_seconds: float) -> None:
        """Start a stage that will take about so many seconds."""

    def started(self, slot: int, name: str) -> None:
        """Say that a worker took up a job."""

    def moved(self, slot: int, done: float, total: float) -> None:
        """Say how far a job is.

        Args:
            slot: number of the worker.
            done: so much of the job, in units of its own.
            total: all of it, in the same units.
        """

    def finished(self, slot: int, name: str, seconds: float, left: float) -> None:
        """Say that a job ended.

        Args:
            slot: number of the worker.
            name: of the job.
            seconds: of one worker that the job was estimated to take, shared among the workers.
            left: seconds until the stage ends, about.
        """

    def note(self, text: str) -> None:
        """Print a line that stays."""


class ProgressBars(Reporter):
    """Bars on a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", table_column=None),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._whole: TaskID | None = None
        self._slots: dict[int, TaskID] = {}

    def __enter__(self) -> ProgressBars:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def stage(self, title: str, total_seconds: float) -> None:
        """Start a stage's bar."""
        if self._whole is not None:
            self._progress.remove_task(self._whole)
        left = f"about {human_time(total_seconds)} left" if total_seconds else ""
        self._whole = self._progress.add_task(
            f"[bold]{escape(title)}", total=max(total_seconds, 1e-9), left=left
        )

    def started(self, slot: int, name: str) -> None:
        """Add a job's bar."""
        self._slots[slot] = self._progress.add_task(f"  {escape(printable(name))}", total=None, left="")

    def moved(self, slot: int, done: float, total: float) -> None:
        """Move a job's bar and estimate its time left.

        Args:
            slot: number of the worker.
            done: so much of the job, in units of its own.
            total: all of it, in the same units.
        """
        if slot in self._slots:
            bar = self._progress.tasks[self._progress.task_ids.index(self._slots[slot])]
            left = human_time((bar.elapsed or 0) * (total - done) / done) + " left" if done else ""
            self._progress.update(self._slots[slot], completed=done, total=total, left=left)

    def finished(self, slot: int, name: str, seconds: float, left: float) -> None:
        """Remove a job's bar and move the stage's.

        Args:
            slot: number of the worker.
            name: of the job.
            seconds: by which the stage's bar moves.
            left: seconds until the stage ends, about.
        """
        self._progress.remove_task(self._slots.pop(slot))
        if self._whole is not None:
            self._progress.update(self._whole, advance=seconds, left=f"about {human_time(left)} left")

    def note(self, text: str) -> None:
        """Print above the bars."""
        self._progress.console.print(printable(text), highlight=False, markup=False, soft_wrap=True)


class ProgressLines(Reporter):
    """One line every few seconds, for logs and pipes."""

    EVERY = 10.0

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = 0.0
        self._title = ""

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def stage(self, title: str, total_seconds: float) -> None:
        """Print the stage."""
        self._title, self._last = title, time.monotonic()
        self.note(f"{title} (about {human_time(total_seconds)} of work)")

    def finished(self, slot: int, name: str, seconds: float, left: float) -> None:
        """Print a line if the last is old enough.

        Args:
            slot: number of the worker.
            name: of the job.
            seconds: of one worker that the job was estimated to take.
            left: seconds until the stage ends, about.
        """
        if time.monotonic() - self._last > self.EVERY:
            self._last = time.monotonic()
            self.note(f"{self._title}: {name} done, about {human_time(left)} left")

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(printable(text), highlight=False, markup=False, soft_wrap=True)


def watcher(console: Console) -> ProgressBars | ProgressLines:
    """Bars where somebody watches, lines where nobody does."""
    return ProgressBars(console) if console.is_terminal else ProgressLines(console)
