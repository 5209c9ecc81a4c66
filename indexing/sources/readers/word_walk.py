"""Walk over the content of a Word document: what its final view shows, block by block.

The walk keeps a stack of its own and visits each element once. Tracked insertions and content controls need nothing
done: the walk goes through every element that it does not leave out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexing.sources.document import BlockBuilder
from indexing.sources.readers.drawing_text import CHART, DIAGRAM, MATH, A, seen_children
from indexing.sources.readers.table_text import cell_text, flat_table, row_text
from indexing.sources.readers.word_styles import VAL, Numbering, Style, Styles, W, is_on, whole_number

if TYPE_CHECKING:
    from lxml.etree import _Element

_VML = "{urn:schemas-microsoft-com:vml}"
_OLE = "{urn:schemas-microsoft-com:office:office}"
# Deleted and moved text, instructions of fields, and properties.
_UNSEEN = {
    f"{W}{name}" for name in (
        "del", "moveFrom", "delText", "delInstrText", "instrText", "pPr", "rPr", "sdtPr", "sdtEndPr", "tblPr", "tblGrid",
        "tblPrEx", "trPr", "tcPr", "sectPr", "rubyPr", "ffData",
    )
}  # fmt: skip
_CHARACTERS = {
    f"{W}tab": "\t", f"{W}ptab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "\u2011", f"{MATH}sup": "^",
    f"{MATH}sub": "_",
}  # fmt: skip
_SYMBOLS = {
    "wingdings": {"A8": "☐", "6F": "☐", "71": "☐", "FE": "☑", "FD": "☒", "78": "☒", "FC": "✓", "FB": "✗", "E0": "→"},
    "symbol": {"B7": "•", "B0": "°", "B1": "±", "B2": "″", "A2": "′", "A3": "≤", "B3": "≥", "B4": "×", "AE": "→", "6D": "μ"},
}
_WIDEST_TABLE = 63  # columns that Word allows


@dataclass
class _Text:
    """A finished paragraph."""

    text: str
    heading: int = 0
    is_title: bool = False


@dataclass
class _Container:
    """What holds paragraphs: the document, a text box, a note or a cell."""

    items: list[_Text] = field(default_factory=list)
    carried: str = ""  # text of a paragraph whose end was deleted, so that it goes on in the next one
    span: int = 1  # of a cell, in columns
    is_continued: bool = False  # a cell that belongs to the one above it


@dataclass
class _Paragraph:
    """A paragraph whose end was not reached yet."""

    element: _Element
    words: list[str] = field(default_factory=list)
    boxes: list[_Text] = field(default_factory=list)
    notes: list[_Element] = field(default_factory=list)
    reading: int = 0  # number of words in front of a reading aid (ruby)


@dataclass
class _Table:
    """A table whose end was not reached yet."""

    columns: int
    rows: list[tuple[bool, list[_Container]]] = field(default_factory=list)  # whether it is marked as a header


class WordWalk:
    """Adds the content of a document to a builder.

    Args:
        notes: footnotes and endnotes by kind and id; each is used up by its first reference.
        graphic_rows: returns the header and rows of a chart, or the lines of a diagram.

    Attributes:
        title: text of the document's first paragraph in the style Title; empty if it has none.
        left_out: what was left out → how often.
    """

    def __init__(
        self,
        builder: BlockBuilder,
        styles: Styles,
        numbering: Numbering,
        notes: dict[tuple[str, str], _Element],
        graphic_rows: Callable[[_Element], tuple[str, list[str]]],
    ):
        self.title, self.left_out = "", Counter[str]()
        self._builder, self._styles, self._numbering = builder, styles, numbering
        self._notes, self._graphic_rows = notes, graphic_rows
        self._number = 0  # of the paragraph or table in the document
        self._containers = [_Container()]
        self._paragraphs: list[_Paragraph] = []
        self._tables: list[_Table] = []
        self._fields: list[bool] = []  # of each field that is open, whether its result has begun
        self._instructions = 0  # fields of which it has not
        self._in_note = False
        self._starts: dict[str, Callable[[_Element], object]] = {
            f"{W}p": self._start_paragraph, f"{W}tbl": self._start_table, f"{W}tr": self._start_row,
            f"{W}tc": self._start_cell, f"{W}txbxContent": lambda _: self._containers.append(_Container()),
            f"{W}t": self._add_text, f"{MATH}t": self._add_text, f"{W}sym": self._add_symbol,
            f"{W}fldChar": self._field_mark, f"{W}footnoteReference": self._refer, f"{W}endnoteReference": self._refer,
            f"{W}rt": self._start_reading, f"{CHART}chart": self._add_graphic, f"{DIAGRAM}relIds": self._add_graphic,
            f"{A}blip": self._leave_out("picture"), f"{_VML}imagedata": self._leave_out("picture"),
            f"{_OLE}OLEObject": self._add_object, f"{W}altChunk": self._leave_out("imported document"),
        }  # fmt: skip
        self._starts |= {tag: self._add_character for tag in _CHARACTERS}
        self._ends: dict[str, Callable[[_Element], object]] = {
            f"{W}p": self._end_paragraph, f"{W}tbl": self._end_table, f"{W}tc": self._end_cell,
            f"{W}txbxContent": self._end_box, f"{W}rt": self._end_reading, f"{MATH}num": self._divide,
        }  # fmt: skip

    def add(self, element: _Element) -> None:
        """Add an element of the document's body, and all that is in it."""
        for begins, one in self._visible(element):
            handle = (self._starts if begins else self._ends).get(one.tag)
            if handle is not None:
                handle(one)

    def _visible(self, root: _Element) -> Iterator[tuple[bool, _Element]]:
        """Yield the start (True) and the end (False) of each element that the final view shows."""
        if not self._is_seen(root):
            return
        stack = [(root, seen_children(root))]
        yield True, root
        while stack:
            element, children = stack[-1]
            child = next(children, None)
            if child is None:
                stack.pop()
                yield False, element
            elif self._is_seen(child):
                stack.append((child, seen_children(child)))
                yield True, child

    def _is_seen(self, element: _Element) -> bool:
        tag = element.tag
        if tag in _UNSEEN:
            return False
        if tag == f"{W}r" and is_on(element.find(f"{W}rPr/{W}vanish")):
            self.left_out["hidden text"] += 1
            return False
        if tag == f"{W}sdt":
            gallery = element.find(f"{W}sdtPr/{W}docPartObj/{W}docPartGallery")
            if gallery is not None and gallery.get(VAL) == "Table of Contents":
                self.left_out["table of contents"] += 1
                return False
        if tag == f"{W}tr":
            return element.find(f"{W}trPr/{W}del") is None
        return not (tag == f"{W}tc" and element.find(f"{W}tcPr/{W}cellDel") is not None)

    def _start_paragraph(self, element: _Element) -> None:
        if len(self._containers) == 1 and not self._paragraphs:
            self._number += 1
        self._paragraphs.append(_Paragraph(element))

    def _end_paragraph(self, element: _Element) -> None:
        paragraph, container = self._paragraphs.pop(), self._containers[-1]
        if self._instructions:  # no instruction goes on in the next paragraph: its end is missing
            self._fields.clear()
            self._instructions = 0
        text = container.carried + "".join(paragraph.words)
        container.carried = ""
        mark = element.find(f"{W}pPr/{W}rPr")
        is_joined = mark is not None and any(mark.find(f"{W}{name}") is not None for name in ("del", "moveFrom"))
        if is_joined:
            container.carried = text
        else:
            self._finish(element, text.strip())
        for item in paragraph.boxes:
            self._deliver(item)
        for note in paragraph.notes:
            self._add_note(note)

    def _finish(self, element: _Element, text: str) -> None:
        """Deliver the text of a paragraph with its number, as what its style says it is."""
        id = element.find(f"{W}pPr/{W}pStyle")
        id = None if id is None else id.get(VAL, "")
        style = self._styles[id]
        outline = whole_number(element.find(f"{W}pPr/{W}outlineLvl"))
        heading = style.heading if outline is None else outline + 1 if 0 <= outline < 9 else 0
        number = self._next_number(element, style, id or "")
        if not text:
            return
        if style.is_contents:
            self.left_out["table of contents"] += 1
            return
        self._deliver(_Text(f"{number} {text}" if number else text, heading, style.is_title))

    def _next_number(self, element: _Element, style: Style, style_id: str) -> str:
        own = element.find(f"{W}pPr/{W}numPr")
        own_id = None if own is None else own.find(f"{W}numId")
        list_id = style.list_id if own_id is None else own_id.get(VAL, "")
        if list_id in ("", "0"):
            return ""
        level = None if own is None else whole_number(own.find(f"{W}ilvl"))
        if level is None:
            level = style.list_level
        if level is None:
            level = self._numbering.level_of_style(list_id, style_id)
        return self._numbering.next(list_id, level)

    def _deliver(self, item: _Text) -> None:
        if len(self._containers) > 1:
            self._containers[-1].items.append(item)
        elif item.is_title and not self.title:
            self.title = " ".join(item.text.split())
        elif item.heading:
            self._builder.heading(item.heading, " ".join(item.text.split()), self._number)
        else:
            self._builder.text(item.text, self._number, self._number)

    def finish(self) -> None:
        """Deliver what waits for a next paragraph that does not come."""
        container = self._containers[-1]
        text, container.carried = container.carried.strip(), ""
        if text:
            self._deliver(_Text(text))

    def _add_note(self, note: _Element) -> None:
        self._in_note = True
        self._containers.append(_Container())
        self.add(note)
        self.finish()
        items = self._containers.pop().items
        self._in_note = False
        for item in items:
            self._deliver(_Text(item.text))

    def _refer(self, element: _Element) -> None:
        kind = "footnote" if element.tag == f"{W}footnoteReference" else "endnote"
        note = None if self._in_note else self._notes.pop((kind, element.get(f"{W}id", "")), None)
        if note is not None and self._paragraphs:
            self._paragraphs[-1].notes.append(note)

    def _end_box(self, element: _Element) -> None:
        self.finish()
        box = self._containers.pop()
        if self._paragraphs:
            self._paragraphs[-1].boxes.extend(box.items)
        else:
            for item in box.items:
                self._deliver(item)

    def _write(self, text: str) -> None:
        if self._paragraphs and not self._instructions:
            self._paragraphs[-1].words.append(text)

    def _add_text(self, element: _Element) -> None:
        self._write(element.text or "")

    def _add_character(self, element: _Element) -> None:
        self._write(_CHARACTERS[element.tag])

    def _add_symbol(self, element: _Element) -> None:
        font, code = element.get(f"{W}font", "").lower(), element.get(f"{W}char", "").upper()
        known = _SYMBOLS.get(font, {}).get(code.removeprefix("F0"))
        if known is None:
            self.left_out["symbol"] += 1
        self._write(known or " ")

    def _divide(self, element: _Element) -> None:
        self._write("/")

    def _field_mark(self, element: _Element) -> None:
        kind = element.get(f"{W}fldCharType")
        if kind == "begin":
            self._fields.append(False)
            self._instructions += 1
        elif self._fields and kind in ("separate", "end"):
            if not self._fields[-1]:
                self._instructions -= 1
            self._fields[-1] = True
            if kind == "end":
                self._fields.pop()

    def _start_reading(self, element: _Element) -> None:
        if self._paragraphs:
            self._paragraphs[-1].reading = len(self._paragraphs[-1].words)

    def _end_reading(self, element: _Element) -> None:
        """Leave out how characters are read (ruby), which stands over them: inside the words it would part them."""
        if self._paragraphs:
            del self._paragraphs[-1].words[self._paragraphs[-1].reading :]
            self.left_out["reading aid"] += 1

    def _leave_out(self, what: str) -> Callable[[_Element], None]:
        def count(element: _Element) -> None:
            self.left_out[what] += 1

        return count

    def _add_object(self, element: _Element) -> None:
        self.left_out["embedded object"] += 1
        self.left_out["picture"] -= 1  # the picture that stands for it

    def _add_graphic(self, element: _Element) -> None:
        header, rows = self._graphic_rows(element)
        if self._paragraphs:
            self._paragraphs[-1].boxes.extend(_Text(text) for text in [header, *rows] if text)

    def _start_table(self, element: _Element) -> None:
        self.finish()
        if len(self._containers) == 1:
            self._number += 1
        grid = element.find(f"{W}tblGrid")
        self._tables.append(_Table(1 if grid is None else min(len(grid), _WIDEST_TABLE)))

    def _start_row(self, element: _Element) -> None:
        if self._tables:
            self._tables[-1].rows.append((is_on(element.find(f"{W}trPr/{W}tblHeader")), []))

    def _start_cell(self, element: _Element) -> None:
        merge = element.find(f"{W}tcPr/{W}vMerge")
        span = whole_number(element.find(f"{W}tcPr/{W}gridSpan")) or 1
        self._containers.append(
            _Container(
                span=max(1, min(span, self._tables[-1].columns if self._tables else 1)),
                is_continued=merge is not None and merge.get(VAL, "continue") == "continue",
            )
        )

    def _end_cell(self, element: _Element) -> None:
        self.finish()
        cell = self._containers.pop()
        if not self._tables or not self._tables[-1].rows:
            return
        rows = self._tables[-1].rows
        if cell.is_continued and len(rows) > 1:  # a first row has nothing to continue
            cell.items.clear()
        rows[-1][1].append(cell)

    def _end_table(self, element: _Element) -> None:
        rows = self._tables.pop().rows
        marked = [is_header for is_header, _ in rows]
        if len(self._containers) == 1 and not any(marked) and all(len(cells) <= 1 for _, cells in rows):
            # One column: a frame around paragraphs.
            for item in (item for _, cells in rows for cell in cells for item in cell.items):
                self._deliver(item)
            return
        texts = [[cell_text(item.text for item in cell.items) for cell in cells] for _, cells in rows]
        if len(self._containers) > 1:
            self._containers[-1].items.append(_Text(flat_table(texts)))
            return
        self._add_rows(texts, [[cell.span for cell in cells] for _, cells in rows], marked)

    def _add_rows(self, texts: list[list[str]], spans: list[list[int]], marked: list[bool]) -> None:
        """Add a table whose header is the rows that are marked, or else its first row and a title above that."""
        lines = [row_text(cells, widths) for cells, widths in zip(texts, spans)]
        first = marked.index(False) if False in marked else len(lines)
        if not first:
            first = 2 if len(texts) > 2 and len(texts[0]) == 1 < len(texts[1]) else 1
        header, rows = [line for line in lines[:first] if line], [line for line in lines[first:] if line]
        if not rows:
            header, rows = [], header
        self._builder.table("\n".join(header), [(line, self._number, self._number) for line in rows])
