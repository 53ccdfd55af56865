"""What must not leave this machine, taken out of text: credentials, addresses of servers, absolute paths, names of user and host.

Patterns find what looks like one of these wherever it was written; what this very machine is called, where its folders lie and
what its environment keeps secret is known, and found as it stands. Addresses of public pages stay.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import html
import ipaddress
import os
import platform
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECRET, ADDRESS, PATH, USER, HOST = "[secret]", "[server]", "[path]", "[user]", "[host]"
KINDS = {
    SECRET: "a credential or a value of the environment", ADDRESS: "the address of a server", PATH: "an absolute path",
    USER: "the name of a user", HOST: "the name of a host",
}  # fmt: skip
"""What stands in place of what was found, and what that was."""

_SECRET_VARIABLE = re.compile(
    r"token|secret|passw|passphrase|credential|api_?key|access_?key|private|auth|cookie|dsn$|_key$|^key$|_pat$", re.IGNORECASE
)  # fmt: skip
_LIKE_A_SECRET = re.compile(r"(?=[^\s]*\d)(?=[^\s]*[a-z])(?=[^\s]*[A-Z])[\w+=.~-]{20,}")
"""A value of any variable that mixes digits, small and capital letters in one long word."""
_SHORTEST_SECRET = 6
_LOGIN = re.compile(r"(?<=://)[^\s/]+@")
_SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|xox[abpors]-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)"
)
_ASSIGNED = re.compile(
    r"(?i)(\b(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|authorization)\b[\"']?\s*[=:]\s*[\"']?)"
    r"((?:bearer\s+|basic\s+)?[^\s\"',;&]{4,})"
)
_BEARER = re.compile(r"(?i)(\bbearer\s+)([\w.~+/=-]{8,})")
_SECRET_KEY = re.compile(
    r"(?i)(?:.*[_-])?(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|authorization|credentials?)"
)
_ADDRESS_KEYS = frozenset(("server", "server_url", "base_url", "api_base", "endpoint", "host", "hostname"))
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`\\]+")
_ENDS_A_SENTENCE = ".,;:!?)]}"
_PUBLIC_SCHEMES = ("http", "https", "ftp", "doi")
_PRIVATE_ENDINGS = (
    ".local", ".localdomain", ".internal", ".intranet", ".lan", ".corp", ".home", ".private", ".cluster", ".svc",
)  # fmt: skip
_SEGMENT = r"[^\s/\\\x00-\x1f\"'<>|:;,`()\[\]{}]+"
_POSIX = re.compile(rf"(?<![\w)\]}}>.*/~\\-])(?:~[\w.-]*(?:/{_SEGMENT})+|(?:/{_SEGMENT}){{2,}})/?")
_ROOTS = re.compile(
    r"(?<![\w)\]}>.*/~\\-])/(?:home|Users|root|tmp|var|opt|mnt|media|data|srv|scratch|work|workspace|private|Volumes|etc)(?![\w.-])/?"
)
_WHOLE_PATH = re.compile(r"(/|~/|[A-Za-z]:[\\/]|\\\\)[^\n\"<>]*\w[^\n\"<>]*")
_QUOTED = re.compile(r"([\"'`])(?:/|~/|[A-Za-z]:[\\/])[^\"'`\n]*[\\/][^\"'`\n]*\1")
_MARKUP = re.compile(r"(<script\b.*?</script>|<style\b.*?</style>|<[A-Za-z/!][^>]*>)", re.DOTALL)
_WINDOWS = re.compile(r"(?<![\w])(?:[A-Za-z]:[\\/]|\\\\[\w.$-]+\\)[^\s\"'<>|*?,;)\]}]*")
_COMMON_USERS = frozenset((
    "root", "user", "users", "admin", "administrator", "ubuntu", "debian", "nobody", "runner", "docker", "jovyan", "app",
    "test", "guest", "default", "home", "work", "data",
))  # fmt: skip
"""Accounts that tell nothing about anybody, and are ordinary words besides."""
_COMMON_HOSTS = frozenset(("localhost", "host", "computer", "server", "node", "docker", "local"))
_SHORTEST_NAME = 3
_HOLDS_TEXT = (str, list, tuple, dict)
REMEMBERED = 100_000
"""Texts whose outcome is kept: pages say the same thousand words over and over."""


@dataclass(frozen=True)
class Place:
    """Where something was found that must not leave this machine, and what it is."""

    where: str
    kind: str


@dataclass(frozen=True)
class Scrubber:
    """Takes out of text what must not leave a machine; ``known`` is what it is called there, with what stands for it."""

    known: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    _seen: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    _values: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of_this_machine(cls, folders: Sequence[Path] = ()) -> Scrubber:
        """Know this machine: its user, its host, its folders and the secrets of its environment.

        Args:
            folders: further ones whose paths must not appear, the run's for example.
        """
        environment = dict(os.environ)
        known = dict.fromkeys(_secrets(environment), SECRET)
        places = [*folders, Path(tempfile.gettempdir())]
        for find in (Path.home, Path.cwd):
            with contextlib.suppress(
                OSError, RuntimeError
            ):  # an account without a home, a folder that was removed
                places.append(find())
        for value in (v for name, v in environment.items() if name.startswith("SERBENCH_")):
            places += [Path(p) for p in value.split(os.pathsep) if p]
        for place in places:
            for text in {str(place), str(place.absolute())}:
                if Path(text).is_absolute() and len(Path(text).parts) > 1:
                    known.setdefault(text, PATH)
        known |= dict.fromkeys(_users(environment), USER) | dict.fromkeys(_hosts(environment), HOST)
        return cls(tuple(sorted(known.items(), key=lambda item: (-len(item[0]), item[0]))))

    def text(self, text: str) -> str:
        """Return text without what must not leave this machine."""
        found = self._seen.get(text)
        if found is None:
            if len(self._seen) > REMEMBERED:
                self._seen.clear()
            found = self._seen[text] = _scrubbed(self.known, text)
        return found

    def value(self, text: str) -> str:
        """Return a text that is a value of its own: one that is nothing but a path is one, whatever its name."""
        found = self._values.get(text)
        if found is None:
            if len(self._values) > REMEMBERED:
                self._values.clear()
            nothing_but_a_path = _WHOLE_PATH.fullmatch(text) and "://" not in text
            found = self._values[text] = PATH if nothing_but_a_path else self.text(text)
        return found

    def json(self, value: Any) -> Any:
        """Return JSON values whose texts, keys among them, went through :meth:`value`.

        Raises:
            ValueError: two keys of one object would become the same.
        """
        if isinstance(value, str):
            return self.value(value)
        if isinstance(value, list | tuple):
            return [self.json(v) for v in value]
        if isinstance(value, dict):
            scrubbed = {
                self.value(str(k)): self.json(_by_key(str(k), v)) if isinstance(v, _HOLDS_TEXT) else v
                for k, v in value.items()
            }
            if len(scrubbed) < len(value):
                raise ValueError("two of its keys differ in nothing but what must not be published")
            return scrubbed
        return value

    def places(self, value: Any, where: str = "") -> Iterator[Place]:
        """Name the places of a JSON value where something must not leave this machine.

        Args:
            value: JSON values.
            where: the place of the whole.
        """
        if isinstance(value, str):
            if (scrubbed := self.value(value)) != value:
                yield Place(where, _kind(scrubbed))
        elif isinstance(value, list | tuple):
            for i, item in enumerate(value):
                yield from self.places(item, f"{where}.{i}" if where else str(i))
        elif isinstance(value, dict):
            for key, item in value.items():
                inside = f"{where}.{key}" if where else str(key)
                if (scrubbed := self.value(str(key))) != str(key):
                    yield Place(f"a key of {where or 'the whole'}", _kind(scrubbed))
                elif (scrubbed := _by_key(str(key), item)) != item:
                    yield Place(inside, _kind(scrubbed))
                else:
                    yield from self.places(item, inside)

    def page(self, text: str) -> str:
        """Return a written file, a page for example, without what this machine is known by.

        Patterns would find paths in markup, so they are for what pages are filled with. Styles and scripts stay as their hashes in the
        page's policy say; names of user and host are looked for between tags. A player keeps its address, which leads to a file of
        this machine and is asked for by name: without it there is nothing to play.
        """
        known = [(_forms(literal), stand_in) for literal, stand_in in self.known]
        here = [(forms, stand_in) for forms, stand_in in known if any(form in text for form in forms)]
        return "".join(_piece(piece, here) for piece in _MARKUP.split(text)) if here else text


def _forms(literal: str) -> set[str]:
    """How a word is written on a page."""
    return {literal, html.escape(literal), html.escape(literal, quote=False)}


def _piece(text: str, known: Sequence[tuple[set[str], str]]) -> str:
    if text.startswith(("<script", "<style", "<audio")):
        return text
    for forms, stand_in in known:
        if stand_in in (USER, HOST) and text.startswith("<"):
            continue
        for form in forms:
            if form in text:
                text = _word(form, stand_in).sub(stand_in, text)
    return text


def without_secrets(text: str, given: Mapping[str, str] | None = None) -> str:
    """Return text without credentials alone: a message on one's own machine keeps its paths and addresses.

    Args:
        text: of a message or a log, whole: a secret that was cut in two is no longer known.
        given: further variables whose secret values are known, those a card gives a server for example.

    >>> without_secrets("GET https://me:pw@host/v1 Authorization: Bearer abcdefgh12")
    'GET https://host/v1 Authorization: [secret]'
    """
    known = {*_secrets(os.environ), *_secrets(given or {})}
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, SECRET)
    text = _ASSIGNED.sub(lambda m: m[0] if _is_placeholder(m[2]) else f"{m[1]}{SECRET}", text)
    text = _BEARER.sub(rf"\1{SECRET}", _SHAPES.sub(SECRET, text))
    return _LOGIN.sub("", text)


def without_secret_values(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables with a stand-in for the value of each that is secret by its name or its shape.

    What this machine's own environment holds decides nothing, so that the outcome is the same everywhere.

    >>> without_secret_values({"HF_TOKEN": "abcdef", "VLLM_USE_V1": "1", "ARGS": "--key sk-abcdefghijklmnop12"})
    {'HF_TOKEN': '[secret]', 'VLLM_USE_V1': '1', 'ARGS': '--key [secret]'}
    """
    return {
        name: SECRET
        if _SECRET_VARIABLE.search(name) or _LIKE_A_SECRET.fullmatch(value.strip())
        else _LOGIN.sub("", _SHAPES.sub(SECRET, value))
        for name, value in environment.items()
    }


