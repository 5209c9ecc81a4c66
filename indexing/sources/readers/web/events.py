"""Parses HTML into a flat list of events: starts and ends of elements, and text, each with its line.

A list, not a tree: no depth of nesting is too much for it, and lines have no upper limit.
"""

from __future__ import annotations

import html
import re
from typing import Literal, NamedTuple

from lxml import etree

_CDATA = re.compile(r"<!\[CDATA\[((?:(?!<!\[CDATA\[).)*?)\]\]>", re.DOTALL)
# A cell that holds more is a part of a page's layout. A header says that the table is one of data, within reason.
_LONG_CELL, _LONG_CELL_UNDER_HEADER = 1_500, 4_000


_NO_ATTRIBUTES: dict[str, str] = {}


class Event(NamedTuple):
    """A step through a page.

    Attributes:
        kind: "start" or "end" of an element, or "text".
        value: tag in lower case, or the text.
        line: line in which the tag ends, or the text begins.
        attributes: attributes of a start.
        is_data: of the start of a table: it holds data, in rows and columns; False for one that lays out a page.
    """

    kind: Literal["start", "end", "text"]
    value: str
    line: int
    attributes: dict[str, str] = _NO_ATTRIBUTES
    is_data: bool = False


def parse(text: str) -> list[Event]:
    """Parse a page or a fragment as browsers do: every start has its end, also where the source leaves it out."""
    text = _with_ends(text.replace("\r\n", "\n").replace("\r", "\n"))
    recorder = _Recorder()
    parser = etree.HTMLParser(target=recorder, encoding="utf-8", huge_tree=True)
    chunk: list[bytes] = []
    # A parser's target is not given lines. So the parser gets the text up to the end of each line with a tag.
    for number, line in enumerate(text.encode("utf-8", "replace").split(b"\n"), 1):
        chunk.append(line)
        if b"<" in line or b">" in line:
            recorder.tag_line = number
            parser.feed(b"\n".join(chunk))
            chunk = [b""]
    parser.feed(b"\n".join(chunk) or b" ")
    parser.close()
    return recorder.events


def _with_ends(text: str) -> str:
    """Return the source so that a title or text area without an end, and XHTML's CDATA, do not hide the rest of it."""
    if "<![CDATA[" in text:
        text = _CDATA.sub(lambda found: html.escape(found[1], quote=False), text)
    for tag in ("title", "textarea"):
        if not re.search(f"</{tag}", text, re.IGNORECASE):
            text = re.sub(f"<{tag}(?=[\\s>])", "<p", text, flags=re.IGNORECASE)
    return text


class _Table:
    """What the parser has seen of an open table."""

    def __init__(self, start: int, attributes: dict[str, str]):
        self.start = start
        self.has_header = self.has_structure = False
        self.is_layout = attributes.get("role", "").lower() in ("presentation", "none")
        self.longest = self.cell_start = 0

    def is_data(self) -> bool:
        if self.is_layout:
            return False
        if self.has_header:
            return self.longest <= _LONG_CELL_UNDER_HEADER
        return not self.has_structure and self.longest <= _LONG_CELL


class _Recorder:
    """Target of lxml's parser."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.tag_line = 1  # in which the present tag ends
        self._line = 1
        self._text: list[str] = []
        self._characters = 0
        self._tables: list[_Table] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._end_text()
        if self._tables:
            table = self._tables[-1]
            if tag == "th":
                table.has_header = True
            elif tag in ("table", "pre") or re.fullmatch("h[1-6]", tag):
                table.has_structure = True
            if tag in ("td", "th"):
                table.cell_start = self._characters
        if tag == "table":
            self._tables.append(_Table(len(self.events), attributes))
        self.events.append(Event("start", tag, self.tag_line, attributes))

    def end(self, tag: str) -> None:
        self._end_text()
        if self._tables and tag in ("td", "th"):
            table = self._tables[-1]
            table.longest = max(table.longest, self._characters - table.cell_start)
        elif self._tables and tag == "table":
            table = self._tables.pop()
            self.events[table.start] = self.events[table.start]._replace(is_data=table.is_data())
        self.events.append(Event("end", tag, self.tag_line))

    def data(self, text: str) -> None:
        self._text.append(text)

    def comment(self, text: str) -> None:
        self._end_text()

    def pi(self, target: str, data: str | None = None) -> None:
        self._end_text()

    def close(self) -> None:
        self._end_text()

    def _end_text(self) -> None:
        if self._text:
            text, self._text = "".join(self._text), []
            self.events.append(Event("text", text, self._line))
            self._characters += len(text)
        self._line = self.tag_line
