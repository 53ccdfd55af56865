"""A user's encoder runs once per clip; nothing torn, foreign or half-written is ever read back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.errors import BenchError, CannotRun, DataError
from bench.features.extraction import compute_features
from bench.features.out_of_memory import AudioBatch
from bench.features.store import FeatureStore, feature_identity, feature_key
from bench.protocols import Clips, Waveform

KEY = feature_key("m:Encoder", "abc", {"input": "own"}, "w1", True)


def arrays(*names: str, layers: int = 2, dims: int = 3) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(0)
    return {name: random.standard_normal((layers, dims)).astype(np.float32) for name in names}


def clips_of(waveforms: Sequence[Waveform]) -> Clips:
    n = len(waveforms)
    return Clips(
        ids=tuple(f"{i}.wav" for i in range(n)),
        pcm_hashes=tuple(f"h{i}" for i in range(n)),
        seconds=np.array([len(w) / 16_000 for w in waveforms]),
        languages=("en",) * n,
        read=lambda i: waveforms[i],
    )


class CountingEncoder:
    """Layer l holds the samples times l + 1; refuses clips that hold a marker; remembers how it was called."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
        self.batches.append(len(waveforms))
        if any(w[0] == 9.0 for w in waveforms):
            raise RuntimeError("this clip is refused")
        return [np.stack([w[:, None], 2 * w[:, None]]) for w in waveforms]


