"""A passage: a piece of text with its source. The unit that is embedded, stored, retrieved, attended to and cited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TITLE_SEPARATOR = " › "  # between the title of a document and the headings of a passage
# Titles go into the encoder and the language model with every passage, so headings are read in so many characters.
MOST_READ_CHARACTERS = 120
_LEAST_OF_A_TITLE = 16  # characters that are shown of a document's title


@dataclass(frozen=True)
class Passage:
    """A piece of text with its source.

    Attributes:
        id: the entry's id, unique in a version of a memory; the job never uses one for another text.
        text: the cleaned text.
        title: title of the document and the headings that the passage stands under, whole; may be empty.
        source: file that the passage came from, as it was named to the job.
        record: what names the document where a source holds several: the user's own id of a record (JSON Lines, CSV,
            Parquet), a sheet with its columns; empty for whole documents.
        unit: what `first` and `last` count: "line", "page", "paragraph", "row", "slide" and the like.
        first: number of the first unit that the passage touches, from 1.
        last: number of the last one.
        start: offset of the text in the cleaned text of its document, in characters.
        end: offset behind its last character.
        metadata: what else is known of it: columns that searches can be narrowed by.
    """

    id: str
    text: str
    title: str
    source: str
    record: str
    unit: str
    first: int
    last: int
    start: int
    end: int
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def place(self) -> str:
        """Where to look the passage up, for people: "manual.txt, lines 12–18", "prices.xlsx, Boats!A:D, row 3"."""
        # The number of a line leads to a record by itself; so does that of a record without an id of its own.
        same = self.record in ("", str(self.first), f"{self.unit} {self.first}", f"{self.unit}-{self.first}")
        document = self.source if same or self.unit == "line" else f"{self.source}, {self.record}"
        if self.first == self.last:
            return f"{document}, {self.unit} {self.first}"
        return f"{document}, {self.unit}s {self.first}–{self.last}"

    @property
    def headings(self) -> tuple[str, ...]:
        """The title of the document and the headings that the passage stands under, from the outermost on; none without a title."""
        return tuple(self.title.split(TITLE_SEPARATOR)) if self.title else ()

    @property
    def document(self) -> tuple[str, str]:
        """The document that the passage is a part of: its source, and its record where a source holds several."""
        return self.source, self.record

    @property
    def document_id(self) -> str:
        """Name of that document in judgements: the user's record, or the whole file."""
        return self.record or self.source

    @property
    def short_title(self) -> str:
        """The title as models read it and people see it beside a text: long headings shortened, the innermost last."""
        if len(self.title) <= MOST_READ_CHARACTERS or TITLE_SEPARATOR not in self.title:
            return self.title
        return TITLE_SEPARATOR.join(shortened_headings(self.headings, MOST_READ_CHARACTERS))

    @property
    def titled_text(self) -> str:
        """Title and text as the encoder and the language model read them."""
        return f"{self.short_title}\n{self.text}" if self.title else self.text


def shortened_headings(headings: Sequence[str], most: int) -> list[str]:
    """Return headings that make a title of at most so many characters.

    They lose their middle, then their beginning: the innermost heading tells most of the text below it.

    Args:
        headings: the title of a document and the headings in it, from the outermost on.
    """
    if len(TITLE_SEPARATOR.join(headings)) <= most:
        return list(headings)
    *outer, inner = headings
    if len(inner) > most:
        return [f"{inner[: most - 1]}…"]
    kept, room = [inner], most - len(inner)
    while outer and room >= len(outer[-1]) + 2 * len(TITLE_SEPARATOR) + _LEAST_OF_A_TITLE:
        kept.insert(0, outer.pop())
        room -= len(kept[0]) + len(TITLE_SEPARATOR)
    if outer and room >= _LEAST_OF_A_TITLE + len(TITLE_SEPARATOR):
        shown = room - len(TITLE_SEPARATOR)
        kept.insert(0, outer[0] if len(outer[0]) <= shown else f"{outer[0][: shown - 1]}…")
    return kept
