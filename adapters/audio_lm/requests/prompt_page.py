"""Every prompt beside its English meaning, so that a native reader can object: ``docs/prompts.md``.

``python -m adapters.audio_lm.requests.prompt_page > docs/prompts.md`` writes it again.
"""

from __future__ import annotations

from adapters.audio_lm.requests.prompts import PromptText, display_name, prompt, prompt_languages, prompts
from bench.cards.labels import label_table

_HEAD = """# Prompts of Audio-LLMs, with what they are meant to say

Made from `tasks/prompts/*.yaml` and `tasks/labels.yaml`; a test holds the two together. `paper` is printed in arXiv 2511.04914, all others were
written for this project by a language model. **No native speaker has reviewed them.** Beside each stands the English wording whose
meaning it is to have: who reads one and finds another meaning, a register that nobody would use, or a label that names another feeling,
should open an issue that names the prompt (`ms-3`) and the better words. A changed wording is another prompt: its hash changes, and old replies stay what they were.
"""


def prompt_page() -> str:
    """Return the page as Markdown.

    Raises:
        UsageError: a prompt names an English wording that does not exist.
    """
    return "\n".join([_HEAD, *(_language(language) for language in prompt_languages())])


def _language(language: str) -> str:
    asked = prompts(language)
    settings, english = next(iter(asked.values())).settings, prompt("en-1").settings
    rows = [row for p in asked.values() for row in _rows(p)]
    if language != "en":
        rows += [
            ("transcript", settings.transcript, english.transcript),
            ("text only", settings.text_only, english.text_only),
            ("dimensions", settings.dimensions, english.dimensions),
        ]
    labels = [
        (name, display_name(name, language))
        for name in label_table().names
        if label_table().synonyms[name].get(language)
    ]
    wide = language != "en"
    head = "| prompt | words | meant to say |\n|---|---|---|" if wide else "| prompt | words |\n|---|---|"
    lines = [head, *("| " + " | ".join(_cell(c) for c in (row if wide else row[:2])) + " |" for row in rows)]
    shown = ", ".join(f"{name} = {own}" if wide else own for name, own in labels)
    return f"## `{language}`\n\n" + "\n".join(lines) + f"\n\nLabel names: {shown}.\n"


def _rows(asked: PromptText) -> list[tuple[str, str, str]]:
    meant = prompt(asked.wording.says).wording if asked.wording.says else None
    own = asked.wording
    parts = [("question", own.question), ("plain", own.plain), ("lettered", own.lettered)]
    return [
        (f"`{asked.name}` {part}", text, getattr(meant, part) if meant is not None else "")
        for part, text in parts
    ]


def _cell(text: str) -> str:
    """Text as a table cell shows it: braces as they are sent."""
    return text.replace("{{", "{").replace("}}", "}").replace("|", "\\|")


if __name__ == "__main__":
    print(prompt_page(), end="")
