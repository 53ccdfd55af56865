"""The ``layout:`` section of a corpus card: how the owner's download becomes clips. Data only; nothing is read here."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from bench.cards.typed_yaml import Strict
from bench.errors import nearest

ReaderName = Literal["emo-evaluation", "nested-dialogues", "segments"]
TableFormat = Literal["csv", "tsv", "json", "jsonl", "parquet"]
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _checked_pattern(value: str | None) -> str | None:
    if value is not None:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression ({error})") from None
    return value


def _as_text(value: Any) -> Any:
    """YAML's 1 and 1.5 stand for what was written: identifiers are text."""
    if isinstance(value, dict):
        return {str(k): _as_text(v) for k, v in value.items()}
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class Download(Strict):
    """A file of an open corpus, with the checksum its owner publishes (null where none is)."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    bytes: Annotated[int, Field(gt=0)] | None = None
    name: str | None = None
    """File name; the last part of the address unless given."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and (not value or "/" in value or "\\" in value or value in (".", "..")):
            raise ValueError(f"{value!r} must be a plain file name")
        return value


class Extract(Strict):
    """Named groups of a pattern, found in a column (or a template over columns), become columns."""

    model_config = ConfigDict(populate_by_name=True)

    from_: Annotated[str, Field(alias="from")]
    pattern: str

    _pattern = field_validator("pattern")(_checked_pattern)


class HuggingFace(Strict):
    """A data set of the Hugging Face hub, read without decoding, or a local folder of the same format."""

    repo: str
    revision: str | None = None
    """The commit; what is not pinned cannot be repeated."""
    config: str | None = None
    splits: dict[str, str] = {}
    """Ours → theirs; all splits under their own names unless given."""
    audio: str = "audio"


