"""The documentation site builds strict and asks no foreign host; what its pages tell a reader to type does what they say."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from click.exceptions import UsageError as ClickUsageError
from typer.main import get_command

from bench.cli.app import app
from bench.execution.in_process import load_task
from tests.command import Command, command
from tests.conftest import write_tone_corpus

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_FENCE = re.compile(
    r"(?P<mark><!-- not run[^>]*-->\n)?```(?P<kind>sh|yaml)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)```",
    re.DOTALL,
)
_LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}


@dataclass(frozen=True)
class Block:
    """A fenced block: commands, or a file that has a title."""

    kind: str
    title: str | None
    text: str
    run: bool


def blocks(page: Path) -> Iterator[Block]:
    for found in _FENCE.finditer(page.read_text(encoding="utf-8")):
        yield Block(found["kind"], found["title"], found["text"], found["mark"] is None)


def lines(page: Path) -> list[str]:
    """Commands of the pages' ``sh`` blocks, without comments."""
    text = "\n".join(b.text for b in blocks(page) if b.kind == "sh")
    return [line for line in text.splitlines() if line.startswith("serbench ")]


class Requests(HTMLParser):
    """What a browser would fetch to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        if tag == "link" and not {"canonical", "next", "prev", "alternate"} & set(
            (named.get("rel") or "").split()
        ):
            self.found.append(named.get("href") or "")
        elif tag in _LOADED:
            self.found.append(named.get(_LOADED[tag]) or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return folder


def test_the_site_builds_strict_with_every_page_reachable(site: Path) -> None:
    nav = json.dumps(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    missing = [
        p.relative_to(DOCS).as_posix() for p in PAGES if f'"{p.relative_to(DOCS).as_posix()}"' not in nav
    ]
    assert missing == [], "a page that no menu names is not found"
    commands = (site / "reference/commands/index.html").read_text(encoding="utf-8")
    assert "serbench leaderboard attest" in commands
    python = (site / "reference/python/index.html").read_text(encoding="utf-8")
    assert "bench.metrics.concordance_cc" in python
    cards = (site / "reference/cards/index.html").read_text(encoding="utf-8")
    assert "training_corpora" in cards


def test_no_page_asks_a_foreign_host_for_anything(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES) / 2
    for page in pages:
        parser = Requests()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.found, page
        assert [r for r in parser.found if re.match(r"(https?:)?//", r)] == [], page.relative_to(site)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.parametrize("page", [p for p in [*PAGES, ROOT / "README.md"] if lines(p)], ids=lambda p: p.stem)
def test_every_command_of_a_page_is_one(page: Path) -> None:
    for line in lines(page):
        words = shlex.split(line, comments=True)[1:]
        found = get_command(app)
        while words and hasattr(found, "commands") and words[0] in found.commands:
            found = found.commands[words.pop(0)]
        try:
            found.make_context("serbench", words)
        except ClickUsageError as error:
            pytest.fail(f"{page.name}: {line}: {error.format_message()}")


def test_what_the_tests_do_not_run_is_little_and_says_why() -> None:
    left_out = [(p.name, b.text) for p in PAGES for b in blocks(p) if b.kind == "sh" and not b.run]
    assert len(left_out) <= 8, left_out


@pytest.fixture
def serbench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, cache: Path
) -> Command:
    monkeypatch.chdir(tmp_path)
    return command(monkeypatch, capsys)


def follow(serbench: Command, page: str) -> None:
    """Do what a page says, from top to bottom, in the present folder."""
    for block in blocks(DOCS / page):
        if block.kind == "yaml":
            if block.title:
                Path(block.title).write_text(block.text, encoding="utf-8")
            continue
        for line in block.text.splitlines() if block.run else ():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            assert words[0] == "serbench", f"{page}: only serbench is run here, not {line}"
            done = serbench(*words[1:])
            assert done.code == 0, f"{page}: {line}\n{done.out}\n{done.err}"
            for record in Path("runs").glob("*/records/*.json"):
                # Tests also run on changed code, whose records could not be published.
                record.write_text(record.read_text(encoding="utf-8").replace(".dirty", ""), encoding="utf-8")


def test_the_tutorial_the_table_and_the_cluster_page_do_what_they_say(serbench: Command) -> None:
    follow(serbench, "tutorial.md")
    assert Path("reports/first/index.html").is_file() or list(Path("runs/first").rglob("index.html"))
    task = load_task("synthetic.qaa")
    with Path("answers.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file_name", "label"])
        writer.writerows([clip, task.labels[i % len(task.labels)]] for i, clip in enumerate(task.clip_ids))
    follow(serbench, "howto/my_table.md")
    assert "my-group/my-service" in serbench("score", "runs/first").out
    follow(serbench, "howto/my_cluster.md")


def test_from_a_private_folder_to_a_board_without_a_name_or_a_label_leaving(serbench: Command) -> None:
    write_tone_corpus(Path("recordings"))
    for page in ("howto/my_corpus.md", "howto/my_language.md"):
        Path("recordings/card.yaml").unlink()  # each drafts its own
        follow(serbench, page)
    site = Path("site")
    assert (site / "index.html").is_file()
    with Path("recordings/metadata.csv").open(encoding="utf-8") as stream:
        clips = [row["file_name"] for row in csv.DictReader(stream)]
    published = [p for folder in ("board", "site") for p in Path(folder).rglob("*") if p.is_file()]
    assert len(published) > 10
    for path in published:
        content = path.read_bytes()
        assert not any(clip.encode() in content for clip in clips), path
    follow(serbench, "howto/my_board.md")


def test_the_notebooks_cells_run(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.loads((DOCS / "first_run.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        assert cell.get("outputs", []) == []
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "first_run.ipynb", "exec"), names)
    printed = capsys.readouterr().out
    assert "ua" in printed
    assert "better" in printed
