"""Chromium for tests: found on the PATH, and pages that keep whatever they should not have done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def launched() -> Iterator[Any]:
    """Chromium; where there is none, the test is skipped, or fails with ``SERBENCH_REQUIRE_CHROMIUM=1``."""
    if CHROMIUM is None:
        if os.environ.get("SERBENCH_REQUIRE_CHROMIUM") == "1":
            pytest.fail("no Chromium on the PATH: apt-get install chromium")
        pytest.skip("no Chromium on the PATH: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield started
        started.close()


class Reader:
    """A page that keeps whatever it should not have done."""

    def __init__(self, browser: Any, width: int = 1200, scheme: str = "light", height: int = 900) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.wrongs: list[str] = []
        self.page.on("dialog", lambda d: (self.wrongs.append(f"dialog {d.message}"), d.dismiss()))
        self.page.on("console", lambda m: self.wrongs.append(f"console {m.text}"))
        self.page.on("pageerror", lambda e: self.wrongs.append(f"error {e}"))
        self.page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.wrongs.append(f"request {request.url}")

    def open(self, path: Path) -> Any:
        self.page.goto(path.as_uri())
        return self.page