class _Rows(Strict):
    """What tables and joins share: how a table is read, and which of its columns are taken under which name."""

    table: tuple[str, ...] | None = None
    """Glob(s), relative to the source."""
    format: TableFormat | None = None
    delimiter: Annotated[str, StringConstraints(strip_whitespace=False)] | None = None
    """One character, or ``tab``, or ``spaces`` (runs of white space)."""
    encoding: tuple[str, ...] = ("utf-8-sig",)
    """Encodings, tried in this order for each file."""
    header: tuple[str, ...] | None = None
    """Names of the columns of a table without a header line; ``first`` is then its first row."""
    spaced: str | None = None
    """Column that may hold spaces: a row that lost its delimiters is split at spaces, and this column takes those left over."""
    records: str | None = None
    """Path to the records in nested JSON, e.g. ``data.clips``."""
    columns: dict[str, str] = {}
    """Our column → theirs, or a template over theirs: ``"{Season}-{Episode}"``."""
    votes: dict[str, str] = {}
    """Label → their column of counts; together they become ``soft_votes``."""
    tally: tuple[str, ...] = ()
    """Their column(s) of one listener's answer each, over one row or several; counted into ``soft_votes``."""
    ratings: dict[str, tuple[str, ...]] = {}
    """Our column → their column(s) of listeners' ratings; the mean over columns and rows."""
    single: bool = False
    """Whether the listeners' ratings of dimensions are kept one by one as well, in the column ``ratings``."""

    @field_validator("table", "encoding", "tally", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return _as_tuple(value)

    @field_validator("ratings", mode="before")
    @classmethod
    def _one_or_several_columns(cls, value: Any) -> Any:
        return {k: _as_tuple(v) for k, v in value.items()} if isinstance(value, dict) else value

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and value not in ("tab", "spaces") and len(value) != 1:
            raise ValueError(f"{value!r} must be one character, or 'tab', or 'spaces'")
        return value


class Part(_Rows):
    """One way in which clips are listed: exactly one of ``audio`` + ``pattern``, ``table``, ``reader``, ``huggingface``."""

    audio: tuple[str, ...] | None = None
    """Without ``table``: globs of clips. With ``table``: templates of the clip's path, over the table's columns."""
    pattern: str | None = None
    """Must match the end of the clip's path (with ``table``: the table's), from the start of a file or folder name."""
    reader: ReaderName | None = None
    options: dict[str, Any] = {}
    huggingface: HuggingFace | None = None
    set: dict[str, str] = {}
    where: dict[str, tuple[str, ...]] = {}
    """Keep clips whose column has one of these values; the others are counted as left out by the card."""
    extract: tuple[Extract, ...] = ()
    lasts: tuple[str, ...] = ()
    """Their column of a clip's length, or those of its start and its end, in seconds or h:m:s: held against the audio."""
    beside: dict[str, str] = {}
    """Our column → template of a text file's path; its whole text is the value: ``{transcript: "{folder}/{stem}.txt"}``."""

    _pattern = field_validator("pattern")(_checked_pattern)

    @field_validator("lasts", mode="before")
    @classmethod
    def _one_or_two(cls, value: Any) -> Any:
        value = _as_tuple(value)
        if isinstance(value, list | tuple) and len(value) > 2:
            raise ValueError("'lasts' names the column of a length, or those of start and end")
        return value

    @field_validator("audio", mode="before")
    @classmethod
    def _one_or_several_globs(cls, value: Any) -> Any:
        return _as_tuple(value)

    @field_validator("set", mode="before")
    @classmethod
    def _constants_are_text(cls, value: Any) -> Any:
        return _as_text(value)

    @field_validator("where", mode="before")
    @classmethod
    def _values_are_text(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            k: [_as_text(x) for x in v] if isinstance(v, list) else (_as_text(v),) for k, v in value.items()
        }

    @model_validator(mode="after")
    def _one_kind(self) -> Part:
        kinds = [k for k in ("table", "reader", "huggingface") if getattr(self, k) is not None]
        if self.reader == "segments":  # a table of segments, and what is made of them
            kinds.remove("reader")
        if not kinds and self.audio is not None:
            kinds = ["audio"]
        if len(kinds) != 1:
            raise ValueError("a part needs exactly one of 'audio', 'table', 'reader' and 'huggingface'")
        if kinds == ["table"] and self.audio is None:
            raise ValueError("a part with a 'table' needs 'audio': the template of a clip's path")
        if self.reader == "segments" and kinds != ["table"]:
            raise ValueError("the reader 'segments' needs a 'table' of segments")
        if kinds == ["audio"] and self.pattern is None and not self.set and not self.extract:
            raise ValueError("a part with 'audio' needs a 'pattern' whose named groups become columns")
        if self.options and self.reader is None:
            raise ValueError("'options' are a reader's: name the 'reader'")
        return self

    @property
    def kind(self) -> Literal["audio", "table", "reader", "huggingface"]:
        """How this part lists its clips."""
        if self.reader is not None:
            return "reader"
        if self.huggingface is not None:
            return "huggingface"
        return "audio" if self.table is None else "table"


class Join(_Rows):
    """A further table: rows whose ``key`` equals a clip's ``on`` add columns to it."""

    key: str
    """Their column, or a template over theirs."""
    on: str
    """Our column, or a template over ours; ``source_path``, ``folder``, ``stem`` and ``suffix`` are there as well."""
    optional: bool = False
    """True when clips without a row are as they should be."""

    @model_validator(mode="after")
    def _has_a_table(self) -> Join:
        if self.table is None:
            raise ValueError("a join needs a 'table'")
        if not (self.columns or self.votes or self.tally or self.ratings):
            raise ValueError("a join that adds nothing: give 'columns', 'votes', 'tally' or 'ratings'")
        return self


class Cycle(Strict):
    """Numbers that begin again: a column becomes (``of`` − 1) mod ``length`` + 1, as where every emotion has its own stretch of one list of sentences."""

    of: str
    length: Annotated[int, Field(ge=1)]


class Winner(Strict):
    """The answer that most listeners gave becomes a column; clips with a tie, or that nobody heard, are left out and counted."""

    column: str = "emotion"
    agreement: str = ""
    """Column for the winner's share of the votes; none unless given."""


class Expect(Strict):
    """What the published listing promises, where it differs from the card's own numbers."""

    clips: int | None = None
    speakers: int | None = None


class Layout(Strict):
    """How the owner's download is laid out."""

    cites: str = ""
    """Where the file listing was published; needed for verification ``layout``."""
    obtain: str = ""
    """Where to ask, or which form; needed when access is ``form`` or ``private``."""
    downloads: tuple[Download, ...] = ()
    unpack: tuple[str, ...] = ()
    """Globs of archives inside the source that are to be unpacked where they lie (as if; the source is not written to)."""
    parts: tuple[Part, ...]
    join: tuple[Join, ...] = ()
    cycle: dict[str, Cycle] = {}
    """Our column → the number it is made of; done before ``compose``."""
    winner: Winner | None = None
    """Made of ``soft_votes``, when all tables are joined."""
    compose: dict[str, str] = {}
    translate: dict[str, dict[str, str]] = {}
    """Column → raw value → ours; ``"*"`` stands for every other value."""
    ignore: tuple[str, ...] = ()
    """Globs of audio files that are rightly no clips (a second copy, a song, a video of a speech file)."""
    known: tuple[str, ...] = ()
    """Globs of files known to be broken or missing in the published corpus: noted, but no fault."""
    expect: Expect = Expect()

    @field_validator("unpack", "ignore", "known", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return _as_tuple(value)

    @field_validator("parts")
    @classmethod
    def _not_empty(cls, value: tuple[Part, ...]) -> tuple[Part, ...]:
        if not value:
            raise ValueError("expected one part or more")
        return value

    @field_validator("translate", mode="before")
    @classmethod
    def _values_are_text(cls, value: Any) -> Any:
        return _as_text(value)

    @field_validator("translate")
    @classmethod
    def _raw_emotions_stay(cls, value: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        if "emotion" in value:
            raise ValueError("emotion is not translated here: the card's 'labels' maps raw codes")
        return value

    def check(self, *, verification: str | None, access: str) -> None:
        """Raise ValueError unless the layout says what a card of this verification and access must say."""
        if verification == "layout" and not self.cites:
            raise ValueError(
                "layout: verification 'layout' needs 'cites': where the file listing was published"
            )
        if access in ("form", "private") and not self.obtain:
            raise ValueError(f"layout: access {access!r} needs 'obtain': where to ask")
        if self.downloads and access != "open":
            raise ValueError(f"layout: 'downloads' are for open corpora; access is {access!r}")


def fill(template: str, values: dict[str, str]) -> str:
    """Fill a column name, or a template over columns.

    ``{name}`` is a column and ``{name:0>3}`` is padded as text; a text without braces is a column's name.

    Raises:
        KeyError: a column that is not there; the argument is a sentence with the nearest name.

    >>> fill("{Season}-{Episode:0>2}", {"Season": "3", "Episode": "7"}), fill("Season", {"Season": "3"})
    ('3-07', '3')
    """
    if not PLACEHOLDER.search(template):
        return _column(template, values)

    def value(found: re.Match[str]) -> str:
        name, _, spec = found[1].partition(":")
        if found[1] in values:
            return values[found[1]]
        return format(_column(name, values), spec)

    return PLACEHOLDER.sub(value, template)


def alternatives(template: str, names: Collection[str]) -> list[str]:
    """Expand ``{a,b}`` that names no column into one template per alternative, in order.

    >>> alternatives("{id}.{mp4,wav}", {"id"})
    ['{id}.mp4', '{id}.wav']
    """
    for found in PLACEHOLDER.finditer(template):
        if "," in found[1] and found[1] not in names:
            before, after = template[: found.start()], template[found.end() :]
            return [x for part in found[1].split(",") for x in alternatives(before + part + after, names)]
    return [template]


def _column(name: str, values: dict[str, str]) -> str:
    """A column's cell; ``a|b`` is the first of several names that is there."""
    try:
        return values[next((n for n in name.split("|") if n in values), name)]
    except KeyError:
        raise KeyError(f"there is no column {name!r}; {nearest(name, values)}") from None