def without_login(address: str) -> str:
    """Return an address without user, password and query.

    >>> without_login("https://me:pw@host/v1?key=abc")
    'https://host/v1'
    """
    return _LOGIN.sub("", address).partition("?")[0]


def _kind(scrubbed: str) -> str:
    return next((KINDS[k] for k in KINDS if k in scrubbed), KINDS[SECRET])


def _by_key(key: str, value: Any) -> Any:
    """A value, or its stand-in where the name of its key says that it is a credential or the address of a server."""
    if not isinstance(value, str):
        return value
    held = _held_by(key)
    if not held or not value.strip() or (held == ADDRESS and not re.search(r"[.:/]", value)):
        return value
    return held


@functools.lru_cache(maxsize=4096)
def _held_by(key: str) -> str:
    """The stand-in for what a key of this name holds; blank where the name tells nothing."""
    if _SECRET_KEY.fullmatch(key) or (key.isupper() and _SECRET_VARIABLE.search(key)):
        return SECRET
    return ADDRESS if key.lower() in _ADDRESS_KEYS else ""


def _scrubbed(known: tuple[tuple[str, str], ...], text: str) -> str:
    for literal, stand_in in known:
        if literal in text:
            text = _word(literal, stand_in, path=True).sub(stand_in, text)
    text = _SHAPES.sub(SECRET, text)
    text = _BEARER.sub(rf"\1{SECRET}", text)
    parts, end = [], 0
    for found in _URL.finditer(text):
        url = found[0].rstrip(_ENDS_A_SENTENCE)
        parts += [_without_paths(text[end : found.start()]), _address(url)]
        end = found.start() + len(url)
    return "".join([*parts, _without_paths(text[end:])])


