"""Frozen features: what an encoder gave for a clip, computed once and found again by content.

A key is a hash of everything that decides the numbers apart from the audio (:func:`feature_key`); under it a clip is
found by its PCM hash. Shards are ordinary safetensors files, one tensor per clip, with failures and a checksum in
the header. A shard is written whole under another name, flushed to the disk and renamed: a kill at any byte leaves a
complete shard or none, and a file that is torn or altered on the disk counts as absent.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.storage.atomic import replacing, write_json
from bench.storage.hashing import hash_json

FORMAT = "serbench-features-1"
SHARDS = "shard-*.safetensors"
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Keep:
    """What is kept of an encoder's frames (layers, frames, dims): their mean (layers, dims), or frames.

    ``every`` averages so many frames in a row into one, the last of them over what is left: frames of 20 ms with
    ``every`` 5 become frames of 100 ms, at a fifth of the disk.
    """

    pooled: bool
    every: int = 1

    def of(self, output: FloatArray) -> FloatArray:
        """Means are taken in float64 and kept in float32.

        >>> Keep(False, 2).of(np.array([[[1.0], [3.0], [5.0]]], dtype=np.float32)).tolist()
        [[[2.0], [5.0]]]
        """
        kept: NDArray[np.floating[Any]] = output
        if self.pooled:
            kept = output.mean(axis=1, dtype=np.float64)
        elif self.every > 1:
            starts = np.arange(0, output.shape[1], self.every)
            counts = np.diff([*starts, output.shape[1]])
            kept = np.add.reduceat(output, starts, axis=1, dtype=np.float64) / counts[:, None]
        return np.ascontiguousarray(kept, dtype=np.float32)


def feature_identity(
    encoder_path: str,
    source_hash: str,
    params: Mapping[str, Any],
    weights_hash: str | None,
    pooled: bool,
    *,
    every: int = 1,
    versions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything but the audio that decides an encoder's output, as JSON values.

    Args:
        encoder_path: ``module:Class`` of the encoder.
        source_hash: hash of the adapter's code.
        params: the encoder's parameters, JSON values.
        weights_hash: hash of the weights' content; None where there are none.
        pooled: whether means over frames are kept.
        every: frames averaged into one.
        versions: packages that do the arithmetic, with their versions.

    Returns:
        JSON values, to be hashed and kept beside the shards.
    """
    return {
        **({} if every == 1 else {"every": every}),
        "format": FORMAT,
        "encoder": encoder_path,
        "source": source_hash,
        "params": dict(params),
        "weights": weights_hash,
        "pooled": pooled,
        "versions": dict(versions or {}),
    }


def pooled_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of the means of the same encoder's frames."""
    return {name: value for name, value in identity.items() if name != "every"} | {"pooled": True}


def feature_key(
    encoder_path: str,
    source_hash: str,
    params: Mapping[str, Any],
    weights_hash: str | None,
    pooled: bool,
    *,
    every: int = 1,
    versions: Mapping[str, str] | None = None,
) -> str:
    """Hash of :func:`feature_identity`: 32 hexadecimal digits, independent of the order of the parameters.

    Args:
        encoder_path: ``module:Class`` of the encoder.
        source_hash: hash of the adapter's code.
        params: the encoder's parameters, JSON values.
        weights_hash: hash of the weights' content; None where there are none.
        pooled: whether means over frames are kept.
        every: frames averaged into one.
        versions: packages that do the arithmetic, with their versions.

    Returns:
        32 hexadecimal digits.

    >>> a = feature_key("m:E", "00", {"input": "own", "layers": [2]}, None, True)
    >>> a == feature_key("m:E", "00", {"layers": [2], "input": "own"}, None, True)
    True
    >>> a == feature_key("m:E", "00", {"layers": [2], "input": "30s"}, None, True)
    False
    """
    identity = feature_identity(
        encoder_path, source_hash, params, weights_hash, pooled, every=every, versions=versions
    )
    return hash_json(identity)


