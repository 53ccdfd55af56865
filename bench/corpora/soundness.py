"""One examination of a corpus's sound for everybody who decodes it: ``prepare``, ``describe``, ``verify`` and ``predict``.

What a clip's samples say (:mod:`bench.audio.examination`), its length against the table's and the corpus's median, and what is no audio at
all. The last result is kept: that of ``corpus prepare`` in the report beside the corpus, the others in the cache.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.audio.decoding import DECODER
from bench.audio.examination import Examination, odd_lengths, unlike_promise
from bench.audio.store import DecodedClip
from bench.protocols import SAMPLE_RATE
from bench.storage.atomic import write_json
from bench.storage.file_kinds import known_kinds
from bench.storage.hashing import digest

PREPARE_REPORT = "prepare-report.json"
"""Report of a preparation, beside the corpus; it holds the examination of the sources."""
WORDS = {
    "clipped": "are clipped at full scale",
    "channels cancel": "lose their sound when channels are averaged",
    "silent": "are silent",
    "offset": "do not swing about zero (DC)",
    "dead channel": "have silent channels",
    "short": "are too short to hold speech",
    "cut off": "are cut off",
    "length": "are far longer or shorter than the others",
    "unlike table": "have another length than the table says",
    "unit": "",
}
"""What is found, of several clips."""


@dataclass(frozen=True)
class ClipSound:
    """A clip as decoding found it; ``promised`` is its length by the corpus's own table, in seconds."""

    clip: str
    seconds: float
    examined: Examination | None
    error: str | None = None
    promised: float | None = None

    @classmethod
    def of(cls, clip: DecodedClip, promised: float | None = None) -> ClipSound:
        """A clip of the decoded store."""
        return cls(clip.clip_id, clip.samples / SAMPLE_RATE, clip.examined, clip.message, promised)


@dataclass(frozen=True)
class ClipFinding:
    """Something odd about one clip's sound."""

    clip: str
    kind: str
    message: str


def examine(clips: Sequence[ClipSound]) -> list[ClipFinding]:
    """Find what is odd about the sound of a corpus's clips; what cannot be decoded at all is not repeated here.

    Args:
        clips: all of the corpus, in order.

    Returns:
        Findings by clip, in order; at the end what concerns all clips together.
    """
    found = [f for clip in clips for f in _of_clip(clip)]
    heard = [c for c in clips if c.error is None]
    unlike = [c for c in heard if unlike_promise(c.seconds, c.promised)]
    if len(unlike) > len(heard) / 2 and len(heard) > 2:
        first = unlike[0]
        said = f"first {first.seconds:.2f} s where the table says {first.promised:g}"
        text = f"the table's lengths are not those of {len(unlike)} of {len(heard)} clips ({said}): is the column in another unit?"
        found.append(ClipFinding(first.clip, "unit", text))
    else:
        found += [
            ClipFinding(c.clip, "unlike table", f"lasts {c.seconds:.2f} s, the table says {c.promised:.2f} s")
            for c in unlike
        ]
    named = {f.clip for f in found if f.kind in ("unlike table", "short")}
    median, odd = odd_lengths([c.seconds if c.error is None else 0.0 for c in clips])
    found += [
        ClipFinding(
            clips[i].clip,
            "length",
            f"lasts {clips[i].seconds:.2f} s, half of the clips {median:.2f} s or less",
        )
        for i in odd
        if clips[i].clip not in named
    ]
    return found


def _of_clip(clip: ClipSound) -> Iterator[ClipFinding]:
    if clip.error is not None or clip.examined is None:
        return
    for finding in clip.examined.findings:
        yield ClipFinding(clip.clip, finding.kind, finding.message)
    if clip.examined.missing > 0:
        whole = clip.seconds + clip.examined.missing
        text = f"cut off: {whole:.2f} s were promised, the last {clip.examined.missing:.2f} s are missing"
        yield ClipFinding(clip.clip, "cut off", text)