def _word(literal: str, stand_in: str, *, path: bool = False) -> re.Pattern[str]:
    """A literal where it stands as a word; a folder takes what lies in it along."""
    rest = r"(?:[\\/][^\s\"'<>|:;,`)\]}]*)*" if path and stand_in == PATH else ""
    before, after = (r"(?<![A-Za-z0-9_])", r"(?![A-Za-z0-9_])") if stand_in in (USER, HOST) else ("", "")
    if stand_in == PATH:
        after = r"(?![\w-])" if not rest else ""
        before = r"(?<![\w])"
        rest = rf"(?:(?![\w-]){rest})" if rest else ""
    return re.compile(before + re.escape(literal) + rest + after)


def _without_paths(text: str) -> str:
    """Text between addresses without assigned secrets and paths."""
    text = _ASSIGNED.sub(lambda m: m[0] if _is_placeholder(m[2]) else f"{m[1]}{SECRET}", text)
    text = _QUOTED.sub(rf"\1{PATH}\1", text)
    if "\\" in text or ":/" in text:
        text = _WINDOWS.sub(PATH, text)
    if "/" not in text:
        return text
    return _ROOTS.sub(PATH, _POSIX.sub(lambda m: _kept_end(m[0]), text))


def _kept_end(path: str) -> str:
    """A path's stand-in, with the full stop that only ended the sentence."""
    return PATH + path[len(path.rstrip(_ENDS_A_SENTENCE)) :]


