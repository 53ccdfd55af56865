"""The clip browser of a task: a page, beside it a script file per protocol and condition with every clip and answer, and
files with pictures of the sound, which the page loads as it shows them.

Script files are loaded by script tags that the page's own script makes, never fetched, so that it works from a folder on disk. They
hold JSON and nothing else. The page is one of a report that its owner made with labels at hand; no board has one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.storage.atomic import clear_os_errors, write_text
from bench.storage.scrubbing import Scrubber
from reports.pages.templating import page_name, visible
from reports.sections.clip_rows import Address, ClipRows, Packed
from reports.sections.sound_pictures import PictureFile, SoundPictures

VARIABLE, PICTURES = "SERBENCH_CLIPS", "SERBENCH_PICTURES"
MARK = "// ser-bench clips "
"""How our own script files begin, so that those of an earlier report are removed and nobody else's."""
SCRIPTS = "clips-*.js"


@dataclass(frozen=True)
class BrowsedSetting:
    """A protocol and condition, and with ratings a dimension, that the browser shows: where its clips are, and what the page says before they are loaded."""

    rows: ClipRows
    file: str

    @property
    def words(self) -> str:
        """Protocol, condition and dimension, as the address of a choice has them."""
        return setting_words(self.rows.protocol, self.rows.condition, self.rows.dimension)


@dataclass(frozen=True)
class ClipBrowser:
    """Everything of one task that can be browsed."""

    task: str
    settings: tuple[BrowsedSetting, ...]

    @property
    def page(self) -> str:
        """The page's file name."""
        return browser_name(self.task)

    @property
    def addresses(self) -> list[list[str]]:
        """File and words of each setting, for the page's script."""
        return [[quote(s.file), s.words] for s in self.settings]

    @property
    def labelled(self) -> bool:
        """Whether clips have labels that were answered."""
        return any(not s.rows.dimension for s in self.settings)

    @property
    def rated(self) -> bool:
        """Whether clips have ratings that were answered."""
        return any(s.rows.dimension for s in self.settings)

    @property
    def players(self) -> bool:
        """Whether clips can be listened to."""
        return any("sound" in s.rows.data for s in self.settings)

    @property
    def pictures(self) -> bool:
        """Whether what they sound like is drawn."""
        return any(s.rows.data.get("sound", {}).get("pictures") for s in self.settings)

    def scripts(self, words: Scrubber) -> dict[str, str]:
        """The script files: name → text, without what is private and without letters that hide."""
        return {s.file: rows_script(s.rows, words) for s in self.settings}


def browser_name(task: str) -> str:
    """Name the page of a task's clips.

    >>> browser_name("emodb.de")
    'clips-emodb.de.html'
    """
    return page_name("clips", task)


def setting_words(protocol: str, condition: str, dimension: str = "") -> str:
    """Name a setting in the address of a choice.

    Args:
        protocol: how systems learnt.
        condition: what was done to the audio that they heard.
        dimension: what the clips are rated on; blank where they are labelled.

    >>> setting_words("within", "noise-0db"), setting_words("within", "clean", "valence")
    ('within, noise-0db', 'within, clean, valence')
    """
    return ", ".join(filter(None, (protocol, condition, dimension)))


def clip_browser(task: str, rows: Sequence[ClipRows]) -> ClipBrowser:
    """Put the settings of a task into one browser.

    Args:
        task: the task's id.
        rows: its clips under each protocol and condition, labelled or rated, the first shown first.
    """
    stem = browser_name(task).removesuffix(".html")
    return ClipBrowser(task, tuple(BrowsedSetting(r, f"{stem}-{k}.js") for k, r in enumerate(rows)))


def rows_script(rows: ClipRows, words: Scrubber) -> str:
    """A script file with the clips of one setting."""
    text = _json({**rows.data, "systems": [_addressed(s) for s in rows.data["systems"]]}, words)
    return f"{MARK}rows\nwindow.{VARIABLE}={text};\n"


def _addressed(system: Mapping[str, Any]) -> dict[str, Any]:
    return {**system, "page": quote(page_name("system", system["name"]))}


def _json(value: Any, words: Scrubber) -> str:
    """JSON that may stand inside a script: ASCII, without any ``<``."""
    return json.dumps(_cleaned(value, words), separators=(",", ":")).replace("<", "\\u003c")


def _cleaned(value: Any, words: Scrubber) -> Any:
    """The same values without what is private, and without letters that hide; packed numbers as they are."""
    if isinstance(value, Packed):
        return [value.width, value.text]
    if isinstance(value, Address):
        return value.text
    if isinstance(value, str):
        return visible(words.text(value))
    if isinstance(value, Mapping):
        return {k: _cleaned(v, words) for k, v in value.items()}
    return [_cleaned(v, words) for v in value] if isinstance(value, list | tuple) else value


def pictures_stem(corpus: str) -> str:
    """What the names of a corpus's files of pictures begin with.

    >>> pictures_stem("emodb.de")
    'clips-emodb.de-pictures-'
    """
    return f"{browser_name(corpus).removesuffix('.html')}-pictures-"


def write_pictures(pictures: SoundPictures, out: Path) -> list[str]:
    """Draw what clips sound like into script files in ``out``; a file that shows the very same samples already is left.

    Returns:
        The names of the files.

    Raises:
        BenchError: ``out`` cannot be written, or decoded audio changed on the disk.
    """
    names = []
    for file in pictures.files():
        names.append(f"{pictures_stem(file.corpus)}{file.number}.js")
        _write_pictures(file, out / names[-1])
    return names


def _write_pictures(file: PictureFile, path: Path) -> None:
    head = f"{MARK}{file.key}\n"
    with clear_os_errors(path):
        if path.is_file() and path.open(encoding="utf-8", errors="replace").readline() == head:
            return
    assigned = f"(window.{PICTURES}=window.{PICTURES}||{{}})[{file.number}]="
    write_text(path, f"{head}{assigned}{file.text()};\n")


def stale_scripts(out: Path, current: set[str]) -> Iterator[Path]:
    """Script files of an earlier report that are no longer among ours."""
    for path in sorted(out.glob(SCRIPTS)):
        with path.open(encoding="utf-8", errors="replace") as stream:
            ours = stream.read(len(MARK)) == MARK
        if path.name not in current and ours:
            yield path
