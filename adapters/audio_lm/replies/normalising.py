"""From the raw reply to plain text: one Unicode form, no mark-up, nothing invisible. Linear in the text's length."""

from __future__ import annotations

import html
import re
import unicodedata

LONGEST_RAW = 200_000
"""Characters (after the reasoning is cut off) beyond which a reply is not read."""
LONGEST_TEXT = 20_000
"""Characters of plain text beyond which a reply is not read: no answer to a closed question is that long."""

_TAG = re.compile(
    r"</?(?:a|abbr|answer|b|blockquote|body|br|center|code|div|em|emotion|final|font|h[1-6]|head|hr|html|i|iframe|img|label"
    r"|li|mark|meta|ol|output|p|pre|q|s|small|span|strong|sub|sup|svg|table|tbody|td|th|thead|title|tr|tt|u|ul)"
    r"(?:[\s/][^<>]{0,300})?>|<!--[^<>]{0,300}-->|<\|[^<>|]{1,40}\|>",
    re.IGNORECASE,
)
"""Known tags only: a model that answers "<sad>" has answered."""
_QUOTES = str.maketrans({**dict.fromkeys("‘’‛′`´", "'"), **dict.fromkeys("“”„‟″«»「」『』《》", '"')})
_MARKDOWN = re.compile(
    r"\*+|_{2,}|~~|(?<!\w)[_~](?=\w)|(?<=[^\W_])[_~](?!\w)|^[ \t]*(?:#{1,6}|>+|[-•●▪–]|\d{1,2}[.)])[ \t]+",
    re.MULTILINE,
)
_TEXT_IN_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|textbf|emph)\s?\{([^{}\n]{1,200})\}")
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~|<(?:s|del|strike)>[^<\n]{1,200}</(?:s|del|strike)>", re.IGNORECASE)
_SPLIT_WORD = re.compile(r"(?<=[A-Za-z\u00c0-\u024f])\u200b+(?=[A-Za-z\u00c0-\u024f])")
"""A zero-width space is a border between words; scripts without spaces use it within a line of text, and lose nothing by it."""
_KEPT_JOINERS = {"\n", "\t", "\r"}


def visible(text: str) -> str:
    """Return the text in NFKC with curly quotes made straight and controls, joiners and direction marks removed.

    >>> visible("Ｓａ\\u200dd\\u200f"), visible("s\\u200bad")
    ('Sad', 's ad')
    """
    folded = _SPLIT_WORD.sub(" ", unicodedata.normalize("NFKC", text))
    kept = "".join(c for c in folded if c in _KEPT_JOINERS or unicodedata.category(c)[0] != "C")
    return unicodedata.normalize("NFKC", kept).translate(_QUOTES).replace("\r", "\n")


def plain(text: str) -> str:
    """Return visible text without tags, scripts, what is struck out, fences and emphasis; lines kept, blank runs made one space."""
    text = _TAG.sub(" ", _STRUCK.sub(" ", _without_code(html.unescape(text))))
    text = _TEXT_IN_LATEX.sub(r"\1", text)
    text = _MARKDOWN.sub("", text.replace("```", "\n").replace("'''", "\n"))
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _without_code(text: str) -> str:
    """Cut <script> and <style> elements with their contents; one left open is cut to the end."""
    for name in ("script", "style"):
        folded, parts, at = text.lower(), [], 0
        if len(folded) != len(text):
            folded = text
        while (start := folded.find(f"<{name}", at)) >= 0:
            parts.append(text[at:start])
            end = folded.find(f"</{name}", start)
            if end < 0:
                at = len(text)
                break
            at = end
        text = "".join([*parts, text[at:]])
    return text
