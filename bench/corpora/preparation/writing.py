"""Decoding and writing clips in worker processes: each source is read once, each finished clip is noted for a resumption."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bench.audio.decoding import DECODER, Pcm, Recording, decode_examined, pcm_hash, read_recording, to_pcm
from bench.audio.examination import Examination, Examiner
from bench.corpora.preparation.listing import Draft, Piece
from bench.corpora.preparation.tree import SourceTree
from bench.errors import BenchError, DataError
from bench.protocols import SAMPLE_RATE
from bench.storage.atomic import clear_os_errors
from bench.storage.hashing import digest

AUDIO = "audio"
UNIT_CLIPS = 16
"""Clips a worker takes at a time, unless more are cut out of one source."""

ROUNDING = 0.05
"""Seconds by which a table may place a clip's end behind the end of its recording."""


@dataclass(frozen=True, slots=True)
class Order:
    """One clip to be written: its target without suffix, its pieces, and a key that changes when a source does."""

    key: str
    target: str
    pieces: tuple[tuple[Piece, Path], ...]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a clip: the file (relative to the corpus folder), and what was found on the way.

    ``error`` says why there is no sound; then the file holds the source's own bytes, as they came.
    """

    key: str
    file_name: str
    bytes: int
    pcm_hash: str = ""
    samples: int = 0
    examined: Examination | None = None
    error: str | None = None


def order_of(draft: Draft, tree: SourceTree) -> Order:
    """Return the work that a listed clip asks for."""
    pieces = tuple((p, tree.files[p.source].path) for p in draft.pieces)
    parts = [
        f"{p.source}\0{tree.files[p.source].fingerprint}\0{p.start}\0{p.end}\0{p.row}" for p in draft.pieces
    ]
    return Order(digest(DECODER, draft.name, *parts), f"{AUDIO}/{draft.name}", pieces)


class Ledger:
    """The finished clips of a corpus folder, one JSON line each; only the driver writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Written] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                    found = row.pop("examined")
                    written = Written(**row, examined=Examination.from_json(found) if found else None)
                except (ValueError, TypeError, KeyError):
                    continue  # a line torn by a kill, or of an older version: its clip is decoded again
                self.known[written.key] = written

    def finished(self, order: Order, out: Path) -> Written | None:
        """Return what became of a clip, if its file is still there in its full length."""
        written = self.known.get(order.key)
        if written is None:
            return None
        try:
            whole = (out / written.file_name).stat().st_size == written.bytes
        except OSError:
            whole = False
        return written if whole else None

    def note(self, written: Sequence[Written]) -> None:
        """Add finished clips."""
        text = "".join(json.dumps(_as_json(w), ensure_ascii=False) + "\n" for w in written)
        with clear_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(text)
        self.known |= {w.key: w for w in written}

    def rewrite(self, written: Sequence[Written]) -> None:
        """Keep only these."""
        self.path.unlink(missing_ok=True)
        self.known = {}
        self.note(written)


def _as_json(written: Written) -> dict[str, Any]:
    return {**asdict(written), "examined": written.examined.as_json() if written.examined else None}


