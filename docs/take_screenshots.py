"""Takes the pictures of docs/guide/page.md and images.md: a server with the demo's memory and a report
with figures, and its page in a headless Chromium.

python docs/take_screenshots.py            writes docs/assets/page-*.png

Needs the extras `offline`, `serve` and `test`, a Chromium and a font with Chinese characters. Times in the pictures are those of the machine.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]
ASSETS = ROOT / "docs" / "assets"

from browser import ask, chromium, opened

ENGLISH, CHINESE = "How much is a rowing boat?", "风筝节是什么时候？"


def started(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A server of the demo's memory, and of one with figures, that is ready."""
    memories = [folder / "park", folder / "report"]
    for job, source, memory in (
        ("build", "examples/knowledge", memories[0]),
        ("build", "examples/images/report.pdf", memories[1]),
        ("pictures", "examples/images/report.pdf", memories[1]),
    ):
        subprocess.run([sys.executable, "-m", "indexing", job, source, "--memory", str(memory)], check=True, cwd=ROOT)
    command = [sys.executable, "-m", "memgpt_rag", "serve", "--port", str(port)]
    command += [part for memory in memories for part in ("--memory", str(memory))]
    server = subprocess.Popen([*command, "--files", str(folder / "files")], cwd=ROOT, stderr=subprocess.DEVNULL)
    while server.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).close()
            return server
        time.sleep(0.5)
    raise SystemExit("The server ended before it was ready; see what memgpt-rag serve says.")


def picture(page: Any, name: str) -> None:
    page.screenshot(path=ASSETS / f"page-{name}.png")


def lit(turn: Any, word: str) -> None:
    """Point at a word of the answer."""
    turn.locator(".word", has_text=word).first.hover()


def take(browser: Any, url: str) -> None:
    size = {"width": 1200, "height": 760}
    with opened(browser, url, viewport=size) as page:
        ask(page, ENGLISH)  # the passages are read for the first time
        page.evaluate("() => localStorage.clear()")
    with opened(browser, url, viewport=size) as page:
        lit(ask(page, ENGLISH), "40")
        picture(page, "light")
        page.goto(f"{url}/#compare")
        page.fill("#question", ENGLISH)
        page.keyboard.press("Enter")
        page.locator(".times").nth(2).wait_for()
        picture(page, "compare")
    with opened(browser, url, viewport=size, color_scheme="dark") as page:
        lit(ask(page, "Who can borrow a kite?"), "twelve")
        picture(page, "dark")
    with opened(browser, url, viewport=size, locale="zh-CN") as page:
        turn = ask(page, CHINESE)
        turn.locator(".word").first.hover()
        picture(page, "chinese")
    with opened(browser, url, viewport={"width": 360, "height": 740}, device_scale_factor=1.5) as page:
        turn = ask(page, ENGLISH)
        turn.scroll_into_view_if_needed()
        lit(turn, "40")
        picture(page, "narrow")


def take_figure(browser: Any, url: str) -> None:
    """A question that a figure answers."""
    with opened(browser, url, viewport={"width": 1200, "height": 1000}) as page:
        page.select_option("#memory-name", "report")
        turn = ask(page, "How many visitors came in summer?")
        turn.locator(".passage img").first.wait_for()
        page.wait_for_function("() => [...document.querySelectorAll('.passage img')].every((one) => one.complete)")
        picture(page, "figure")


def main() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        server = started(Path(folder), port)
        try:
            with chromium() as browser:
                take(browser, f"http://127.0.0.1:{port}")
                take_figure(browser, f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait(60)
    for path in sorted(ASSETS.glob("page-*.png")):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
