"""Walk over the content of an OpenDocument text or presentation: what is shown, block by block.

Text that tracked changes have deleted stands apart (text:tracked-changes) and is left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from indexing.sources.document import BlockBuilder
from indexing.sources.readers.office.block_walk import BlockWalk, Text
from indexing.sources.readers.office.opendocument_styles import DRAW, OUTLINE, STYLE, TEXT, OdfStyles, small_number

if TYPE_CHECKING:
    from lxml.etree import _Element

TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
AUTOMATIC_STYLES = frozenset({f"{OFFICE}automatic-styles"})
_SVG = "{urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0}"
_UNSEEN = {
    f"{TEXT}note-citation", f"{TEXT}sequence-decls", f"{TEXT}variable-decls",
    f"{TEXT}user-field-decls", f"{OFFICE}forms", f"{OFFICE}event-listeners", f"{_SVG}title", f"{_SVG}desc",
    f"{TABLE}table-source", f"{TABLE}covered-table-cell", f"{TABLE}desc", f"{TABLE}title", f"{OFFICE}annotation-end",
    f"{DRAW}glue-point", f"{OFFICE}binary-data",
}  # fmt: skip
_LEFT_OUT = {
    f"{OFFICE}annotation": "comment", f"{TEXT}table-of-content": "table of contents", f"{TEXT}ruby-text": "reading aid",
    f"{TEXT}hidden-paragraph": "hidden text",
}  # fmt: skip
_WIDEST_TABLE = 1024
_MOST_SPACES = 100


class OpenDocumentWalk(BlockWalk):
    """Adds the content of a document to a builder.

    Args:
        styles: its styles and lists.
        counts_paragraphs: number blocks by paragraph and table; else all get `number`.
    """

    def __init__(self, builder: BlockBuilder, styles: OdfStyles, *, counts_paragraphs: bool = True):
        super().__init__(builder, counts_paragraphs=counts_paragraphs)
        self._styles = styles
        self._lists: list[str] = []  # style of each list that is open
        self._style_by_id: dict[str, str] = {}  # id of a list → its style
        # The list item that has no text yet: whether it has a number, and the number that it begins with.
        self._item: tuple[bool, int | None] | None = None
        self._in_header = False
        self.starts |= {
            f"{TEXT}p": self.start_paragraph, f"{TEXT}h": self.start_paragraph,
            f"{TEXT}list": self._start_list, f"{TEXT}list-item": self._start_item,
            f"{TEXT}list-header": self._start_list_header, f"{TEXT}s": self._add_spaces,
            f"{TEXT}tab": lambda _: self.write("\t"), f"{TEXT}line-break": lambda _: self.write("\n"),
            f"{TEXT}note-body": self.start_box, f"{DRAW}text-box": self.start_box,
            f"{TABLE}table": self._start_table, f"{TABLE}table-row": lambda _: self.start_row(self._in_header),
            f"{TABLE}table-header-rows": lambda _: self._set_header(True), f"{TABLE}table-cell": self._start_cell,
            f"{DRAW}image": self.counter("picture"), f"{DRAW}object": self.counter("embedded object"),
            f"{DRAW}object-ole": self.counter("embedded object"),
        }  # fmt: skip
        self.ends |= {
            f"{TEXT}p": self._end_paragraph, f"{TEXT}h": self._end_paragraph, f"{TEXT}list": self._end_list,
            f"{TEXT}note-body": self.end_box, f"{DRAW}text-box": self.end_box, f"{TABLE}table": self.end_table,
            f"{TABLE}table-header-rows": lambda _: self._set_header(False), f"{TABLE}table-cell": self.end_cell,
        }  # fmt: skip

    def is_seen(self, element: _Element) -> bool:
        """Return whether an element is shown."""
        if element.tag in _LEFT_OUT:
            self.left_out[_LEFT_OUT[element.tag]] += 1
            return False
        if element.tag == f"{TEXT}tracked-changes":
            deletions = sum(1 for _ in element.iterfind(f"{TEXT}changed-region/{TEXT}deletion"))
            self.left_out.update({"tracked deletion": deletions} if deletions else {})
            return False
        if element.tag == f"{TEXT}section" and element.get(f"{TEXT}display") == "none":
            self.left_out["hidden text"] += 1
            return False
        return element.tag not in _UNSEEN

    def start(self, element: _Element) -> None:
        """Begin an element, and add the text in front of its first child."""
        super().start(element)
        self._write_text(element.text)

    def end(self, element: _Element) -> None:
        """End an element, and add the text behind it."""
        super().end(element)
        if self.paragraphs:
            self._write_text(element.tail)

    def skip(self, element: _Element) -> None:
        """Pass an element, and add the text behind it."""
        self._write_text(element.tail)

    def _write_text(self, text: str | None) -> None:
        if text:
            self.write(re.sub(r"\s+", " ", text))

    def _add_spaces(self, element: _Element) -> None:
        self.write(" " * min(small_number(element.get(f"{TEXT}c"), 1), _MOST_SPACES))

    def _end_paragraph(self, element: _Element) -> None:
        paragraph = self.paragraphs.pop()
        text = "".join(paragraph.words).strip()
        style = element.get(f"{TEXT}style-name", "")
        heading = max(1, small_number(element.get(f"{TEXT}outline-level"), 1)) if element.tag == f"{TEXT}h" else 0
        number = self._next_number(element, heading) if text else ""
        if text:
            self.deliver(Text(f"{number} {text}" if number else text, min(heading, 10), style in self._styles.titles))
        for item in paragraph.boxes:
            self.deliver(Text(item.text))

    def _next_number(self, element: _Element, heading: int) -> str:
        if self._item is not None:
            (has_number, start), self._item = self._item, None
            return self._styles.next(self._lists[-1], len(self._lists), start) if has_number and self._lists else ""
        if not heading or self._lists or element.get(f"{TEXT}is-list-header") == "true":
            return ""
        own = element.get(f"{TEXT}start-value") if element.get(f"{TEXT}restart-numbering") == "true" else None
        return self._styles.next(OUTLINE, heading, small_number(own, 1) if own else None)

    def _start_list(self, element: _Element) -> None:
        style = element.get(f"{TEXT}style-name") or (self._lists[-1] if self._lists else self._style_inside(element))
        continued = element.get(f"{TEXT}continue-list")
        if continued is not None:
            style = self._style_by_id.get(continued, style)
        elif element.get(f"{TEXT}continue-numbering") != "true":
            self._styles.restart(style, len(self._lists) + 1)
        self._lists.append(style)
        if id := element.get("{http://www.w3.org/XML/1998/namespace}id"):
            self._style_by_id[id] = style

    def _style_inside(self, element: _Element) -> str:
        """Return the list style that the first paragraph of a list names in its own style."""
        first = next(element.iter(f"{TEXT}p", f"{TEXT}h"), None)
        return "" if first is None else self._styles.list_styles.get(first.get(f"{TEXT}style-name", ""), "")

    def _end_list(self, element: _Element) -> None:
        self._lists.pop()
        self._item = None

    def _start_item(self, element: _Element) -> None:
        start = element.get(f"{TEXT}start-value")
        self._item = (True, small_number(start, 1) if start else None)

    def _start_list_header(self, element: _Element) -> None:
        self._item = (False, None)

    def _set_header(self, in_header: bool) -> None:
        self._in_header = in_header

    def _start_table(self, element: _Element) -> None:
        columns = sum(
            min(small_number(one.get(f"{TABLE}number-columns-repeated"), 1), _WIDEST_TABLE)
            for one in element.iterchildren(f"{TABLE}table-column")
        )
        self.start_table(min(columns, _WIDEST_TABLE))

    def _start_cell(self, element: _Element) -> None:
        self.start_cell(small_number(element.get(f"{TABLE}number-columns-spanned"), 1))


def list_and_style_tags() -> set[str]:
    """Return the tags of the elements that `OdfStyles.add` takes."""
    return {f"{STYLE}style", f"{TEXT}list-style", f"{TEXT}outline-style"}
