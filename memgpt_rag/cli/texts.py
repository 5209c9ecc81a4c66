"""Texts that a command works on: its arguments, the lines of a file, or those of standard input."""

from __future__ import annotations

import sys
from pathlib import Path

import click

input_option = click.option("--input", "source", type=click.Path(path_type=Path), help="File with a text a line.")


def given_texts(texts: tuple[str, ...], source: Path | None, verb: str) -> list[str]:
    """Return the texts that were given, none of them blank.

    Args:
        source: file of them; None for none.
        verb: what is done with them, for messages.

    Raises:
        click.UsageError: there are none, a blank one, or two kinds of them.
        SourceError: the file cannot be read or holds none, or lines are not UTF-8.
    """
    from memgpt_rag.errors import SourceError

    if texts and source is not None:
        raise click.UsageError("TEXTS and --input were given; give one of them.")
    asked = list(texts) if texts else _lines(source)
    for number, text in enumerate(asked, 1):
        if not text.strip():
            raise click.UsageError(f"Text {number:,} is empty; give words to {verb}.")
    if not asked and source is not None:
        raise SourceError(f"{source} holds no text; give a file with a text a line.")
    if not asked:
        raise click.UsageError("There are no texts; give some, a file with --input, or a line each on standard input.")
    return asked


def _lines(source: Path | None) -> list[str]:
    from memgpt_rag.errors import SourceError
    from memgpt_rag.evaluation.data.text_source import numbered_lines

    if source is not None:
        return [line for _, line in numbered_lines(source)]
    if sys.stdin.isatty():
        return []
    try:
        return [line for line in sys.stdin.buffer.read().decode("utf-8-sig").split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise SourceError(f"Standard input is not UTF-8 (byte {error.start}); give texts in UTF-8.") from error
