"""Downloads from a server on this machine: resumed, checked, and clear when something is wrong."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.cards.corpus_layout import Download
from bench.corpora.preparation.downloading import download
from bench.errors import DataError

CONTENT = os.urandom(700_000)


@dataclass
class Server:
    """One file, served with ranges; ``breaks`` connections end after ``after`` bytes."""

    address: str = ""
    content: bytes = CONTENT
    etag: str = '"1"'
    ranges: bool = True
    breaks: int = 0
    after: int = 300_000
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.headers.get("Range", ""))
            if self.path != "/corpus.zip":
                self.send_error(404, "Not Found")
                return
            start = 0
            asked = self.headers.get("Range", "")
            fresh = self.headers.get("If-Range", state.etag) == state.etag
            if asked and state.ranges and fresh:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(state.content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(state.content)}")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}"
                )
            else:
                self.send_response(200)
            body = state.content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", state.etag)
            self.end_headers()
            if state.breaks:
                state.breaks -= 1
                self.wfile.write(body[: state.after])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{httpd.server_address[1]}/corpus.zip"
    yield state
    httpd.shutdown()
    httpd.server_close()


def wanted(server: Server, **more: object) -> Download:
    return Download.model_validate({"url": server.address, **more})


def test_a_broken_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    whole = hashlib.sha256(CONTENT).hexdigest()
    counted: list[int] = []
    path = download(wanted(server, sha256=whole, bytes=len(CONTENT)), tmp_path, counted.append, pause=0)
    assert path.name == "corpus.zip"
    assert path.read_bytes() == CONTENT
    assert server.asked == ["", "bytes=300000-", "bytes=600000-"]
    assert [p.name for p in tmp_path.iterdir()] == ["corpus.zip"]
    assert download(wanted(server, sha256=whole), tmp_path) == path
    assert len(server.asked) == 3


def test_a_part_left_by_a_kill_is_used_unless_the_file_changed_upstream(
    server: Server, tmp_path: Path
) -> None:
    for etag, asked in (('"1"', 200_000), ('"0"', 200_000)):
        (tmp_path / "corpus.zip").unlink(missing_ok=True)
        (tmp_path / "corpus.zip.part").write_bytes(CONTENT[:200_000] if etag == '"1"' else bytes(200_000))
        (tmp_path / "corpus.zip.part.etag").write_text(etag)
        assert download(wanted(server), tmp_path, pause=0).read_bytes() == CONTENT
        assert server.asked[-1] == f"bytes={asked}-"


def test_a_server_without_ranges_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.ranges, server.breaks = False, 1
    assert download(wanted(server), tmp_path, pause=0).read_bytes() == CONTENT


def test_a_file_that_was_whole_already_is_recognised(server: Server, tmp_path: Path) -> None:
    (tmp_path / "corpus.zip.part").write_bytes(CONTENT)
    assert download(wanted(server), tmp_path, pause=0).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize(
    ("promise", "message"),
    [
        ({"sha256": "0" * 64}, "its sha256 is .* the card says 000"),
        ({"md5": "0" * 32}, "its md5 is .* the card says 000"),
        ({"bytes": 5}, "has 700,000 bytes, the card says 5"),
    ],
)
def test_another_file_than_promised_is_refused_and_removed(
    server: Server, tmp_path: Path, promise: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        download(wanted(server, **promise), tmp_path, pause=0)
    assert not (tmp_path / "corpus.zip").exists()
    assert not (tmp_path / "corpus.zip.part").exists()


def test_an_address_that_does_not_answer_is_one_clear_sentence(server: Server, tmp_path: Path) -> None:
    missing = Download(url=server.address.replace("corpus", "gone"))
    with pytest.raises(
        DataError, match=r"gone\.zip: cannot be downloaded \(the server answers 404 Not Found\).*--source"
    ):
        download(missing, tmp_path, pause=0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = Download(url=f"http://127.0.0.1:{free.getsockname()[1]}/x.zip")
        with pytest.raises(DataError, match=r"x\.zip: cannot be downloaded \(.*refused.*\)"):
            download(nobody, tmp_path, pause=0)


def test_a_connection_that_never_gets_further_is_given_up(server: Server, tmp_path: Path) -> None:
    server.breaks, server.after = 100, 0
    (tmp_path / "corpus.zip.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match=r"cannot be downloaded .* What was fetched is kept"):
        download(wanted(server), tmp_path, pause=0)
    assert (tmp_path / "corpus.zip.part").read_bytes() == CONTENT[:1000]
