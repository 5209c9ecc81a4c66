"""A headless Chromium that looks at a server's page, as people do."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
# In a container, the sandbox of the browser needs rights that root does not have there.
ARGUMENTS = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser of this machine, or Playwright's own; without either, the test is skipped."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = str(own) if own.exists() else next(filter(None, map(shutil.which, NAMES)), None)
        if found is None:
            pytest.skip("no Chromium was found; install one, or run `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser: Any, url: str, **settings: Any) -> Iterator[Any]:
    """A page in a context of its own, on which nothing may go wrong: no error in a script, nothing that the policy refuses."""
    context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1200, "height": 800}, **settings})
    context.set_default_timeout(60_000)  # of a machine that others use, too
    faults: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if "Content Security" in line.text else None)
    try:
        page.goto(url)
        yield page
        assert faults == []
    finally:
        context.close()


def ask(page: Any, question: str) -> Any:
    """Type a question and wait for the answer; returns its turn."""
    turns = page.locator(".turn").count()
    page.fill("#question", question)
    page.keyboard.press("Enter")
    turn = page.locator(".turn").nth(turns)
    turn.locator(".verdict").wait_for()
    return turn
