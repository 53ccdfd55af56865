"""What the documentation site takes from the code itself: the page of commands, the notebook's page, and links that leave `docs/`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

NOTEBOOK = "first_run.ipynb"
# A link from a page to a file of the repository that is no page: `](../results/README.md)`, `](../../tests/x.py)`.
_OUTSIDE = re.compile(r"\]\(((?:\.\./)+)(?P<path>[^)#]+)(?P<anchor>#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of the code."""
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    files.append(
        File.generated(config, "notebook.md", content=notebook_page(Path(config.docs_dir) / NOTEBOOK))
    )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Send links that leave the folder of pages to the repository; a file that is not there fails a strict build."""
    docs, here = Path(config.docs_dir), Path(config.docs_dir, page.file.src_uri).parent

    def target(found: re.Match[str]) -> str:
        path = (here / found[1] / found["path"]).resolve()
        if path.is_relative_to(docs) or not path.exists():
            return found[0]  # a page, or a dead link, which MkDocs names
        relative = path.relative_to(docs.parent).as_posix()
        return f"]({config.repo_url}/blob/main/{relative}{found['anchor'] or ''})"

    return _OUTSIDE.sub(target, markdown)


def commands_page() -> str:
    """Every command with its arguments and options, as ``--help`` has them."""
    import typer
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from bench.cli.app import app

    command: Any = get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="serbench", title="Commands")
    return text.replace("<br/>", " ")


def notebook_page(path: Path) -> str:
    """The notebook's cells as a page: text as it is, code fenced."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join([*parts, f"The notebook itself: [{path.name}]({path.name})."]) + "\n"
