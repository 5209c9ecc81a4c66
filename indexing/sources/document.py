"""Documents before splitting: blocks of text with their place in the source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Block:
    """A unit of text in the source: a paragraph, a page, a field of a record.

    Attributes:
        text: the text; line breaks in it are the author's, not a page layout's.
        first, last: first and last unit of the document that it covers, numbered from 1.
        headings: headings of its sections, outermost first.
        kind: "text"; "code", whose indentation is kept; or "row", a row of a table.
        header: header of a row's table, which stands above each of its passages; rows that follow each other with the
            same header are one table.
    """

    text: str
    first: int
    last: int
    headings: tuple[str, ...] = ()
    kind: Literal["text", "code", "row"] = "text"
    header: str = ""


@dataclass(frozen=True)
class Document:
    """One document, or one record of a file of records.

    Attributes:
        source: name of the file, relative to the source that the user named.
        record: the user's id of the record; empty where the file is one document.
        title: the document's own title; empty if it has none.
        unit: unit in which its blocks are numbered: "line", "page", "paragraph", "row", "slide" and the like.
        blocks: its text in reading order.
        metadata: further fields of a record, for the requested columns.
    """

    source: str
    record: str
    title: str
    unit: str
    blocks: tuple[Block, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class DocumentPicture:
    """A picture in a document, or a file that is one.

    Attributes:
        source: name of the file, as for a document.
        data: PNG or JPEG, as `memgpt_rag.io.pictures.kept_picture` returns it.
        caption: its caption, else its alternative text; empty if it has neither.
        title: title of the document.
        headings: headings of its sections, outermost first.
        unit: unit in which its place is numbered: "page", "paragraph", "line", or "picture".
        number: number of the unit, from 1.
    """

    source: str
    data: bytes
    caption: str
    title: str
    headings: tuple[str, ...]
    unit: str
    number: int


@dataclass(frozen=True)
class Note:
    """A line for the job's summary: what of a file was left out, or could not be read, and why.

    Attributes:
        source: name of the file.
        text: a clause such as "pages 2–4 hold pictures and no text".
    """

    source: str
    text: str


class BlockBuilder:
    """Collects blocks with the headings of their sections; a heading without text under it is kept as text."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._open: list[tuple[int, str, int]] = []  # level, heading, number of its unit
        self._bare = False  # no text yet under the innermost heading

    def heading(self, level: int, text: str, at: int) -> None:
        """Begin a section with a heading of a level, in unit `at`; sections of the same or a deeper level end."""
        self._close(level)
        self._open.append((level, text, at))
        self._bare = True

    def text(self, text: str, first: int, last: int) -> None:
        """Add a block in the present section, from unit `first` to `last`."""
        self._bare = False
        self._blocks.append(Block(text, first, last, self.headings()))

    def code(self, text: str, first: int, last: int) -> None:
        """Add a block of code, whose line breaks and indentation are kept."""
        self._bare = False
        self._blocks.append(Block(text, first, last, self.headings(), "code"))

    def table(self, header: str, rows: Iterable[tuple[str, int, int]]) -> None:
        """Add a table.

        Args:
            header: its header row, cells divided by " | "; empty if it has none.
            rows: text, first and last unit of each further row.
        """
        for text, first, last in rows:
            self._bare = False
            self._blocks.append(Block(text, first, last, self.headings(), "row", header))

    def headings(self) -> tuple[str, ...]:
        """Return the headings of the present section, outermost first."""
        return tuple(heading for _, heading, _ in self._open)

    def blocks(self) -> tuple[Block, ...]:
        """End all sections, and return the blocks in order."""
        self._close(0)
        return tuple(self._blocks)

    def _close(self, level: int) -> None:
        while self._open and self._open[-1][0] >= level:
            _, heading, at = self._open.pop()
            if self._bare:
                self.text(heading, at, at)