def in_sentences(found: Sequence[ClipFinding], clips: int) -> list[str]:
    """Put findings into sentences, one per kind, with the first clip by name.

    Args:
        found: by :func:`examine`.
        clips: how many were examined.
    """
    together: dict[str, list[ClipFinding]] = defaultdict(list)
    for finding in found:
        together[finding.kind].append(finding)
    sentences = []
    for kind, findings in together.items():
        first = findings[0]
        if kind == "unit":
            sentences.append(first.message)
        elif len(findings) == 1:
            sentences.append(f"{first.clip!r}: {first.message}")
        else:
            others = ", ".join(repr(f.clip) for f in findings[1:4])
            more = f" and {len(findings) - 4} more" if len(findings) > 4 else ""
            sentences.append(
                f"{len(findings)} of {clips} clips {WORDS[kind]}: {first.clip!r} ({first.message}), {others}{more}"
            )
    return sentences


def undecodable_sentences(failed: Sequence[tuple[str, str]], clips: int) -> list[str]:
    """Put clips that give no sound into sentences: how many, and what a user can mend at once (pointers, pages, missing files).

    Args:
        failed: (clip, why it gives no sound).
        clips: how many there are in all.
    """
    if not failed:
        return []
    kinds = {f"is {kind.sentence}": kind for kind in known_kinds()}
    groups: dict[str, list[str]] = defaultdict(list)
    for clip, reason in failed:
        if reason in kinds or reason == MISSING:
            groups[reason].append(clip)
    sentences = [f"{len(failed)} clip(s) cannot be decoded, first {failed[0][0]!r}: {failed[0][1]}"]
    for reason, named in groups.items():
        kind, first = kinds.get(reason), f", first {named[0]!r}"
        if kind is not None:
            sentences.append(kind.of_many(len(named), clips) + first)
        elif len(failed) > 1:
            sentences.append(f"{len(named)} of {clips} listed files are missing{first}")
    return sentences


MISSING = "the file is missing"


def decoded_sentences(clips: Sequence[DecodedClip], promised: Sequence[float | None] = ()) -> list[str]:
    """Everything that a decoded corpus's sound gives reason to say.

    Args:
        clips: all of the corpus, in order.
        promised: lengths by its table, in seconds; blank where none is known.

    Returns:
        What gives no sound, then what is odd about the rest.
    """
    failed = [(c.clip_id, c.message) for c in clips if c.message is not None]
    lengths = promised or (None,) * len(clips)
    found = examine([ClipSound.of(c, s) for c, s in zip(clips, lengths, strict=True)])
    return [
        *undecodable_sentences(failed, len(clips)),
        *in_sentences(found, len(clips)),
    ]


def examination_path(folder: Path, name: str, cache: Path) -> Path:
    """Where the last examination of a corpus folder is kept; the folder itself may be nobody's to write to.

    Args:
        folder: of the corpus.
        name: of the corpus.
        cache: where decoded audio is kept.
    """
    return cache / "examinations" / f"{name}-{digest(str(folder.resolve()), length=4)}.json"


def keep_examination(path: Path, name: str, clips: int, found: Sequence[ClipFinding]) -> None:
    """Write an examination.

    Args:
        path: of :func:`examination_path`.
        name: of the corpus.
        clips: how many were examined.
        found: by :func:`examine`.
    """
    findings = [asdict(f) for f in found]
    write_json(path, {"schema": 1, "corpus": name, "decoder": DECODER, "clips": clips, "findings": findings})


def last_examination(folder: Path, name: str, cache: Path) -> list[ClipFinding] | None:
    """Read the last examination of a corpus folder.

    Args:
        folder: of the corpus.
        name: of the corpus.
        cache: where those of folders that are not ours lie.

    Returns:
        What was found; None where none was made, or it cannot be read.
    """
    for path in (examination_path(folder, name, cache), folder / PREPARE_REPORT):
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return [ClipFinding(f["clip"], f["kind"], f["message"]) for f in stored["findings"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
