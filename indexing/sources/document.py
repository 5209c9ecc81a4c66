"""A document on its way to passages: blocks of text that know where in the source they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Block:
    """A stretch of text that the source itself sets apart: a paragraph, a page, a field of a record.

    Attributes:
        text: the text; line breaks inside it are the author's, not a page layout's.
        first, last: the units of the document that it covers, numbered from 1.
        headings: headings that it stands under, outermost first.
    """

    text: str
    first: int
    last: int
    headings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """One document, or one record of a file of records.

    Attributes:
        source: the file, named relative to what the user named.
        record: the user's id of the record; empty where the file is one document.
        title: the document's own title; may be empty.
        unit: what the numbers of its blocks count: "line", "page", "paragraph" or "row".
        blocks: its text in reading order.
        metadata: what else a record says, for the columns that were asked for.
    """

    source: str
    record: str
    title: str
    unit: str
    blocks: tuple[Block, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


class BlockBuilder:
    """Collects blocks under the headings that are open; a heading with nothing under it is kept as text."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._open: list[tuple[int, str, int]] = []  # level, heading, the unit it stands at
        self._bare = False  # no text yet under the innermost heading

    def heading(self, level: int, text: str, at: int) -> None:
        self._close(level)
        self._open.append((level, text, at))
        self._bare = True

    def text(self, text: str, first: int, last: int) -> None:
        self._bare = False
        self._blocks.append(Block(text, first, last, tuple(heading for _, heading, _ in self._open)))

    def blocks(self) -> tuple[Block, ...]:
        self._close(0)
        return tuple(self._blocks)

    def _close(self, level: int) -> None:
        while self._open and self._open[-1][0] >= level:
            _, heading, at = self._open.pop()
            if self._bare:
                self.text(heading, at, at)