class StoredFeatures:
    """The clips stored under one key: arrays read from memory-mapped shards, and the failures.

    A reader sees the shards that were complete when it was opened.
    """

    def __init__(self, folder: Path) -> None:
        self._where: dict[str, Any] = {}
        self._failures: dict[str, str] = {}
        for path in sorted(folder.glob(SHARDS)):
            shard = _open_shard(path)
            if shard is None:
                continue
            handle, failures = shard
            for pcm_hash in handle.keys():  # noqa: SIM118 - a safetensors handle is no mapping
                self._where.setdefault(pcm_hash, handle)
            self._failures.update(failures)

    def __getitem__(self, pcm_hash: str) -> FloatArray:
        """Pooled (layers, dims), or frames (layers, frames, dims), float32.

        Raises:
            DataError: the clip is not stored, or the encoder failed on it (its message is repeated).
        """
        if pcm_hash not in self._where:
            failure = self.failure(pcm_hash)
            if failure is not None:
                raise DataError(
                    f"The encoder gave no features for the clip with PCM hash {pcm_hash}: {failure}"
                )
            raise DataError(
                f"No features are stored for the clip with PCM hash {pcm_hash}. Run the matrix again: missing "
                "features are computed first."
            )
        array: FloatArray = self._where[pcm_hash].get_tensor(pcm_hash)
        return array

    def __contains__(self, pcm_hash: object) -> bool:
        return pcm_hash in self._where

    def __len__(self) -> int:
        return len(self._where)

    def failure(self, pcm_hash: str) -> str | None:
        """Why the encoder gave nothing for this clip, or None when it did not fail."""
        return None if pcm_hash in self._where else self._failures.get(pcm_hash)

    def known(self, pcm_hash: str) -> bool:
        """Whether the clip has features or a recorded failure."""
        return pcm_hash in self._where or pcm_hash in self._failures


