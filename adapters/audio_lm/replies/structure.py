"""The shapes an answer comes in: reasoning before it, JSON, a key before a colon, a letter, a line of its own."""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterator

from adapters.audio_lm.replies.cues import cue_pattern

Fields = list[tuple[str, object]]
"""A JSON object as its pairs in order: a key that stands twice is seen twice."""

_THINKING = (
    r"(?:think|thinks|thinking|thought|thoughts|reasoning|scratchpad|analysis|reflection|rationale|cot|deliberation"
    r"|inner[ _-]?monologue|chain[ _-]of[ _-]thought|seed:\w{1,30}|思考|推理)"
)
_THOUGHT = re.compile(
    rf"<\s*(?P<close>/?)\s*{_THINKING}\s*>|[◁«]\s*(?P<close2>/?)\s*{_THINKING}\s*[▷»]"
    rf"|(?:\[|【)\s*(?P<close3>/?)\s*(?:think|thinking|thought|reasoning|cot|思考)\s*(?:\]|】)"
    rf"|<\|\s*(?:(?P<close4>/|end_of_|end_)|begin_of_|begin_|start_)?{_THINKING}\s*\|>"
    r"|<unused9(?:4|(?P<close5>5))>",
    re.IGNORECASE,
)
"""Where reasoning begins or ends: think tags in every bracket that chat templates are seen to use."""
_CHANNEL = re.compile(r"<\|channel\|>\s{0,4}(\w{1,20})[^<]{0,80}<\|message\|>([^<]{0,20000})", re.IGNORECASE)
_BARE_CHANNELS = re.compile(r"\A\s*analysis(?=\S).*assistantfinal", re.DOTALL)
"""The same channels where the server took the special tokens out."""
_OTHER_TURN = re.compile(
    r"<\|(?:im_start|start_header_id|start)\|>\s*user|<\|user\|>|^\W{0,4}(?:user|human|用户|pengguna)\W{0,4}(?::|：|$)",
    re.IGNORECASE | re.MULTILINE,
)
_MOST_OBJECTS = 16
_LONGEST_LITERAL = 4_000
_SCORE_PARTS = re.compile(r"[\n;、]|,(?!\d)|\.(?=\s|\Z)|\s[/·]\s|(?<=%)\s(?=[^\W\d])")
_ANSWER_TAG = re.compile(
    r"<\s*(?:answer|label|emotion|final|output)\s*>([^<]{1,400})<\s*/\s*(?:answer|label|emotion|final|output)\s*>",
    re.IGNORECASE,
)

_BOXED = re.compile(r"\\f?boxed\s{0,2}\{((?:[^{}]|\{(?:[^{}]|\{[^{}]{0,100}\}){0,100}\}){1,200})\}")
_TOKEN = re.compile(r"<\|(?:emo(?:tion)?[ _:-])?([^\W\d][\w -]{0,39})\|>", re.IGNORECASE)
"""A special token that may be an answer, as SenseVoice gives it; one that names no emotion says nothing."""


def after_reasoning(text: str) -> str | None:
    """Return the text without its reasoning block; None where reasoning began and never ended.

    >>> after_reasoning("<think>angry? no</think>Sad"), after_reasoning("<think>angry, but")
    ('Sad', None)
    """
    channels = list(_CHANNEL.finditer(text))
    if channels:
        finals = [m.group(2) for m in channels if m.group(1).lower() == "final"]
        return finals[-1] if finals else None
    if bare := _BARE_CHANNELS.match(text):
        return text[bare.end() :]
    said: list[str] = []
    depth = at = 0
    for match in _THOUGHT.finditer(text):
        if depth == 0:
            said.append(text[at : match.start()])
        at = match.end()
        if not any(match.groupdict().values()):
            depth += 1
        elif depth:
            depth -= 1
        else:
            said.clear()  # the chat template opened it
    return None if depth else "\n".join(part for part in [*said, text[at:]] if part.strip())


def takes_another_turn(text: str) -> bool:
    """Whether the model went on and wrote the user's next turn itself, so that nothing says where its answer ends."""
    return _OTHER_TURN.search(text) is not None


def tagged_answers(text: str) -> list[str]:
    """Return the contents of answer tags: <answer>sad</answer>, \\boxed{sad}, <|SAD|>, <|emotion_sad|>.

    >>> tagged_answers(r"so $\\boxed{\\text{D}}$"), tagged_answers("<|en|><|EMO_SAD|>")
    (['D'], ['en', 'SAD'])
    """
    boxed = [_without_latex(m.group(1)) for m in _BOXED.finditer(text)]
    tokens = [m.group(1).replace("_", " ") for m in _TOKEN.finditer(text)]
    return [m.group(1) for m in _ANSWER_TAG.finditer(text)] + boxed + tokens


