"""Writes docs/reference/cli.md from the commands themselves, and docs/reference/http.md from the server.

python docs/generate_reference.py            writes the pages
python docs/generate_reference.py --check    exits 1 where a page is not what would be written
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]
REFERENCE = ROOT / "docs" / "reference"

import http_reference

from indexing.cli.main import main as memgpt_index
from memgpt_rag.cli.main import main as memgpt_rag


def commands(name: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """Every command under its full name, groups before their commands."""
    for command in sorted(group.commands.values(), key=lambda one: one.name or ""):
        yield f"{name} {command.name}", command
        if isinstance(command, click.Group):
            yield from commands(f"{name} {command.name}", command)


def page() -> str:
    parts = [
        "# Command line",
        "Two commands: `memgpt-index` builds and changes memories, and `memgpt-rag` asks, trains and measures them. Both take "
        "`--help` and `--version`; [exit codes and errors](errors.md) are the same for all. This page is generated from the "
        "commands.",
    ]
    for name, group in (("memgpt-index", memgpt_index), ("memgpt-rag", memgpt_rag)):
        parts += [f"## {name}", _text(group.help)]
        for full_name, command in commands(name, group):
            parts += [
                f"### {full_name}",
                _text(command.help),
                f"```sh\n{_usage(full_name, command)}\n```",
                *_options(command),
            ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _usage(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name)
    return " ".join([name, *command.collect_usage_pieces(context)])


def _options(command: click.Command) -> list[str]:
    rows = []
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            context = click.Context(command, info_name=command.name)
            name, help = option.get_help_record(context) or ("", "")
            rows.append(f"| `{name}` | {_cell(help)} |")
    return ["| Option | Meaning |\n|---|---|\n" + "\n".join(rows)] if rows else []


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")


def _text(help: str | None) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(help or "")).replace("<", "&lt;")


def pages() -> dict[Path, str]:
    """The text of each page."""
    return {REFERENCE / "cli.md": page(), REFERENCE / "http.md": http_reference.page()}


def main() -> None:
    for file, written in pages().items():
        if "--check" not in sys.argv[1:]:
            file.write_text(written, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != written:
            sys.exit(f"{file.relative_to(ROOT)} is not what the program says; run: python docs/generate_reference.py")


if __name__ == "__main__":
    main()