class FeatureStore:
    """Encoder output under ``root/<feature key>/``, found by PCM hash."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def reader(self, key: str) -> StoredFeatures:
        """Open what is stored under a key now (an unknown key is an empty reader)."""
        return StoredFeatures(self.root / key)

    def missing(self, key: str, pcm_hashes: Iterable[str], *, retry_failures: bool = False) -> list[str]:
        """Clips still to encode, each once, in the order given. Recorded failures count as done unless retried.

        Args:
            key: the feature key.
            pcm_hashes: clips that are wanted.
            retry_failures: whether clips that failed count as missing.

        Returns:
            PCM hashes of clips to encode.
        """
        reader = self.reader(key)
        done = reader.__contains__ if retry_failures else reader.known
        return [pcm_hash for pcm_hash in dict.fromkeys(pcm_hashes) if not done(pcm_hash)]

    def write(
        self, key: str, arrays: Mapping[str, FloatArray], failures: Mapping[str, str] | None = None
    ) -> Path | None:
        """Store one shard of {PCM hash: array} and {PCM hash: why it failed}. Returns its path, None if empty.

        The file is named after the clips it answers for, so writing the same clips again replaces it.

        Args:
            key: the feature key.
            arrays: {PCM hash: (layers, dims) or (layers, frames, dims)}, written as float32.
            failures: {PCM hash: why the encoder gave nothing}.

        Returns:
            Path of the shard, None where there was nothing to write.

        Raises:
            DataError: these arrays and those stored under the key differ in layers or in dimensions.
        """
        failures = dict(failures or {})
        if not arrays and not failures:
            return None
        self._require_alike(key, arrays)
        clips = hash_json([sorted(arrays), sorted(failures)])
        target = self.root / key / f"shard-{clips}.safetensors"
        with replacing(target) as temporary:
            temporary.write_bytes(_shard_bytes(arrays, failures))
        return target

    def _require_alike(self, key: str, arrays: Mapping[str, FloatArray]) -> None:
        shapes = {(a.shape[0], a.shape[-1]) for a in arrays.values()}
        stored = self._stored_shape(key) if shapes else None
        if len(shapes | ({stored} if stored else set())) <= 1:
            return
        now = " and ".join(f"{layers} × {dims}" for layers, dims in sorted(shapes))
        before = f", and {stored[0]} × {stored[1]} stand in {self.root / key}" if stored else ""
        raise DataError(
            f"The encoder gave features of {now} (layers × dimensions){before}, under one and the same card, source and "
            "weights, so they cannot be learnt from together. An adapter whose output depends on anything else must name it "
            f"in the card's params; then run again. To begin anew, remove {self.root / key}."
        )

    def _stored_shape(self, key: str) -> tuple[int, int] | None:
        """Layers and dimensions of what is stored under a key, read from one shard's header; None where nothing is."""
        from safetensors import SafetensorError, safe_open

        for path in self.shards(key):
            try:
                with safe_open(path, framework="np") as handle:
                    for name in handle.keys():  # noqa: SIM118 - a handle is no mapping
                        shape = handle.get_slice(name).get_shape()
                        return int(shape[0]), int(shape[-1])
            except (SafetensorError, OSError):
                continue
        return None

    def stored_keys(self) -> list[str]:
        """The keys that something is stored under."""
        return sorted(p.name for p in self.root.iterdir() if p.is_dir()) if self.root.is_dir() else []

    def shards(self, key: str) -> list[Path]:
        """The shard files of a key, whole or not."""
        return sorted((self.root / key).glob(SHARDS))

    def frame_bytes(self, key: str) -> int:
        """Bytes on the disk of a key that holds frames; 0 for one that holds means."""
        if (self.identity(key) or {}).get("pooled", True):
            return 0
        return sum(path.stat().st_size for path in self.shards(key))

    def remember(self, key: str, identity: Mapping[str, Any]) -> None:
        """Keep what the key was made of beside its shards, so that a miss can be explained."""
        if self.identity(key) != dict(identity):
            write_json(self.root / key / "identity.json", dict(identity))

    def identity(self, key: str) -> dict[str, Any] | None:
        """What :meth:`remember` kept for a key, or None."""
        try:
            kept = json.loads((self.root / key / "identity.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return kept if isinstance(kept, dict) else None


def _shard_bytes(arrays: Mapping[str, FloatArray], failures: Mapping[str, str]) -> bytes:
    from safetensors.numpy import save

    ordered = {name: np.ascontiguousarray(arrays[name], dtype=np.float32) for name in sorted(arrays)}
    header = {
        "format": FORMAT,
        "crc32": _checksum(ordered.values()),
        "failures": dict(failures),
    }
    # One entry: safetensors writes several in an order that changes from call to call.
    metadata = {"serbench": json.dumps(header, sort_keys=True)}
    data: bytes = save(ordered, metadata=metadata)
    return data


def _checksum(arrays: Iterable[FloatArray]) -> int:
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array).data, value)
    return value


def shard_fault(path: Path) -> str | None:
    """What is wrong with a shard file, or None: torn, altered since it was written, or no shard at all."""
    try:
        _read_shard(path)
    except DataError as error:
        return str(error)
    return None


def _open_shard(path: Path) -> tuple[Any, dict[str, str]] | None:
    """The opened file and its failures, or None when the file is not a whole, unaltered shard."""
    try:
        return _read_shard(path)
    except DataError:
        return None


def _read_shard(path: Path) -> tuple[Any, dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        handle: Any = safe_open(path, framework="np")
        header = json.loads((handle.metadata() or {})["serbench"])
        if header["format"] != FORMAT:
            raise DataError(f"its format is {header['format']!r}, not {FORMAT!r}")
        if _checksum(handle.get_tensor(name) for name in sorted(handle.keys())) != header["crc32"]:
            raise DataError("its content is not what its checksum was taken of")
        return handle, dict(header["failures"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"it cannot be read as a shard ({type(error).__name__}: {error})") from error
