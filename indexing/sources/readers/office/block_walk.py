"""Walk over the content of a word processor's document: paragraphs, text boxes, notes and tables, in reading order.

The walk keeps a stack of its own and visits each element once. A subclass says what each element stands for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexing.sources.document import BlockBuilder
from indexing.sources.readers.office.table_text import cell_text, flat_table, row_text, split_table

if TYPE_CHECKING:
    from lxml.etree import _Element


@dataclass
class Text:
    """A finished paragraph: its text, the level of its heading (0 for none), and whether it is the document's title."""

    text: str
    heading: int = 0
    is_title: bool = False


@dataclass
class Container:
    """What holds paragraphs: the document, a text box, a note or a cell."""

    items: list[Text] = field(default_factory=list)
    # Words of a paragraph whose end was deleted, so that it goes on in the next one.
    carried: list[str] = field(default_factory=list)
    span: int = 1  # of a cell, in columns
    is_continued: bool = False  # a cell that belongs to the one above it


@dataclass
class Paragraph:
    """A paragraph whose end was not reached yet, with the text boxes and notes that follow it."""

    words: list[str] = field(default_factory=list)
    boxes: list[Text] = field(default_factory=list)
    notes: list[_Element] = field(default_factory=list)


@dataclass
class _Table:
    """A table whose end was not reached yet: whether each row is marked as a header, and its cells."""

    columns: int
    rows: list[tuple[bool, list[Container]]] = field(default_factory=list)


class BlockWalk:
    """Adds the content of a document to a builder.

    Args:
        counts_paragraphs: number blocks by paragraph and table; else all get `number`.

    Attributes:
        number: number of the present paragraph or table, or whatever else blocks are numbered by.
        title: text of the document's first paragraph in the style of a title; empty if it has none.
        left_out: what was left out → how often.
        starts, ends: what to do at the start and at the end of an element, by its tag.
    """

    def __init__(self, builder: BlockBuilder, *, counts_paragraphs: bool = True):
        self.builder, self.number, self.title, self.left_out = builder, 0, "", Counter[str]()
        self.starts: dict[str, Callable[[_Element], object]] = {}
        self.ends: dict[str, Callable[[_Element], object]] = {}
        self.containers = [Container()]
        self.paragraphs: list[Paragraph] = []
        self._tables: list[_Table] = []
        self._counts_paragraphs = counts_paragraphs

    def children(self, element: _Element) -> Iterator[_Element]:
        """Yield the children of an element that belong to the document."""
        return iter(element)

    def is_seen(self, element: _Element) -> bool:
        """Return whether an element is shown; else it and all in it is left out."""
        raise NotImplementedError

    def start(self, element: _Element) -> None:
        """Begin an element."""
        if handle := self.starts.get(element.tag):
            handle(element)

    def end(self, element: _Element) -> None:
        """End an element."""
        if handle := self.ends.get(element.tag):
            handle(element)

    def skip(self, element: _Element) -> None:
        """Pass an element that is not shown."""

    def add(self, root: _Element) -> None:
        """Add an element, and all that is in it."""
        if not self.is_seen(root):
            return
        stack = [(root, self.children(root))]
        self.start(root)
        while stack:
            element, children = stack[-1]
            child = next(children, None)
            if child is None:
                stack.pop()
                self.end(element)
            elif self.is_seen(child):
                stack.append((child, self.children(child)))
                self.start(child)
            else:
                self.skip(child)

    def finish(self) -> None:
        """Deliver the words that were carried to a next paragraph, where none follows."""
        container = self.containers[-1]
        text, container.carried = "".join(container.carried).strip(), []
        if text:
            self.deliver(Text(text))

    def collect(self, element: _Element) -> list[Text]:
        """Return the paragraphs in an element instead of adding them."""
        self.containers.append(Container())
        self.add(element)
        self.finish()
        return self.containers.pop().items

    def deliver(self, item: Text) -> None:
        """Add a paragraph to the box, note or cell around it, or else to the document."""
        if len(self.containers) > 1:
            self.containers[-1].items.append(item)
        elif item.is_title and not self.title:
            self.title = " ".join(item.text.split())
        elif item.heading:
            self.builder.heading(item.heading, " ".join(item.text.split()), self.number)
        else:
            self.builder.text(item.text, self.number, self.number)

    def write(self, text: str) -> None:
        """Add to the present paragraph."""
        if self.paragraphs:
            self.paragraphs[-1].words.append(text)

    def start_paragraph(self, element: _Element) -> None:
        """Begin a paragraph."""
        if self._counts_paragraphs and len(self.containers) == 1 and not self.paragraphs:
            self.number += 1
        self.paragraphs.append(Paragraph())

    def start_box(self, element: _Element) -> None:
        """Begin a text box, whose paragraphs follow the one that it stands in."""
        self.containers.append(Container())

    def end_box(self, element: _Element) -> None:
        """End a text box."""
        self.finish()
        box = self.containers.pop()
        if self.paragraphs:
            self.paragraphs[-1].boxes.extend(box.items)
        else:
            for item in box.items:
                self.deliver(item)

    def counter(self, what: str) -> Callable[[_Element], None]:
        """Return a function that counts an element as left out."""

        def count(element: _Element) -> None:
            self.left_out[what] += 1

        return count

    def start_table(self, columns: int) -> None:
        """Begin a table of so many columns; none of its cells spans more."""
        self.finish()
        if self._counts_paragraphs and len(self.containers) == 1:
            self.number += 1
        self._tables.append(_Table(max(1, columns)))

    def start_row(self, is_header: bool) -> None:
        """Begin a row."""
        if self._tables:
            self._tables[-1].rows.append((is_header, []))

    def start_cell(self, span: int, is_continued: bool = False) -> None:
        """Begin a cell of several columns; one that continues the cell above has no text of its own."""
        columns = self._tables[-1].columns if self._tables else 1
        self.containers.append(Container(span=max(1, min(span, columns)), is_continued=is_continued))

    def end_cell(self, element: _Element) -> None:
        """End a cell."""
        self.finish()
        cell = self.containers.pop()
        if not self._tables or not self._tables[-1].rows:
            for item in cell.items:
                self.deliver(item)
            return
        rows = self._tables[-1].rows
        if cell.is_continued and len(rows) > 1:  # a first row has nothing to continue
            cell.items.clear()
        rows[-1][1].append(cell)

    def end_table(self, element: _Element) -> None:
        """End a table; one inside a cell or a box becomes a text, and one column is a frame around paragraphs."""
        rows = self._tables.pop().rows
        marked = [is_header for is_header, _ in rows]
        if len(self.containers) == 1 and not any(marked) and all(len(cells) <= 1 for _, cells in rows):
            for item in (item for _, cells in rows for cell in cells for item in cell.items):
                self.deliver(item)
            return
        texts = [[cell_text(item.text for item in cell.items) for cell in cells] for _, cells in rows]
        if len(self.containers) > 1:
            self.containers[-1].items.append(Text(flat_table(texts)))
            return
        lines = [row_text(texts[at], (cell.span for cell in cells)) for at, (_, cells) in enumerate(rows)]
        header, body = split_table(texts, lines, marked)
        self.builder.table(header, [(line, self.number, self.number) for line in body])