def _is_placeholder(value: str) -> bool:
    """Whether an assigned value is no secret: a word of explanation in capitals, or what stands for one already."""
    return (value.isupper() and value.isalpha()) or value.startswith(("[", "<", "…", "{"))


def _address(url: str) -> str:
    """An address: of a public page as it is, without what only its holder may know; of anything else a stand-in."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return url if "@" not in url else ADDRESS  # http://HOST:PORT, as a sentence explains it
    if parts.scheme == "file":
        return PATH
    if "@" in parts.netloc or port is not None or parts.scheme not in _PUBLIC_SCHEMES or _is_private(host):
        return ADDRESS
    secret = _ASSIGNED.sub(rf"\1{SECRET}", parts.query)
    return url if secret == parts.query else url.replace(parts.query, secret)


def _is_private(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.lower().endswith(_PRIVATE_ENDINGS)
    return True


def _secrets(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        text = value.strip()
        if len(text) < _SHORTEST_SECRET or text.startswith(("/", "~")):
            continue
        if _SECRET_VARIABLE.search(name) or _LIKE_A_SECRET.fullmatch(text):
            yield text


def _users(environment: Mapping[str, str]) -> Iterator[str]:
    names = [environment.get(v, "") for v in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")]
    for find in (getpass.getuser, lambda: Path.home().name):
        with contextlib.suppress(KeyError, OSError, RuntimeError):  # an account without a name or a home
            names.append(find())
    yield from (n for n in names if len(n) >= _SHORTEST_NAME and n.lower() not in _COMMON_USERS)


def _hosts(environment: Mapping[str, str]) -> Iterator[str]:
    names = [environment.get(v, "") for v in ("HOSTNAME", "HOST", "COMPUTERNAME")]
    for name in [*names, socket.gethostname(), platform.node()]:
        for part in (name, name.partition(".")[0]):
            if len(part) >= _SHORTEST_NAME and part.lower() not in _COMMON_HOSTS:
                yield part