def test_what_is_written_comes_back_exactly_and_only_the_rest_is_missing(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    given = arrays("a", "b")
    store.write(KEY, given, {"c": "too short"})
    reader = store.reader(KEY)
    assert all(np.array_equal(reader[name], given[name]) for name in given)
    assert reader["a"].dtype == np.float32
    assert "a" in reader
    assert "c" not in reader
    assert len(reader) == 2
    assert reader.failure("c") == "too short"
    assert reader.failure("a") is None
    assert store.missing(KEY, ["d", "a", "c", "d"]) == ["d"]
    assert store.missing(KEY, ["d", "a", "c"], retry_failures=True) == ["d", "c"]
    with pytest.raises(DataError, match="too short"):
        reader["c"]
    with pytest.raises(DataError, match="No features are stored"):
        reader["d"]


def test_frames_of_different_lengths_live_in_one_shard(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    given = {f"h{n}": np.full((2, n, 3), n, dtype=np.float32) for n in (1, 7, 4)}
    store.write(KEY, given)
    reader = store.reader(KEY)
    assert {name: reader[name].shape for name in given} == {name: a.shape for name, a in given.items()}


def test_a_later_success_outlives_an_earlier_failure(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write(KEY, {}, {"a": "out of memory"})
    store.write(KEY, arrays("a"))
    assert store.reader(KEY).failure("a") is None
    assert store.missing(KEY, ["a"], retry_failures=True) == []


def test_equal_content_is_equal_bytes_in_whatever_order_it_comes(tmp_path: Path) -> None:
    given = arrays("a", "b", "c")
    one = FeatureStore(tmp_path / "1").write(KEY, given, {"x": "1", "y": "2"})
    other = FeatureStore(tmp_path / "2").write(KEY, dict(reversed(given.items())), {"y": "2", "x": "1"})
    assert one is not None
    assert other is not None
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


def test_a_shard_cut_anywhere_counts_as_absent_and_is_written_again(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    path = store.write(KEY, arrays("a", "b"))
    assert path is not None
    whole = path.read_bytes()
    for size in (0, 1, 7, 8, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert store.missing(KEY, ["a", "b"]) == ["a", "b"], size
    assert store.write(KEY, arrays("a", "b")) == path
    assert store.missing(KEY, ["a", "b"]) == []


def test_a_flipped_bit_or_a_foreign_file_is_not_believed(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    path = store.write(KEY, arrays("a"))
    assert path is not None
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(bytes(data))
    (path.parent / "shard-foreign.safetensors").write_bytes(os.urandom(200))
    assert store.missing(KEY, ["a"]) == ["a"]


def test_a_writer_killed_at_any_moment_leaves_whole_shards_or_none(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from bench.features.store import FeatureStore\n"
        "store = FeatureStore(Path(sys.argv[1]))\n"
        "for i in range(10**6):\n"
        "    store.write('k', {f'{i}-{j}': np.full((5, 4000), i, np.float32) for j in range(20)})\n"
        "    print(i, flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    for _ in range(3):
        writer.stdout.readline()
    time.sleep(0.0137)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    reader = FeatureStore(tmp_path).reader("k")
    present = [i for i in range(1000) if f"{i}-0" in reader]
    assert len(present) >= 3
    assert all((reader[f"{i}-{j}"] == i).all() for i in present for j in range(20))


def test_every_ingredient_is_in_the_key_and_a_miss_can_be_explained(tmp_path: Path) -> None:
    base = ("m:Encoder", "abc", {"input": "own"}, "w1", True)
    variants = [
        ("m:Other", *base[1:]),
        (base[0], "abd", *base[2:]),
        (*base[:2], {"input": "30s"}, *base[3:]),
        (*base[:3], None, True),
        (*base[:4], False),
    ]
    keys = [feature_key(*v) for v in (base, *variants)]  # type: ignore[arg-type]
    keys.append(feature_key(*base, versions={"torch": "2.11.0"}))
    assert len(set(keys)) == len(keys)
    store = FeatureStore(tmp_path)
    identity = feature_identity(*base)
    store.remember(KEY, identity)
    assert store.identity(KEY) == identity
    assert store.identity("unknown") is None


def test_pooling_is_the_mean_over_frames_and_each_clip_is_encoded_once() -> None:
    random = np.random.default_rng(1)
    waveforms = [random.standard_normal(n).astype(np.float32) for n in (400, 100, 300)]
    clips = clips_of(waveforms)
    encoder = CountingEncoder()
    seen: list[tuple[float, float]] = []
    pooled, failures = compute_features(encoder, clips, [0, 1, 2, 1], True, lambda a, b: seen.append((a, b)))
    assert not failures
    assert sum(encoder.batches) == 3
    assert seen[-1] == (3, 3)
    for i, w in enumerate(waveforms):
        expected = np.array([[np.mean(w, dtype=np.float64)], [np.mean(2 * w, dtype=np.float64)]])
        np.testing.assert_allclose(pooled[f"h{i}"], expected, rtol=1e-6)
    frames, _ = compute_features(CountingEncoder(), clips, [0, 1, 2], False)
    assert [frames[f"h{i}"].shape for i in range(3)] == [(2, 400, 1), (2, 100, 1), (2, 300, 1)]


def test_one_bad_clip_fails_alone() -> None:
    good = [np.full(200 + i, 0.5, dtype=np.float32) for i in range(4)]
    refused = np.full(201, 9.0, dtype=np.float32)
    not_finite = np.full(202, np.nan, dtype=np.float32)
    clips = clips_of([*good, refused, not_finite])
    stored, failures = compute_features(CountingEncoder(), clips, range(6), True)
    assert sorted(stored) == ["h0", "h1", "h2", "h3"]
    assert failures["h4"] == "this clip is refused"
    assert "not finite" in failures["h5"]


def test_an_unreadable_clip_fails_alone_but_a_missing_package_stops_the_run() -> None:
    good = np.full(200, 0.5, dtype=np.float32)

    def read(i: int) -> Waveform:
        if i == 1:
            raise DataError("b.wav: cannot be decoded")
        return good

    clips = Clips(("a", "b"), ("h0", "h1"), np.array([0.1, 0.1]), ("en", "en"), read)
    stored, failures = compute_features(CountingEncoder(), clips, [0, 1], True)
    assert sorted(stored) == ["h0"]
    assert failures == {"h1": "b.wav: cannot be decoded"}

    class Uninstalled:
        def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
            raise CannotRun("package x is missing")

    with pytest.raises(CannotRun):
        compute_features(Uninstalled(), clips, [0], True)


def test_an_encoder_that_loses_clips_is_reported() -> None:
    class Forgetful:
        def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
            return []

    with pytest.raises(TypeError, match="one array"):
        compute_features(Forgetful(), clips_of([np.ones(100, dtype=np.float32)]), [0], True)


class SmallDevice(CountingEncoder):
    """Has memory for so many clips at a time and says so as torch does."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
        import torch

        if len(waveforms) > self.room:
            self.batches.append(-len(waveforms))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().encode(waveforms)


def test_running_out_of_memory_halves_the_batch_and_is_no_fault_of_a_clip() -> None:
    clips = clips_of([np.full(8, i / 10, dtype=np.float32) for i in range(8)])
    encoder = SmallDevice(room=3)
    found, failures = compute_features(encoder, clips, range(8), pooled=True)
    assert encoder.batches == [-8, -4, 2, 2, 2, 2], "what it found out once it does not forget"
    assert len(found) == 8
    assert failures == {}
    with pytest.raises(CannotRun, match="no memory for a single clip"):
        compute_features(SmallDevice(room=0), clips, range(2), pooled=True)


def test_what_a_device_takes_is_known_to_the_next_pass() -> None:
    clips = clips_of([np.full(8, i / 10, dtype=np.float32) for i in range(8)])
    encoder, audio = SmallDevice(room=3), AudioBatch(60.0)
    for _ in range(2):
        found, failures = compute_features(encoder, clips, range(8), pooled=True, batch_seconds=audio)
        assert (len(found), failures) == (8, {})
    assert encoder.batches == [-8, -4, 2, 2, 2, 2, 2, 2, 2, 2]


def test_memory_that_runs_out_while_the_clip_at_fault_is_looked_for_costs_no_clip() -> None:
    class Odd(SmallDevice):
        def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
            found = super().encode(waveforms)
            if any(w[0] < 0 for w in waveforms):
                raise ValueError("odd")
            return found

    clips = clips_of([np.full(8, (i - 2) / 10 or 0.5, dtype=np.float32) for i in range(8)])
    found, failures = compute_features(Odd(room=3), clips, range(8), pooled=True)
    assert (len(found), sorted(failures.values())) == (6, ["odd", "odd"])


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path)
    given = arrays("a")
    store.write(KEY, given)

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BenchError, match="the disk is full"):
        store.write(KEY, arrays("b"))
    monkeypatch.undo()
    assert np.array_equal(store.reader(KEY)["a"], given["a"])
    assert "b" not in store.reader(KEY)
    assert [p.suffix for p in (tmp_path / KEY).iterdir()] == [".safetensors"]


def test_features_of_another_size_under_the_same_key_are_refused(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write("key", {"a": np.zeros((3, 8), np.float32)})
    store.write("key", {"b": np.ones((3, 8), np.float32)})
    with pytest.raises(DataError, match=r"features of 4 × 8 \(layers × dimensions\), and 3 × 8 stand in"):
        store.write("key", {"c": np.zeros((4, 8), np.float32)})
    with pytest.raises(DataError, match="features of 3 × 6 and 3 × 8"):
        store.write("other", {"a": np.zeros((3, 8), np.float32), "b": np.zeros((3, 6), np.float32)})
    # Frames of clips differ in number, not in size.
    store.write("frames", {"a": np.zeros((3, 5, 8), np.float32), "b": np.zeros((3, 9, 8), np.float32)})
    store.write("frames", {"c": np.zeros((3, 2, 8), np.float32)})
    assert sorted(h for h in "abc" if h in store.reader("key")) == ["a", "b"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3 GiB for an array"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory: you tried to"
        ),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_memory_that_runs_out_on_the_cpu_halves_the_batch_too(error: Exception) -> None:
    class Large(CountingEncoder):
        def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
            if len(waveforms) > 2:
                raise error
            return super().encode(waveforms)

    class Full(CountingEncoder):
        def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
            raise error

    clips = clips_of([np.full(16, i / 10, dtype=np.float32) for i in range(6)])
    encoder = Large()
    found, failures = compute_features(encoder, clips, range(6), True)
    assert (len(found), failures) == (6, {})
    assert max(encoder.batches) == 2, "halved, not clip by clip"
    with pytest.raises(CannotRun, match="no memory for a single clip"):
        compute_features(Full(), clips, range(6), True)
