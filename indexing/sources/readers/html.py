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
    declared = _HTML_CHARSET.search(path.read_bytes()[:4096])
    charset = declared[1].decode("ascii").lower() if declared else options.encoding
    # Pages that declare gb2312 use characters of its supersets; browsers decode them likewise.
    text = decode(path, name, "gb18030" if charset in ("gb2312", "gbk") else charset)
    builder = BlockBuilder()
    title = add_html(builder, text)
    yield Document(name, "", title, "line", builder.blocks())


def add_html(builder: BlockBuilder, text: str, first_line: int = 1) -> str:
    """Add the visible text of a page, or of a fragment of HTML, to the blocks of a document.

    Args:
        builder: where the blocks go; a fragment continues its present section.
        text: the source of the page, decoded.
        first_line: number of the fragment's first line in the file that it stands in.

    Returns:
        the page's own title; empty if it has none.
    """
    from lxml import etree, html

    if not text.strip():
        return ""
    try:
        root = html.document_fromstring(text.encode(), parser=html.HTMLParser(encoding="utf-8", huge_tree=True))
    except etree.ParserError:  # no element and no text, as in a page that is only a comment
        return ""
    _HtmlWalk(builder, first_line - 1).walk(root)
    return " ".join((root.findtext(".//title") or "").split())


class _HtmlWalk:
    """Collects the text between two block elements into one block."""

    def __init__(self, builder: BlockBuilder, offset: int = 0):
        self._builder = builder
        self._words: list[str] = []
        self._offset = offset
        self._line = 1 + offset

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
        line = element.sourceline + self._offset if element.sourceline else self._line
        if text and heading is not None:
            self._builder.heading(heading, " ".join(text.split()), line)
        elif text:
            self._builder.text(text, self._line, max(self._line, line))
        self._line = line
