"""HTML: the visible text of a page; headings become titles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.encodings import decode
from indexing.sources.read_options import ReadOptions

if TYPE_CHECKING:
    from lxml.etree import _Element

_HTML_INLINE = {
    "a",
    "abbr",
    "b",
    "bdi",
    "bdo",
    "cite",
    "code",
    "del",
    "dfn",
    "em",
    "font",
    "i",
    "ins",
    "kbd",
    "label",
    "mark",
}
_HTML_INLINE |= {
    "q",
    "rp",
    "rt",
    "ruby",
    "s",
    "samp",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "time",
    "tt",
    "u",
    "var",
    "wbr",
}
_HTML_UNSEEN = {
    "head",
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "nav",
    "iframe",
    "object",
    "select",
    "button",
    "form",
}
_HTML_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read the visible text of an HTML page: headings become titles; scripts, styles, menus and forms are left out.

    A character set that the page declares takes precedence over `encoding`.
    """
    from lxml import html

    declared = _HTML_CHARSET.search(path.read_bytes()[:4096])
    charset = declared[1].decode("ascii").lower() if declared else options.encoding
    # Pages that declare gb2312 use characters of its supersets; browsers decode them likewise.
    text = decode(path, name, "gb18030" if charset in ("gb2312", "gbk") else charset)
    builder, title = BlockBuilder(), ""
    if text.strip():
        root = html.document_fromstring(text.encode(), parser=html.HTMLParser(encoding="utf-8"))
        title = " ".join((root.findtext(".//title") or "").split())
        _HtmlWalk(builder).walk(root)
    yield Document(name, "", title, "line", builder.blocks())


class _HtmlWalk:
    """Collects the text between two block elements into one block."""

    def __init__(self, builder: BlockBuilder):
        self._builder = builder
        self._words: list[str] = []
        self._line = 1

    def walk(self, element: _Element, preformatted: bool = False) -> None:
        tag = element.tag
        if not isinstance(tag, str) or tag in _HTML_UNSEEN:
            return
        preformatted = preformatted or tag == "pre"
        block = tag not in _HTML_INLINE and tag not in ("td", "th", "br", "img")
        if block:
            self._flush(element)
        self._add(element.text, preformatted)
        for child in element:
            self.walk(child, preformatted)
            self._add(child.tail, preformatted)
        if tag == "br":
            self._words.append("\n")
        elif tag in ("td", "th") and element.getnext() is not None:
            self._words.append(" | ")
        elif block:
            self._flush(element, heading=int(tag[1]) if re.fullmatch("h[1-6]", tag) else None)

    def _add(self, text: str | None, preformatted: bool) -> None:
        if text:
            self._words.append(text if preformatted else re.sub(r"\s+", " ", text))

    def _flush(self, element: _Element, heading: int | None = None) -> None:
        text, self._words = "".join(self._words).strip(), []
        line = element.sourceline or self._line
        if text and heading is not None:
            self._builder.heading(heading, " ".join(text.split()), line)
        elif text:
            self._builder.text(text, self._line, max(self._line, line))
        self._line = line