def _without_latex(text: str) -> str:
    return " ".join(re.sub(r"\\[a-zA-Z]+|[{}$\\]", " ", text).split())


def json_objects(text: str) -> list[Fields]:
    """Return the outermost JSON objects (or Python dict literals) of a text, at most sixteen."""
    decoder = json.JSONDecoder(object_pairs_hook=_Pairs)
    found: list[Fields] = []
    at = 0
    for _ in range(_MOST_OBJECTS):
        at = text.find("{", at)
        if at < 0:
            break
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = text.find("}", at)
            value = _literal(text[at : end + 1]) if 0 < end - at < _LONGEST_LITERAL else None
            at += 1
        if isinstance(value, _Pairs):
            found.append(list(value))
    return found


class _Pairs(list[tuple[str, object]]):
    """Marks a decoded object apart from a JSON array."""


def _literal(text: str) -> _Pairs | None:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return _Pairs((str(k), v) for k, v in value.items()) if isinstance(value, dict) else None


def scored_names(text: str, languages: frozenset[str]) -> Iterator[tuple[str, float | None]]:
    """Yield each line, or part of a line, as (name, score): "Neutral: 88%", "sad (0.05)", "| angry | yes |", "Angry? No."

    The score is None where the part is no name with a share or a yes or no; a bare whole number may be a rank and is none.

    >>> list(scored_names("Neutral: 88%, sad (0.05)\\n| angry | no |\\nhappy: 3", frozenset({"en"})))
    [('Neutral', 88.0), ('sad', 0.05), ('angry', 0.0), ('happy: 3', None)]
    """
    score = _score_pattern(languages)
    for part in _SCORE_PARTS.split(text):
        scored = score.fullmatch(part)
        if scored is None:
            yield part, None
        elif scored["share"]:
            yield scored["name"], float(scored["share"].rstrip("% ").replace(",", "."))
        else:
            yield scored["name"], float(scored["yea"] is not None)


@functools.lru_cache(maxsize=64)
def _score_pattern(languages: frozenset[str]) -> re.Pattern[str]:
    yeas, nays = (cue_pattern(kind, languages).pattern for kind in ("yeas", "nays"))
    return re.compile(
        r"[\W_]{0,8}(?P<name>[^\W\d][^\n:=|(),;?]{0,40}?)[\s:=|(?\-–—]{1,8}"
        rf"(?:(?P<share>\d{{1,3}}(?:[.,]\d{{1,6}})?\s?%|[01]?[.,]\d{{1,6}})|(?P<yea>true|{yeas})|(?:false|{nays}))[\W_]{{0,8}}",
        re.IGNORECASE,
    )


def is_object(value: object) -> bool:
    """Whether a decoded value is an object rather than a list or a scalar."""
    return isinstance(value, _Pairs)


def is_answer_key(key: str, languages: frozenset[str]) -> bool:
    """Whether a JSON key or a column name heads an answer ("predicted_emotion", "情绪")."""
    folded = " ".join(re.sub(r"[_\s.:/-]+", " ", key.casefold()).split())
    stripped = _without_answer_words(folded, languages)
    return any(
        cue_pattern(kind, languages).fullmatch(part) is not None
        for kind in ("answer_keys", "final_keys")
        for part in (folded, stripped)
    )


def _without_answer_words(text: str, languages: frozenset[str]) -> str:
    return " ".join(cue_pattern("answer_words", languages).sub(" ", text).split())


def headed_answers(text: str, kind: str, languages: frozenset[str]) -> Iterator[str]:
    """Yield what stands behind each answer key ("Final answer: sad"), to the end of its line or the next key.

    Args:
        text: plain.
        kind: of the cues that count as keys.
        languages: whose cues are read.
    """
    key = cue_pattern(kind, languages).pattern
    words = cue_pattern("answer_words", languages).pattern
    copulas = cue_pattern("copulas", languages).pattern
    head = re.compile(
        rf"(?:^|(?<=[.,;!?()\n。>\"'{{]))[\s\"']{{0,4}}(?:(?:{words})\s{{0,3}}){{0,3}}(?:{key})[\s\"')]{{0,4}}"
        rf"(?:(?:{copulas})\s{{0,3}})?(?:[:=]|[-=]{{0,4}}>|→|⇒|–|—|\s-\s)[\s:]{{0,8}}",
        re.MULTILINE | re.IGNORECASE,
    )
    heads = list(head.finditer(text))
    for i, match in enumerate(heads):
        line_end = text.find("\n", match.end())
        stop = len(text) if line_end < 0 else line_end
        if i + 1 < len(heads):
            stop = min(stop, heads[i + 1].start())
        yield text[match.end() : stop]
