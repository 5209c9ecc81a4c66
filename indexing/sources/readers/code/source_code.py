"""Source code and other files whose line breaks and indentation have a meaning: a block for each function."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from indexing.sources.document import Block, Document, Note
from indexing.sources.encodings import decode
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.code.units import Unit, code_units

# Lines of a block outside functions, where no blank line ends it.
_MAX_LINES = 60
_CLOSING = re.compile(r"(?:\s|[{}()\[\];,]|\bend\b)*")


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a file of source code; each function or method, with the comments above it, is a block under its name.

    Lines outside functions, and all lines of a language without a grammar, are blocks between blank lines. Every line is
    in one block, also of a file with errors.
    """
    text = re.sub("\r\n?", "\n", decode(path, name, options))
    yield Document(name, "", "", "line", tuple(_blocks(text.split("\n"), code_units(text, name) or [])))


def _blocks(lines: list[str], units: list[Unit]) -> list[Block]:
    blocks: list[Block] = []
    around: list[Unit] = []  # definitions that go on, outermost first
    at = 0  # first line that is in no block yet

    def leave(until: int) -> None:
        """Add the lines before a line, and end the definitions that end before it."""
        nonlocal at
        while around and around[-1].last < until:
            ended = around.pop()
            _add(blocks, lines, at, ended.last + 1, ended.name)
            at = max(at, ended.last + 1)
        if until > at:
            _add(blocks, lines, at, until, around[-1].name if around else "")
            at = until

    for unit in units:
        leave(unit.first)
        if unit.first >= at and not (around and around[-1].first == unit.first):
            around.append(unit)
    leave(len(lines))
    return blocks


def _add(blocks: list[Block], lines: list[str], start: int, end: int, name: str) -> None:
    """Add lines `start` to `end` (exclusive) of the definition with a name, or of none."""
    for first, after in _pieces(lines, start, end, limit=0 if not name else _MAX_LINES):
        text = "\n".join(lines[first:after])
        before = blocks[-1] if blocks else None
        # Closing brackets of what stands around belong to what they follow.
        if before is not None and _CLOSING.fullmatch(text) and after - before.first < 10 * _MAX_LINES:
            blank = "\n" * (first - before.last + 1)
            blocks[-1] = replace(before, text=before.text + blank + text, last=after)
        else:
            blocks.append(Block(text, first + 1, after, (name,) if name else (), "code"))


def _pieces(lines: list[str], start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    """Yield first line and end of pieces without blank lines around them.

    Args:
        limit: a piece of fewer lines is not cut at the blank lines within it.
    """
    first = start
    while first < end:
        while first < end and not lines[first].strip():
            first += 1
        if first == end:
            return
        after = last = first
        while after < end and (after - first < limit or lines[after].strip()):
            if not limit and after - first == _MAX_LINES:
                break
            last = after + 1 if lines[after].strip() else last
            after += 1
        yield first, last
        first = after
