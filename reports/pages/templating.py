"""Templates: what fills them, how what they are given is escaped, and what a page may do in a browser.

Everything that comes from a run is hostile input: names, titles, notes, errors and warnings are escaped by the
template engine without exception, and characters that reorder or hide text are written out.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import Any

from jinja2 import BytecodeCache, Environment, FunctionLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup, escape

from bench.execution.planning.estimates import human_time
from bench.scoring.pair_results import SUPERVISION
from bench.statistics.populations import population_words
from bench.storage.hashing import digest
from bench.storage.scrubbing import Scrubber
from bench.version import __version__
from reports import formatting
from reports.charts import geometry
from reports.data.caution_badges import caution_badges
from reports.sections import fits, forest_boards
from reports.sections.sound_pictures import IN_A_FILE

GENERATOR = "ser-bench report"
"""Marks our own pages, so that those of an earlier report are removed and nobody else's."""
SYNTHETIC_WORDS = "results marked so were made on generated audio: they show that the machinery works, and say nothing about speech."
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""Control characters, bidirectional overrides, invisible characters, lone surrogates."""


def page_name(kind: str, identifier: str) -> str:
    """Name the page of a task or a system; an identifier that is no plain file name gets a hash.

    >>> page_name("task", "indowave.id")
    'task-indowave.id.html'
    """
    plain = re.sub(r"[^A-Za-z0-9._+@-]", "_", identifier)[:100]
    return f"{kind}-{plain}{'' if plain == identifier else '-' + digest(identifier.encode('utf-8', 'replace'), length=4)}.html"


def pair_page_name(a: str, b: str) -> str:
    """Name the page of two systems; where a name holds the dashes between them, a hash tells pairs apart.

    >>> pair_page_name("x", "z"), pair_page_name("x", "y--z") != pair_page_name("x--y", "z")
    ('compare-x--z.html', True)
    """
    between = "--" if "--" not in f"{a} {b}" else " -- "
    return page_name("compare", f"{a}{between}{b}")


class CompiledTemplates(BytecodeCache):
    """Templates as this process has compiled them: that takes longer than filling them, and they are the same for every site."""

    def __init__(self) -> None:
        self._compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill a bucket with what was compiled from the same text."""
        if (compiled := self._compiled.get(bucket.key)) is not None:
            bucket.bytecode_from_string(compiled)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what was compiled."""
        self._compiled[bucket.key] = bucket.bytecode_to_string()


_COMPILED = CompiledTemplates()


def environment() -> Environment:
    """Load templates from the package; escape everything, leave out what is private, and fail on a name that does not exist."""
    folder = files("reports").joinpath("templates")
    words = Scrubber.of_this_machine()

    def written(value: Any) -> Any:
        """A value as it may stand on a page: nothing private in it, and nothing that hides."""
        plain = isinstance(value, str) and not isinstance(value, Markup)
        return visible(words.text(value)) if plain else value

    made = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        bytecode_cache=_COMPILED,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=written,
    )
    made.filters |= {
        "raw": _sortable,
        "depth": depth,
        "number": formatting.number,
        "span": formatting.span,
        "p": formatting.p_value,
        "rank": formatting.rank_words,
        "level": formatting.level_words,
        "misses": formatting.misses_words,
        "language": formatting.language_name,
        "subject": formatting.subject_title,
        "verdict": formatting.verdict_words,
        "coverage": formatting.coverage,
        "duration": human_time,
        "listed": formatting.listed,
        "size": formatting.size,
        "plain": lambda value: fits.note(value).text,
        "spaced": spaced,
        "ended": ended,
        # Where a player finds its file, which names folders of this machine: escaped, and otherwise left as it is.
        "played": escape,
    }
    made.tests["contains"] = lambda pair, name: name in pair
    made.globals |= {
        "counted": formatting.counted,
        "population_words": population_words,
        "METRICS": formatting.METRIC_TITLES,
        "TRACK_TITLES": formatting.TRACK_TITLES,
        "TRACK_GLOSS": formatting.TRACK_GLOSS,
        "SUPERVISION": SUPERVISION,
        "VIEWS": formatting.VIEWS,
        "OUTSIDE": formatting.OUTSIDE,
        "PLOT_WIDTH": geometry.PLOT_WIDTH,
        "ROW_HEIGHT": geometry.ROW_HEIGHT,
        "IN_A_FILE": IN_A_FILE,
        "SPARK": (geometry.SPARK_WIDTH, geometry.SPARK_HEIGHT),
        "marker_path": geometry.marker_path,
        "is_percent": formatting.is_percent,
        "board_caption": formatting.board_caption,
        "caution_badges": caution_badges,
        "VERIFIED": formatting.VERIFIED,
        "SYNTHETIC_WORDS": SYNTHETIC_WORDS,
        "page": page_name,
        "pair_page_name": pair_page_name,
        "generator": f"{GENERATOR} {__version__}",
    }
    style, pages, index, catalogue, clips, boards, downloads, overview, tasks, browser = (
        squeezed(made.get_template(name).render())
        for name in (
            "style.css", "pages.css", "index.css", "catalogue.css", "clips.css",
            "boards.js", "downloads.js", "overview.js", "catalogue.js", "clips.js",
        )
    )  # fmt: skip
    script = boards + downloads
    made.globals |= {
        "STYLE": Markup(style + pages),
        "INDEX_STYLE": Markup(style + pages + index),
        "CATALOGUE_STYLE": Markup(style + catalogue),
        "CLIPS_STYLE": Markup(style + pages + clips),
        "SCRIPT": Markup(script),
        "INDEX_SCRIPT": Markup(script + overview),
        "CATALOGUE_SCRIPT": Markup(script + tasks),
        "CLIPS_SCRIPT": Markup(script + browser),
        "POLICY": policy(style + pages, script),
        "INDEX_POLICY": policy(style + pages + index, script + overview, loads=True),
        "CATALOGUE_POLICY": policy(style + catalogue, script + tasks),
        "CLIPS_POLICY": policy(style + pages + clips, script + browser, loads=True),
    }
    return made


def policy(style: str, script: str | None = None, *, loads: bool = False) -> Markup:
    """The Content-Security-Policy of a page: this style, this script and pictures written into it, and nothing else.

    Args:
        style: the page's style sheet.
        script: its script, if it has one.
        loads: whether what this script itself asks for may run too; a script tag that stands in the page may not.

    Returns:
        The policy, without a quotation mark that could end the attribute it stands in.

    >>> made = policy("p {}")
    >>> made.startswith("default-src 'none'; style-src 'sha256-"), "unsafe" in made, "script" in made
    (True, False, False)
    """
    parts = [
        "default-src 'none'",
        f"style-src {_source(style)}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    if script is not None:
        parts.insert(1, f"script-src {_source(script)}" + (" 'strict-dynamic'" if loads else ""))
    # No quotation mark in it that could end the attribute it stands in.
    return Markup("; ".join(parts))


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def squeezed(text: str) -> str:
    """Without the blank lines that template statements leave behind."""
    return re.sub(r"\n\s*\n+", "\n", text).strip() + "\n"


def spaced(text: str) -> str:
    """Part figures from their per cent signs, as everywhere on the pages.

    >>> spaced("36% of it")
    '36 % of it'
    """
    return re.sub(r"(?<=\d)%", " %", text)


def ended(text: str) -> str:
    """A sentence with its full stop; limits that follow limits stand in one pair of brackets.

    >>> ended("few speakers (chance 0.14) (11 % of the clips)"), ended("Two words.")
    ('few speakers (chance 0.14; 11 % of the clips).', 'Two words.')
    """
    text = text.rstrip().replace(") (", "; ")
    return text if text.endswith((".", "!", "?")) else f"{text}."


def bound(html: str) -> str:
    """Keep figures and their per cent signs on one line.

    >>> bound("a 95 % interval") == "a 95" + chr(0xA0) + "% interval"
    True
    """
    return re.sub(r"(?<=\d) %", "\u00a0%", html)


def depth(share: float) -> str:
    """The class of a cell that is shaded by a share of 0 to 1.

    >>> depth(0.52), depth(-3.0), depth(7.0)
    ('d10', 'd0', 'd20')
    """
    return f"d{round(20 * min(max(share, 0.0), 1.0))}"


def _sortable(score: forest_boards.ScoreCell) -> str:
    """A written figure as a number that sorts; blank where there is none."""
    plain = score.estimate.replace("−", "-")
    return plain if re.fullmatch(r"-?\d+(\.\d+)?", plain) else ""


def visible(value: Any) -> Any:
    """Write out characters that reorder, hide or break text; leave everything else as it is.

    >>> visible("a" + chr(0x202E) + "b")
    'a⟨U+202E⟩b'
    """
    if isinstance(value, str) and not isinstance(value, Markup):
        return _UNSAFE.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", value)
    return value
