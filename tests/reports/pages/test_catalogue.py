"""The task catalogue: listed, rendered, and the README's table is what it says."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.errors import DataError
from bench.tasks.catalogue import catalogue
from reports.pages.catalogue import markdown_table, page, update_markdown
from tests.command import Command
from tests.conftest import rewrite

ROOT = Path(__file__).resolve().parents[3]


def test_list_tasks_tells_contamination_by_system_splits_and_warnings(
    serbench: Command, tone_corpus: Path
) -> None:
    rewrite(tone_corpus, script=lambda row: row["file_name"][-5], split="train")
    rows = {r["name"]: r for r in serbench("list", "tasks", "--data", tone_corpus.parent, "--json").json}
    tones = rows["tones.ms"]
    assert (tones["clips"], tones["speakers"], tones["prepared"]) == (36, 6, True)
    assert tones["variants"] == ["loso", "script-disjoint"]
    assert tones["contamination"]["majority"] == "unseen"
    assert set(tones["contamination"].values()) <= {"seen", "same corpus", "unseen", "undisclosed"}
    assert rows["indowave.id"]["clips"] == 300  # promised by its card, not at hand
    assert not rows["indowave.id"]["prepared"]
    assert any("longer than 3.0 s" in w for w in rows["indowave.id"]["warnings"])


def test_list_tasks_says_where_within_is_refused_and_why(serbench: Command, tone_corpus: Path) -> None:
    """MELD's case: nobody speaks outside of dialogues with the main characters."""

    def listed() -> dict[str, str]:
        rows = serbench("list", "tasks", "--data", tone_corpus.parent, "--json").json
        return {r["name"]: r["within"] for r in rows}

    assert listed()["tones.ms"] == "yes"
    assert listed()["tess.en"].startswith("no: 2 speaker(s)")
    assert listed()["meld.en"] == "when prepared"
    rewrite(tone_corpus, dialogue="all together")
    assert listed()["tones.ms"].startswith("no: its clips form 1 group(s)")
    rewrite(tone_corpus, dialogue=lambda row: "" if row["file_name"][7] in "45" else "the six")
    assert listed()["tones.ms"] == "yes"
    rewrite(
        tone_corpus, dialogue=lambda row: "" if row["file_name"].startswith("audio/s5-sad") else "the six"
    )
    assert "1 group(s)" in listed()["tones.ms"]
    assert "--json says why" in serbench("list", "tasks", "--data", tone_corpus.parent).out


def test_the_page_is_whole_and_asks_nobody_for_anything(
    serbench: Command, cache: Path, tone_corpus: Path, tmp_path: Path
) -> None:
    card = tone_corpus / "card.yaml"
    card.write_text(
        card.read_text(encoding="utf-8") + "traps: ['<script>alert(1)</script>']\n", encoding="utf-8"
    )
    out = tmp_path / "tasks.html"
    done = serbench("list", "tasks", "--data", tone_corpus.parent, "--html", out)
    assert done.out.strip() == str(out)
    html = out.read_text(encoding="utf-8")
    assert "tones.ms" in html
    assert html.count("<script") == 1, "our own, let through by its hash"
    assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)", "", html)
    assert not re.search(r'(src|href)="(?!#)', html)
    open_tags: list[str] = []

    class Balanced(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "br", "col", "link", "input"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Balanced().feed(html)
    assert open_tags == []
    entries = catalogue([tone_corpus.parent], cache=cache)
    assert page(entries) == page(list(reversed(entries)))
    assert serbench("list", "systems", "--html", out).code == 2


def test_the_page_of_tasks_holds_the_table_of_the_shipped_cards() -> None:
    text = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- tasks:catalogue -->\n(.*?)<!-- /tasks:catalogue -->", text, re.DOTALL)
    assert found is not None
    assert found[1] == markdown_table(catalogue(shipped_only=True)), (
        "renew it with: serbench list tasks --markdown docs/tasks.md"
    )


def test_the_table_goes_between_its_markers_and_nowhere_else(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- tasks:catalogue -->\nold\n<!-- /tasks:catalogue -->\nb\n", encoding="utf-8")
    update_markdown(catalogue(shipped_only=True), readme)
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("a\n")
    assert text.endswith("b\n")
    assert "old" not in text
    assert "`indowave.id`" in text
    readme.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no lines <!-- tasks:catalogue -->"):
        update_markdown([], readme)
