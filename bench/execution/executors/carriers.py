"""How files travel between machines that share no file system: through Ray's object store, or by an address that all reach."""

from __future__ import annotations

import contextlib
import posixpath
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import CannotRun, DamagedStore, UsageError
from bench.storage.hashing import hash_file

FOR_PROTOCOL = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
"""What fsspec wants installed for the stores of the large clouds; for others it says so itself."""


class Carrier(ABC):
    """Takes files along. A reference is what the other side fetches a file by."""

    @abstractmethod
    def send(self, path: Path) -> Any:
        """Make a file of the driver available to all nodes; its reference."""

    @abstractmethod
    def send_back(self, path: Path) -> Any:
        """Make a file of a node available to the driver; its reference."""

    @abstractmethod
    def fetch(self, reference: Any, path: Path) -> None:
        """Write what a reference stands for."""

    @abstractmethod
    def name(self, reference: Any) -> str:
        """A file name that no other content has."""

    @abstractmethod
    def require(self) -> None:
        """Raise where nothing can travel this way."""


class ObjectStore(Carrier):
    """Ray's object store: in the memory of the nodes, and on their disks where that is full."""

    def send(self, path: Path) -> Any:
        """Put it into the store; the reference keeps it there."""
        import ray

        return ray.put(path.read_bytes())

    def send_back(self, path: Path) -> Any:
        """Its bytes: they come along with the job's outcome."""
        return path.read_bytes()

    def fetch(self, reference: Any, path: Path) -> None:
        """Write what a reference stands for."""
        import ray

        path.write_bytes(reference if isinstance(reference, bytes) else ray.get(reference))

    def name(self, reference: Any) -> str:
        """Ray's number of the object."""
        return str(reference.hex())

    def require(self) -> None:
        """It is there where Ray is."""


class Exchange(Carrier):
    """Any address that fsspec knows (``s3://bucket/folder``, ``gs://…``, a mounted folder), reached by the driver and by all nodes.

    Files lie there by the hash of what is in them, so that one which is there is not sent again: not for another node, nor by another
    run. They stay until somebody deletes the folder.

    Args:
        address: of a folder.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def send(self, path: Path) -> str:
        """Send a file, unless it is there; its hash.

        Raises:
            CannotRun: the address does not answer, or refuses.
        """
        name = hash_file(path)
        with self._told("written"):
            files, place = self._place(name)
            if not files.exists(place) or int(files.size(place) or 0) != path.stat().st_size:
                self._make_folder(files, place)
                files.put_file(str(path), place)
        return name

    send_back = send

    def fetch(self, reference: Any, path: Path) -> None:
        """Write what a reference stands for.

        Raises:
            CannotRun: the address does not answer, or refuses.
            DamagedStore: what lies there is not what was sent.
        """
        with self._told("read"):
            files, place = self._place(reference)
            files.get_file(place, str(path))
        if hash_file(path) != reference:
            raise DamagedStore(
                f"{self.address}/{self._rest(reference)} is not what was sent there (cut off, or changed); delete it, and run the same "
                "command again"
            )

    def name(self, reference: Any) -> str:
        """The hash."""
        return str(reference)

    def require(self) -> None:
        """Write a file there, read it and delete it.

        Raises:
            UsageError: no such kind of address, or its package is not installed.
            CannotRun: it does not answer, or refuses.
        """
        content = uuid.uuid4().hex.encode()
        with self._told("used"):
            files, place = self._place(content.decode())
            self._make_folder(files, place)
            files.pipe_file(place, content)
            if files.cat_file(place) != content:
                raise OSError("it gives back something else than was written")
            files.rm_file(place)

    def _place(self, name: str) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        files, root = url_to_fs(self.address)
        return files, f"{root.rstrip('/')}/{self._rest(name)}"

    def _make_folder(self, files: Any, place: str) -> None:
        # Stores of objects have no folders, and some would make a bucket of a name that was mistyped.
        if self.address.partition("://")[0] not in FOR_PROTOCOL:
            files.makedirs(posixpath.dirname(place), exist_ok=True)

    @staticmethod
    def _rest(name: str) -> str:
        return f"{name[:2]}/{name}"

    @contextlib.contextmanager
    def _told(self, done: str) -> Iterator[None]:
        """Turn what fsspec and a store's own package raise into a sentence."""
        try:
            yield
        except ImportError as error:
            protocol = self.address.partition("://")[0]
            package = FOR_PROTOCOL.get(protocol)
            mend = f"pip install {package}" if package else str(error)
            raise UsageError(
                f"--exchange {self.address}: what reaches {protocol}:// is not installed: {mend}, here and on all nodes"
            ) from None
        except Exception as error:  # botocore's errors share no class with OSError
            said = " ".join(str(error).split())[:300] or type(error).__name__
            if isinstance(error, ValueError) and "rotocol not known" in said:
                raise UsageError(
                    f"--exchange {self.address}: {said}; expected an address such as s3://bucket/folder"
                ) from None
            raise CannotRun(
                f"--exchange {self.address} cannot be {done} ({said}); it must exist, and its keys be known here and on all nodes"
            ) from error
