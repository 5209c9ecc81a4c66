"""Runs the commands of the guides and writes what they print below them.

    python docs/refresh_outputs.py docs/guide/ask.md README.md
    python docs/refresh_outputs.py --check docs/guide/ask.md       changes nothing; status 1 where an output is stale

The commands of a page run in order, in a new folder that holds `examples`. What is run:

- a block of `sh` or `python` that a block of `text` follows, which is replaced by what the command prints;
- `<!-- run: COMMAND -->`, which prepares the next ones, and whose output is not shown;
- `<!-- output: COMMAND -->` right before a block of `text` that has no command above it.

A block of `text` behind `<!-- as it is -->` stays. So does one that differs in its times only.
Needs the extra `offline`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What a page is made of for this program; a command and its output are one match.
_STEP = re.compile(
    r"<!-- run: (?P<run>.*?) -->\n"
    r"|<!-- as it is -->\n *```text\n.*?(?<=\n) *```\n"
    r"|<!-- output: (?P<hidden>.*?) -->\n *```text\n(?P<output1>.*?)(?<=\n)(?P<indent1> *)```\n"
    r"|```(?P<language>sh|python)\n(?P<code>(?:(?!```).)*?)(?<=\n) *```\n\s*```text\n(?P<output2>.*?)(?<=\n)(?P<indent2> *)```\n",
    re.DOTALL,
)
_TIME = re.compile(r"\d+(?:\.\d+)? (?:s|ms|seconds?|minutes?)\b")


def run(code: str, language: str, folder: Path) -> str:
    """Run a command as a reader of the page does; return all that it prints."""
    shell = ["bash", "-c", code] if language == "sh" else [sys.executable, "-c", code]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    errors = subprocess.STDOUT if language == "sh" else None  # a block of Python shows no bars of progress
    done = subprocess.run(
        shell,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        timeout=600,
        check=language == "python",
    )
    return done.stdout.rstrip() + "\n"


def refreshed(page: str, folder: Path) -> str:
    """Return a page with the outputs that its commands have now."""

    def step(match: re.Match[str]) -> str:
        command, language = match["hidden"] or match["code"], match["language"] or "sh"
        if match["run"]:
            print(run(match["run"], "sh", folder), end="", file=sys.stderr)
        if not command:
            return match[0]
        group, indent = ("output2", match["indent2"]) if match["code"] else ("output1", match["indent1"])
        printed = run(
            "".join(line.removeprefix(indent) for line in command.splitlines(keepends=True)), language, folder
        )
        printed = "".join(f"{indent}{line}".rstrip() + "\n" for line in printed.splitlines())
        if _TIME.sub("", printed) == _TIME.sub("", match[group]):
            return match[0]
        start, end = (place - match.start() for place in match.span(group))
        return match[0][:start] + printed + match[0][end:]

    return _STEP.sub(step, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing")
    asked = parser.parse_args()
    stale = []
    for page in asked.pages:
        before = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "examples").symlink_to(ROOT / "examples")
            after = refreshed(before, Path(folder))
        if after != before:
            stale.append(str(page))
            if not asked.check:
                page.write_text(after, encoding="utf-8")
    print(f"Stale: {', '.join(stale)}." if stale else "All outputs are as the commands print them.")
    raise SystemExit(bool(stale) and asked.check)


if __name__ == "__main__":
    main()
