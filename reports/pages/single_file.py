"""A whole report as one file, for mail: every page a section, shown when something in it is the address's target.

No script is needed to go from page to page. Pages come from our own templates, which write attributes in double quotes
and escape what stands in them; that is what lets start tags be rewritten as text, SVG's capitals kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape, unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

IDS = ("id", "for", "aria-labelledby", "aria-describedby", "aria-controls", "headers", "list")
"""Attributes that hold ids of the same page, one or several."""
_ATTRIBUTE = re.compile(r'\s([a-zA-Z:-]+)="([^"]*)"')
_LOCAL_URL = re.compile(r"url\(#([^)]+)\)")
BODY = re.compile(r"<body[^>]*>(.*)</body>", re.DOTALL)
TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)


def single_file(made: Mapping[str, str]) -> str:
    """Join pages (file name → HTML) into one; the first is what one sees first, and keeps its ids and its script.

    The script file beside the first page goes in as data, which needs nobody's leave to run: it does not.

    Raises:
        ValueError: there is no page.
    """
    pages = {name: html for name, html in made.items() if name.endswith(".html")}
    if not pages:
        raise ValueError("no page to put into a single file")
    numbers = {name: f"p{i}" for i, name in enumerate(pages)}
    first = next(iter(pages.values()))
    head, script = first[: first.index("<body")], first[first.rindex("<script>") : first.rindex("</body>")]
    sections = [
        f'<section class="page" id="{numbers[name]}" aria-label="{_title(html)}">\n{_section(html, name, numbers)}\n</section>'
        for name, html in pages.items()
    ]
    return "\n".join(
        [
            head + '<body class="single">',
            '<a class="skip" href="#main">Skip to the content</a>',
            '<main id="main">',
            *sections,
            "</main>",
            *(_data(text, numbers) for name, text in made.items() if name not in pages),
            script.strip(),
            "</body>",
            "</html>",
            "",
        ]
    )


def _data(script: str, numbers: Mapping[str, str]) -> str:
    """The JSON that a script file sets a variable to, addresses of pages as their places in this file."""

    def inside(value: Any) -> Any:
        if isinstance(value, str):
            number = numbers.get(unquote(value))
            return value if number is None else f"#{number}"
        if isinstance(value, dict):
            return {k: inside(v) for k, v in value.items()}
        return [inside(v) for v in value] if isinstance(value, list) else value

    data = inside(json.loads(script.partition("=")[2].strip().rstrip(";")))
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="rows">{text}</script>'


def _title(html: str) -> str:
    found = TITLE.search(html)
    return found[1].replace('"', "&quot;") if found else ""


def _section(html: str, name: str, numbers: Mapping[str, str]) -> str:
    body = BODY.search(html)
    assert body is not None
    first = numbers[name] == "p0"
    rewritten = _Rewriter("" if first else f"{numbers[name]}-", numbers)
    rewritten.feed(body[1])
    rewritten.close()
    return "".join(rewritten.parts).strip()


class _Rewriter(HTMLParser):
    """Copies markup as it stands, but for ids, what refers to them, links to pages, scripts and <main>."""

    def __init__(self, prefix: str, numbers: Mapping[str, str]) -> None:
        super().__init__(convert_charrefs=False)
        self.parts: list[str] = []
        self._prefix, self._numbers = prefix, numbers
        self._inside_script = False
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self._inside_script = True
            return
        if tag == "a" and ("class", "skip") in attrs:
            self._skipped = 1
            return
        text = _ATTRIBUTE.sub(self._attribute, str(self.get_starttag_text()))
        self.parts.append(re.sub(r"^<main\b[^>]*", '<div class="main"', text) if tag == "main" else text)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append(_ATTRIBUTE.sub(self._attribute, str(self.get_starttag_text())))

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._inside_script = False
        elif tag == "a" and self._skipped:
            self._skipped = 0
        else:
            self.parts.append("</div>" if tag == "main" else f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._inside_script and not self._skipped:
            self.parts.append(data)

    def handle_entityref(self, name: str) -> None:
        self.handle_data(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.handle_data(f"&#{name};")

    def _attribute(self, found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        if name in IDS:
            value = " ".join(self._prefix + word for word in value.split())
        elif name in ("href", "xlink:href"):
            value = self._address(value)
        elif name == "data-pairs":
            pairs = json.loads(unescape(value))
            value = escape(json.dumps([[a, b, self._address(page)] for a, b, page in pairs]))
        else:
            value = _LOCAL_URL.sub(rf"url(#{self._prefix}\1)", value)
        return f' {name}="{value}"'

    def _address(self, value: str) -> str:
        page, hash_, place = value.partition("#")
        if not page:
            return f"#{self._prefix}{place}"
        number = self._numbers.get(unquote(unescape(page)))
        if number is None:
            return value
        if not hash_:
            return f"#{number}"
        return f"#{place}" if number == "p0" else f"#{number}-{place}"
