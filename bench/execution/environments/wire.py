"""Messages between the suite and an adapter in another environment: Arrow IPC over a pipe. Both sides import this.

A message is eight bytes of length and one Arrow IPC stream: the schema's metadata hold kind and body (JSON), each row an array.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

PROTOCOL = 1
"""Version of the protocol; the first message of the other side says its own."""
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("dtype", pa.string()),
        ("shape", pa.list_(pa.int64())),
        ("data", pa.large_binary()),
    ]
)
LONGEST = 1 << 38
"""Bytes of a message; a length beyond it is something else that was written into the pipe."""
BOUNDARY = 64
"""Bytes: arrays begin on such a boundary, as they do inside the suite, so that no sum is added up in another order."""


class Garbled(Exception):
    """What came through the pipe is no message."""


@dataclass(frozen=True)
class Message:
    """One message.

    Args:
        kind: what is asked or told.
        body: JSON values.
        arrays: numbers, by name.
    """

    kind: str
    body: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def packed(message: Message) -> bytes:
    """Write a message as bytes.

    Raises:
        TypeError: a body that is no JSON, or an array of objects.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    if strange := [name for name, a in arrays.items() if a.dtype.kind not in "biuf"]:
        raise TypeError(f"{strange[0]} is an array of {arrays[strange[0]].dtype}, expected numbers")
    columns = [
        pa.array(list(arrays), SCHEMA.field("name").type),
        pa.array([a.dtype.str for a in arrays.values()], SCHEMA.field("dtype").type),
        # ascontiguousarray makes a single number an array of one: its shape is asked of what came in.
        pa.array([list(np.shape(a)) for a in message.arrays.values()], SCHEMA.field("shape").type),
        pa.array([a.tobytes() for a in arrays.values()], SCHEMA.field("data").type),
    ]
    schema = SCHEMA.with_metadata({"kind": message.kind, "body": json.dumps(dict(message.body))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    raw: bytes = sink.getvalue().to_pybytes()
    return len(raw).to_bytes(8, "little") + raw


def receive(read: Callable[[int], bytes]) -> Message:
    """Read one message.

    Args:
        read: reads at most so many bytes; none at the end of the pipe.

    Raises:
        EOFError: the other side closed the pipe.
        Garbled: what came is no message.
    """
    length = int.from_bytes(_exactly(read, 8), "little")
    if length > LONGEST:
        raise Garbled(f"a message of {length} bytes was announced")
    raw = _exactly(read, length)
    try:
        table = pa.ipc.open_stream(raw).read_all()
        told = table.schema.metadata
        rows = table.to_pydict()
        arrays = {
            name: _aligned(data, dtype, shape)
            for name, dtype, shape, data in zip(*(rows[n] for n in SCHEMA.names), strict=True)
        }
        return Message(told[b"kind"].decode(), json.loads(told[b"body"]), arrays)
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise Garbled(str(error)) from error


def _exactly(read: Callable[[int], bytes], count: int) -> bytes:
    parts = []
    while count:
        part = read(min(count, 1 << 20))
        if not part:
            raise EOFError("the pipe is closed")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _aligned(data: bytes, dtype: str, shape: list[int]) -> NDArray[Any]:
    """Bytes as an array of one's own that may be written to, on a boundary."""
    room = np.empty(len(data) + BOUNDARY, dtype=np.uint8)
    start = -room.ctypes.data % BOUNDARY
    room[start : start + len(data)] = np.frombuffer(data, dtype=np.uint8)
    return room[start : start + len(data)].view(dtype).reshape(shape)