def write_clips(
    orders: Sequence[Order],
    out: Path,
    ledger: Ledger,
    *,
    workers: int,
    progress: Callable[[int], object] = int,
) -> dict[str, Written]:
    """Write clips with several processes; finished ones are not done again.

    Args:
        orders: one per clip.
        out: the corpus' folder.
        ledger: what is finished, kept up as clips are.
        workers: processes.
        progress: called with the clips that are done.

    Returns:
        What became of each, by key.

    Raises:
        BenchError: a worker died, or the disk refuses; what is finished is kept.
    """
    results: dict[str, Written] = {}
    open_orders = []
    for order in orders:
        if done := ledger.finished(order, out):
            results[order.key] = done
        else:
            open_orders.append(order)
    progress(len(results))
    units = list(units_of(open_orders))
    if workers == 1 or len(units) <= 1:
        for unit in units:
            _take(write_unit(unit, str(out)), results, ledger, progress)
        return results
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(units)), context, _start, (os.getpid(),))
    waiting: set[Future[list[Written]]] = set()
    try:
        todo = iter(units)
        for unit in todo:
            waiting.add(pool.submit(write_unit, unit, str(out)))
            while len(waiting) >= 3 * workers:
                waiting = _collect(waiting, results, ledger, progress)
        while waiting:
            waiting = _collect(waiting, results, ledger, progress)
    except BrokenProcessPool:
        raise BenchError(
            "a worker process died (killed, or out of memory); what is written is kept, the same command goes on "
            "from there; with less memory: --workers 1"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for future in waiting:  # interrupted: what the workers finished meanwhile is noted
            if future.done() and not future.cancelled() and future.exception() is None:
                _take(future.result(), results, ledger, int)
    return results


def units_of(orders: Sequence[Order]) -> Iterator[list[Order]]:
    """Cut orders into units of work; clips that share their first source stay together, so that it is read once."""
    by_source: dict[tuple[str, bool], list[Order]] = {}
    for order in orders:
        piece = order.pieces[0][0]
        by_source.setdefault((piece.source, piece.row is None), []).append(order)
    unit: list[Order] = []
    for (_, whole), group in by_source.items():
        # Rows of an Arrow file are read one by one: they may be shared out.
        for part in (
            [group] if whole else [group[i : i + UNIT_CLIPS] for i in range(0, len(group), UNIT_CLIPS)]
        ):
            unit += part
            if len(unit) >= UNIT_CLIPS:
                yield unit
                unit = []
    if unit:
        yield unit


def write_unit(unit: Sequence[Order], out: str) -> list[Written]:
    """Write the clips of one unit; a source shared by neighbours is read once."""
    reader = _Reader()
    return [_write(order, Path(out), reader) for order in unit]


def _collect(
    waiting: set[Future[list[Written]]],
    results: dict[str, Written],
    ledger: Ledger,
    progress: Callable[[int], object],
) -> set[Future[list[Written]]]:
    done, rest = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        _take(future.result(), results, ledger, progress)
    return rest


def _take(
    written: list[Written], results: dict[str, Written], ledger: Ledger, progress: Callable[[int], object]
) -> None:
    ledger.note(written)
    results |= {w.key: w for w in written}
    progress(len(written))


def _start(driver: int) -> None:
    """Make a worker deaf to Ctrl-C (the driver decides) and let it go when the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Reader:
    """Reads sources, keeping the last one that clips were cut from and the last Arrow file open."""

    def __init__(self) -> None:
        self._last: tuple[Path, Recording] | None = None
        self._column: tuple[tuple[Path, str], object] | None = None

    def whole(self, piece: Piece, path: Path) -> tuple[Pcm, Examination]:
        """Decode all of a source, in blocks."""
        return decode_examined(path if piece.row is None else self.encoded(piece, path))

    def recording(self, piece: Piece, path: Path) -> Recording:
        """Read a source that pieces are cut from, at its own rate."""
        if piece.row is not None:
            return read_recording(self.encoded(piece, path))
        if self._last is None or self._last[0] != path:
            self._last = None  # let go of the former before the next is read
            self._last = (path, read_recording(path))
        return self._last[1]

    def encoded(self, piece: Piece, path: Path) -> bytes:
        """Return the encoded audio of an Arrow row.

        A row that only names a file gives nothing: a data set must not make us read files of this machine.
        """
        import pyarrow as pa

        if self._column is None or self._column[0] != (path, piece.column):
            table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
            self._column = ((path, piece.column), table.column(piece.column))
        value = self._column[1][piece.row].as_py() or {}  # type: ignore[index]
        if value.get("bytes") is None:
            raise DataError("the row holds no encoded audio")
        return bytes(value["bytes"])


def _write(order: Order, out: Path, reader: _Reader) -> Written:
    try:
        pcm, examined = _assemble(order, reader)
    except DataError as error:
        return _keep_as_is(order, out, reader, str(error))
    target = out / f"{order.target}.flac"
    with clear_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{order.key}.tmp")
        try:
            _write_flac(temporary, pcm)
            size = temporary.stat().st_size
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    return Written(
        key=order.key,
        file_name=f"{order.target}.flac",
        bytes=size,
        pcm_hash=pcm_hash(pcm),
        samples=len(pcm),
        examined=examined,
    )


def _write_flac(path: Path, pcm: Pcm) -> None:
    import soundfile

    try:
        soundfile.write(str(path), pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    except soundfile.LibsndfileError as error:
        # libsndfile hides the system's reason (a full disk); a plain write of as many bytes tells it.
        with path.open("wb") as stream:
            stream.write(bytes(pcm.nbytes))
        raise BenchError(f"{path}: cannot be written ({error})") from None


def _assemble(order: Order, reader: _Reader) -> tuple[Pcm, Examination]:
    """Return a clip's samples, and what its sources say about them."""
    if len(order.pieces) == 1:
        piece, path = order.pieces[0]
        if not piece.start and piece.end is None:
            return reader.whole(piece, path)
    stretches: list[tuple[np.ndarray[tuple[int], np.dtype[np.float64]], int]] = []
    examiner, missing = Examiner(), 0.0
    for piece, path in order.pieces:
        recording = reader.recording(piece, path)
        rate, frames = recording.rate, recording.mono.shape[0]
        start = round((piece.start or 0.0) * rate)
        end = frames if piece.end is None else round(piece.end * rate)
        if not 0 <= start < min(end, frames):
            raise DataError(
                f"the stretch {piece.start or 0:g} to {end / rate:g} s lies outside the recording of {frames / rate:.2f} s"
            )
        wanted = recording.promised if piece.end is None else end
        # Times in tables are rounded; a header counts samples.
        if wanted - frames > (0 if piece.end is None else ROUNDING * rate):
            missing += (wanted - frames) / rate
        stretch = recording.mono[start:end]
        stretches.append((stretch, rate))
        examiner.add_cut(stretch, recording.examined)
    rates = [rate for _, rate in stretches]
    if len(set(rates)) == 1:
        pcm = to_pcm(np.concatenate([s for s, _ in stretches]), rates[0])
    else:
        pcm = np.concatenate([to_pcm(s, rate) for s, rate in stretches])
    return pcm, examiner.result.short_of(missing)


def _keep_as_is(order: Order, out: Path, reader: _Reader, reason: str) -> Written:
    """Keep the bytes of a clip that gives no sound, so that its row still has a file and every reader meets the reason."""
    piece, path = order.pieces[0]
    name = f"{order.target}{PurePosixPath(piece.source).suffix.lower() if piece.row is None else '.bin'}"
    target = out / name
    with clear_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        own_file = len(order.pieces) == 1 and piece.start is None and piece.row is None
        if own_file and path.is_file():
            shutil.copyfile(path, target)
        else:  # no file of its own: what the row holds, or an empty one, stands for it
            try:
                target.write_bytes(reader.encoded(piece, path) if piece.row is not None else b"")
            except DataError:
                target.write_bytes(b"")
    return Written(key=order.key, file_name=name, bytes=target.stat().st_size, error=reason)
