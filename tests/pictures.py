"""``python -m tests.pictures``: the pictures of README and docs, taken of the board as it is built from ``results/`` now.

Needs Chromium on the PATH (apt-get install chromium).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"


def main() -> int:
    """Build the board and take its first screen and one task page."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("no Chromium on the PATH: apt-get install chromium", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "bench.cli", "leaderboard", "build", "-o", folder], check=True, cwd=ROOT
        )
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.goto((Path(folder) / "index.html").as_uri())
            page.wait_for_selector("#find:not(.waiting)")
            page.screenshot(path=IMAGES / "board.png")
            page.set_viewport_size({"width": 1080, "height": 1610})
            page.goto((Path(folder) / "task-indowave.id.html").as_uri())
            page.screenshot(path=IMAGES / "task.png")
            browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
