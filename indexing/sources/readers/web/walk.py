"""Walks through the events of an HTML page, and makes blocks of what a browser shows of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from indexing.sources.document import BlockBuilder
from indexing.sources.readers.web.events import Event
from indexing.sources.readers.web.lists import ListNumbers
from indexing.sources.readers.web.tables import HtmlTable
from indexing.sources.readers.web.text import BlockText

# All other elements, unknown ones too, are parts of a line.
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "dir",
    "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "frameset", "h1", "h2", "h3", "h4",
    "h5", "h6", "header", "hgroup", "hr", "html", "legend", "li", "listing", "main", "menu", "nav", "noframes", "ol",
    "p", "plaintext", "pre", "search", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr",
    "ul", "xmp",
})  # fmt: skip
_PREFORMATTED = frozenset(["pre", "listing", "xmp", "plaintext"])
_LISTS = frozenset(["ol", "ul", "menu", "dir"])
# Parts of a line that stand apart from what is beside them.
_APART = frozenset(["button", "text", "foreignobject"])
# No text for people to read: code, values of controls, the parentheses of ruby (which come with its text).
_NO_TEXT = frozenset(["script", "style", "iframe", "noembed", "annotation", "annotation-xml"])
_NO_TEXT |= {"select", "datalist", "option", "optgroup", "textarea", "rp"}
_NO_TEXT_IN_SVG = frozenset(["title", "desc", "metadata"])
_HIDDEN_STYLE = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b", re.IGNORECASE)
# Longer ones are text that somebody wanted large.
_LONGEST_HEADING = 300
_WORD = re.compile("[\u3040-\u9fff\uac00-\ud7a3]|[^\\W\u3040-\u9fff\uac00-\ud7a3]+")
MENUS, HIDDEN = "navigation menus", "hidden text"


def words(text: str) -> list[str]:
    """Return the words of a text; each Chinese, Japanese or Korean character counts as one."""
    return _WORD.findall(text)


class HtmlWalk:
    """Makes blocks of the events of a page.

    Attributes:
        title: text of the page's <title>.
        left_out: how many words were left out, by kind.
    """

    def __init__(self, builder: BlockBuilder, line_offset: int = 0, *, keeps_menus: bool = False):
        self.title = ""
        self.left_out = Counter[str]()
        self._builder, self._offset, self._keeps_menus = builder, line_offset, keeps_menus
        self._text = BlockText()
        self._lists = ListNumbers()
        self._skipped, self._skipped_as = 0, ""  # depth within an element that is left out; its kind, for a note
        self._in_title = False
        self._svg = self._preformatted = self._headings = 0  # depths
        self._tables: list[HtmlTable | None] = []  # None: one that lays out a page, or a table in a cell of another
        self._cell: dict[str, str] | None = None  # attributes of the open cell of a table of data
        self._cell_line = 0
        self._exponents: list[int] = []

    def walk(self, events: Iterable[Event]) -> None:
        """Add the blocks of a page to the builder."""
        for event in events:
            line = event.line + self._offset
            if event.kind == "text":
                self._add_text(event.value, line)
            elif self._skipped:
                self._skipped += 1 if event.kind == "start" else -1
            elif event.kind == "start":
                self._start(event, line)
            else:
                self._end(event.value, line)
        self._flush()

    def _add_text(self, text: str, line: int) -> None:
        if self._skipped:
            if self._skipped_as:
                self.left_out[self._skipped_as] += len(words(text))
        elif self._in_title:
            self.title = self.title or " ".join(text.split())
        else:
            self._text.add(text, line, preformatted=self._preformatted > 0)

    def _start(self, event: Event, line: int) -> None:
        tag, attributes = event.value, event.attributes
        if (kind := self._kind_left_out(tag, attributes)) is not None:
            self._skipped, self._skipped_as = 1, kind
            if tag in _BLOCKS:
                self._boundary(tag)
            return
        if tag == "title":
            self._in_title = True
        elif tag == "svg":
            self._svg += 1
        elif tag == "br":
            self._end_line()
        elif tag == "img":
            self._text.add(f" {attributes.get('alt') or ''} ", line)
        elif tag == "rt":
            self._text.add("(", line)
        elif tag == "sup":
            self._exponents.append(self._text.mark())
        elif tag in _APART:
            self._text.add(" ", line)
        elif tag in _BLOCKS:
            self._boundary(tag)
            self._start_block(event, line)

    def _start_block(self, event: Event, line: int) -> None:
        tag = event.value
        if tag in _LISTS:
            self._lists.begin(tag, event.attributes)
        elif tag == "li":
            self._text.prefix(self._lists.marker(event.attributes))
        elif tag in _PREFORMATTED:
            self._preformatted += 1
        elif tag == "table":
            self._tables.append(HtmlTable() if event.is_data and self._is_plain() else None)
        elif re.fullmatch("h[1-6]", tag):
            self._headings += 1
        elif (table := self._table()) is not None and self._cell is None:
            if tag in ("td", "th"):
                self._cell, self._cell_line = event.attributes, line
            elif tag == "tr":
                table.begin_row(line)
            elif tag in ("thead", "tbody", "tfoot"):
                table.begin_section(tag)

    def _end(self, tag: str, line: int) -> None:
        if tag == "title":
            self._in_title = False
        elif tag == "svg":
            self._svg -= 1
        elif tag == "rt":
            self._text.add(")", line)
        elif tag == "sup" and self._exponents:
            self._text.raise_from(self._exponents.pop())
        elif tag in _APART:
            self._text.add(" ", line)
        elif tag in _BLOCKS:
            self._end_block(tag, line)

    def _end_block(self, tag: str, line: int) -> None:
        if tag in _PREFORMATTED:
            if self._preformatted == 1 and self._is_plain():
                self._flush()
            self._preformatted -= 1
        elif re.fullmatch("h[1-6]", tag):
            self._headings -= 1
            if self._headings == 0 and self._is_plain():
                self._end_heading(int(tag[1]))
        elif tag in ("td", "th") and self._cell is not None and self._table() is not None:
            self._end_cell(tag, line)
        elif tag == "table" and self._tables:
            table = self._tables.pop()
            if table is not None:
                self._flush()
                table.add_to(self._builder)
        elif tag == "tr" and (table := self._table()) is not None and self._cell is None:
            table.end_row()
        elif tag in ("thead", "tbody", "tfoot") and (table := self._table()) is not None and self._cell is None:
            table.begin_section("tbody")
        self._boundary(tag)
        if tag in _LISTS:
            self._lists.end()
        elif tag == "li":
            self._text.prefix("")

    def _end_heading(self, level: int) -> None:
        first, text = self._text.first, " ".join(self._text.take().split())
        if 0 < len(text) <= _LONGEST_HEADING:
            self._builder.heading(level, text, first)
        elif text:
            self._builder.text(text, first, self._text.last)

    def _end_cell(self, tag: str, line: int) -> None:
        table = self._table()
        assert table is not None
        assert self._cell is not None
        text = " ".join(self._text.take().split())
        table.add_cell(text, self._cell, is_header=tag == "th", first=self._cell_line, last=line)
        self._cell = None

    def _table(self) -> HtmlTable | None:
        return self._tables[-1] if self._tables else None

    def _is_plain(self) -> bool:
        """Return whether text is in no cell and no heading, so that blocks end where elements do."""
        return self._cell is None and self._headings == 0

    def _boundary(self, tag: str) -> None:
        """Divide the text before and after the start or end of a block element."""
        if not self._is_plain():
            # A table in a cell, and a list, keep their items apart in the one line.
            self._text.separate("; " if tag in ("li", "tr") else ", " if tag in ("td", "th") else " ")
        elif self._preformatted:
            self._end_line()
        else:
            self._flush()

    def _end_line(self) -> None:
        if not self._preformatted or not self._text.at_line_start:
            self._text.end_line()

    def _flush(self) -> None:
        if self._text.is_empty:
            return
        preformatted = self._preformatted > 0
        text = self._text.take(preformatted=preformatted)
        add = self._builder.code if preformatted else self._builder.text
        add(text, self._text.first, self._text.last)

    def _kind_left_out(self, tag: str, attributes: dict[str, str]) -> str | None:
        """Return the kind of text, for a note, as which an element is left out; "" without a note, None to keep it."""
        if tag in _NO_TEXT or (self._svg and tag in _NO_TEXT_IN_SVG):
            return ""
        if tag == "nav" and not self._keeps_menus:
            return MENUS
        if tag in ("html", "body"):  # hidden until a script has run
            return None
        if tag in ("noscript", "template") or attributes.get("hidden", "until-found").lower() != "until-found":
            return HIDDEN
        return HIDDEN if _HIDDEN_STYLE.search(attributes.get("style", "")) else None
