"""Walk over the content of a Word document: what its final view shows, block by block.

Tracked insertions and content controls need nothing done: the walk goes through every element that it does not leave out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from indexing.sources.document import BlockBuilder
from indexing.sources.readers.office.block_walk import BlockWalk, Text
from indexing.sources.readers.office.drawing_text import CHART, DIAGRAM, MATH, A, seen_children
from indexing.sources.readers.office.word_styles import VAL, Numbering, Style, Styles, W, is_on, whole_number

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
    "symbol": {
        "B7": "•",
        "B0": "°",
        "B1": "±",
        "B2": "″",
        "A2": "′",
        "A3": "≤",
        "B3": "≥",
        "B4": "×",
        "AE": "→",
        "6D": "μ",
    },
}
_WIDEST_TABLE = 63  # columns that Word allows


class WordWalk(BlockWalk):
    """Adds the content of a document to a builder.

    Args:
        notes: footnotes and endnotes by kind and id; each is used up by its first reference.
        graphic_rows: returns the header and rows of a chart, or the lines of a diagram.
    """

    def __init__(
        self,
        builder: BlockBuilder,
        styles: Styles,
        numbering: Numbering,
        notes: dict[tuple[str, str], _Element],
        graphic_rows: Callable[[_Element], tuple[str, list[str]]],
    ):
        super().__init__(builder)
        self._styles, self._numbering = styles, numbering
        self._notes, self._graphic_rows = notes, graphic_rows
        self._fields: list[bool] = []  # of each field that is open, whether its result has begun
        self._instructions = 0  # fields of which it has not
        self._reading = 0  # number of words in front of a reading aid (ruby)
        self._in_note = False
        self.starts |= {
            f"{W}p": self.start_paragraph, f"{W}tbl": self._start_table, f"{W}tr": self._start_row,
            f"{W}tc": self._start_cell, f"{W}txbxContent": self.start_box,
            f"{W}t": self._add_text, f"{MATH}t": self._add_text, f"{W}sym": self._add_symbol,
            f"{W}fldChar": self._field_mark, f"{W}footnoteReference": self._refer, f"{W}endnoteReference": self._refer,
            f"{W}rt": self._start_reading, f"{CHART}chart": self._add_graphic, f"{DIAGRAM}relIds": self._add_graphic,
            f"{A}blip": self.counter("picture"), f"{_VML}imagedata": self.counter("picture"),
            f"{_OLE}OLEObject": self._add_object, f"{W}altChunk": self.counter("imported document"),
        }  # fmt: skip
        self.starts |= dict.fromkeys(_CHARACTERS, self._add_character)
        self.ends |= {
            f"{W}p": self._end_paragraph, f"{W}tbl": self.end_table, f"{W}tc": self.end_cell,
            f"{W}txbxContent": self.end_box, f"{W}rt": self._end_reading, f"{MATH}num": self._divide,
        }  # fmt: skip

    def children(self, element: _Element) -> Iterator[_Element]:
        """Yield the children of an element; of alternatives, only the first one."""
        return seen_children(element)

    def is_seen(self, element: _Element) -> bool:
        """Return whether the final view of the document shows an element."""
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

    def _end_paragraph(self, element: _Element) -> None:
        paragraph, container = self.paragraphs.pop(), self.containers[-1]
        if self._instructions:  # no instruction goes on in the next paragraph: its end is missing
            self._fields.clear()
            self._instructions = 0
        container.carried += paragraph.words
        mark = element.find(f"{W}pPr/{W}rPr")
        is_joined = mark is not None and any(mark.find(f"{W}{name}") is not None for name in ("del", "moveFrom"))
        if not is_joined:
            text, container.carried = "".join(container.carried), []
            self._finish(element, text.strip())
        for item in paragraph.boxes:
            self.deliver(item)
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
        self.deliver(Text(f"{number} {text}" if number else text, heading, style.is_title))

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

    def _add_note(self, note: _Element) -> None:
        self._in_note = True
        items = self.collect(note)
        self._in_note = False
        for item in items:
            self.deliver(Text(item.text))

    def _refer(self, element: _Element) -> None:
        kind = "footnote" if element.tag == f"{W}footnoteReference" else "endnote"
        note = None if self._in_note else self._notes.pop((kind, element.get(f"{W}id", "")), None)
        if note is not None and self.paragraphs:
            self.paragraphs[-1].notes.append(note)

    def write(self, text: str) -> None:
        """Add to the present paragraph, unless it is in the instruction of a field."""
        if not self._instructions:
            super().write(text)

    def _add_text(self, element: _Element) -> None:
        self.write(element.text or "")

    def _add_character(self, element: _Element) -> None:
        self.write(_CHARACTERS[element.tag])

    def _add_symbol(self, element: _Element) -> None:
        font, code = element.get(f"{W}font", "").lower(), element.get(f"{W}char", "").upper()
        known = _SYMBOLS.get(font, {}).get(code.removeprefix("F0"))
        if known is None:
            self.left_out["symbol"] += 1
        self.write(known or " ")

    def _divide(self, element: _Element) -> None:
        self.write("/")

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
        if self.paragraphs:
            self._reading = len(self.paragraphs[-1].words)

    def _end_reading(self, element: _Element) -> None:
        """Leave out how characters are read (ruby), which stands over them: inside the words it would part them."""
        if self.paragraphs:
            del self.paragraphs[-1].words[self._reading :]
            self.left_out["reading aid"] += 1

    def _add_object(self, element: _Element) -> None:
        self.left_out["embedded object"] += 1
        self.left_out["picture"] -= 1  # the picture that stands for it

    def _add_graphic(self, element: _Element) -> None:
        header, rows = self._graphic_rows(element)
        if self.paragraphs:
            self.paragraphs[-1].boxes.extend(Text(text) for text in [header, *rows] if text)

    def _start_table(self, element: _Element) -> None:
        grid = element.find(f"{W}tblGrid")
        for name in ("tblCaption", "tblDescription"):  # what stands for the table where it cannot be seen
            text = element.find(f"{W}tblPr/{W}{name}")
            if text is not None and (words := text.get(VAL, "").strip()):
                self.deliver(Text(words))
        self.start_table(1 if grid is None else min(len(grid), _WIDEST_TABLE))

    def _start_row(self, element: _Element) -> None:
        self.start_row(is_on(element.find(f"{W}trPr/{W}tblHeader")))

    def _start_cell(self, element: _Element) -> None:
        merge = element.find(f"{W}tcPr/{W}vMerge")
        self.start_cell(
            whole_number(element.find(f"{W}tcPr/{W}gridSpan")) or 1,
            merge is not None and merge.get(VAL, "continue") == "continue",
        )
