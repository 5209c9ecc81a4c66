"""Readers of text formats: plain text, Markdown, HTML."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.sources.clean_text import join_wrapped_lines
from indexing.sources.document import BlockBuilder, Document
from memgpt_rag.errors import SourceError

if TYPE_CHECKING:
    from lxml.etree import _Element
    from markdown_it.token import Token

_BLOCK = 2**20
# A heading on a line of its own in plain text: "3.1. Choosing a release", "Chapter 12. Advanced use" or "第 12 章 高级管理".
# One number with a full stop is more often a step of a list.
_NUMBERED = re.compile(r"(\d{1,3}(?:\.\d{1,3})+)\.?\s+\S.{0,78}")
_CHAPTER = re.compile(
    r"第\s*[\d一二三四五六七八九十百]+\s*章.{0,60}|(?:Chapter|Appendix|CHAPTER|APPENDIX)\s+[\dA-Z]{1,3}\b.{0,78}"
)
_SENTENCE_END = ".!?。！？；;,，:：…"

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


def decoded_lines(path: Path, name: str, encoding: str, newline: str) -> Iterator[str]:
    """Yield the lines of a file with their line ends, one at a time; the whole file is validated before the first one.

    Args:
        newline: line end, as for `open`.

    Raises:
        SourceError: as `decode` does.
    """
    if not _is_text(path, encoding):
        decode(path, name, encoding)  # raises an error with the position
    with path.open(encoding=encoding, newline=newline) as text:
        for number, line in enumerate(text):
            yield line if number else line.removeprefix("\ufeff")


def decode(path: Path, name: str, encoding: str) -> str:
    """Read and decode the text of a file.

    Raises:
        SourceError: a binary file, or text in another encoding, with the offset of the first bad byte.
    """
    content = path.read_bytes()
    if b"\0" in content and not _is_wide(encoding):
        raise SourceError(
            f"{name} is a binary file (byte 0 at offset {content.index(0)}) in no format that is read here; leave it "
            f"out with --exclude '*{path.suffix or path.name}'."
        )
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{name} is not {encoding}: byte 0x{content[error.start]:02X} at offset {error.start}{_guess(content)}; name "
            "its encoding with --encoding, or leave it out with --exclude."
        ) from error


def _is_text(path: Path, encoding: str) -> bool:
    """Return whether a whole file is text in an encoding."""
    decoder, wide = codecs.getincrementaldecoder(encoding)(), _is_wide(encoding)
    with path.open("rb") as file:
        try:
            while block := file.read(_BLOCK):
                decoder.decode(block)
                if b"\0" in block and not wide:
                    return False
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _is_wide(encoding: str) -> bool:
    """Return whether an encoding uses zero bytes in characters."""
    return encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))


def _guess(content: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(content[:65_536]).best()
    return "" if best is None else f"; it looks like {best.encoding}"


def numbered_heading(line: str) -> int | None:
    """Return the level of a numbered heading on a line of its own; None if the line is no such heading."""
    line = line.strip()
    if line.endswith(tuple(_SENTENCE_END)):
        return None
    if _CHAPTER.fullmatch(line):
        return 1
    numbered = _NUMBERED.fullmatch(line)
    return None if numbered is None else 1 + numbered[1].count(".")


def read_text(path: Path, name: str, encoding: str = "utf-8") -> Iterator[Document]:
    """Read a plain text file, with blank lines between paragraphs; a short first line is the title."""
    builder, title = BlockBuilder(), ""
    for number, (first, last, text) in enumerate(join_wrapped_lines(decode(path, name, encoding))):
        alone = first == last
        if number == 0 and alone and len(text) <= 80:
            title = text.strip()
        if alone and (level := numbered_heading(text)) is not None:
            builder.heading(level, text.strip(), first)
        else:
            builder.text(text, first, last)
    yield Document(name, "", title or path.stem, "line", builder.blocks())


def read_markdown(path: Path, name: str, encoding: str = "utf-8") -> Iterator[Document]:
    """Read a Markdown file: headings become titles; lists, tables and code keep their lines; links keep their text."""
    from markdown_it import MarkdownIt

    text = decode(path, name, encoding)
    front = re.match(r"---\n.*?\n---\n", text, re.DOTALL)
    skipped = front[0].count("\n") if front else 0
    builder, title, depth = BlockBuilder(), "", 0
    tokens = MarkdownIt("commonmark").enable("table").parse(text[front.end() :] if front else text)
    lines: list[str] = []
    row: list[str] = []
    span: list[int] | None = None
    for at, token in enumerate(tokens):
        depth += token.nesting
        if token.type == "heading_open":
            heading, level, line = _plain(tokens[at + 1]), int(token.tag[1]), skipped + token.map[0] + 1
            if level == 1 and not title:
                title = heading
            else:
                builder.heading(level, heading, line)
        elif token.type == "inline" and tokens[at - 1].type in ("th_open", "td_open"):
            row.append(_plain(token))
        elif token.type == "tr_close":
            lines.append(" | ".join(row))
            row = []
        elif token.type == "inline" and tokens[at - 1].type != "heading_open":
            lines.append(_plain(token))
        elif token.type in ("fence", "code_block"):
            lines.append(token.content.rstrip("\n"))
        if token.map is not None and token.level == 0:
            span = token.map
        if depth == 0 and lines and span is not None:
            builder.text("\n".join(lines), skipped + span[0] + 1, skipped + span[1])
            lines = []
    yield Document(name, "", title or path.stem, "line", builder.blocks())


def _plain(inline: Token) -> str:
    """Return the text of an inline token without markup."""
    words = []
    for child in inline.children or []:
        if child.type in ("text", "code_inline"):
            words.append(child.content)
        elif child.type == "image":
            words.append(_plain(child))
        elif child.type in ("softbreak", "hardbreak"):
            words.append("\n" if child.type == "hardbreak" else " ")
    return "".join(words)


def read_html(path: Path, name: str, encoding: str = "utf-8") -> Iterator[Document]:
    """Read the visible text of an HTML page: headings become titles; scripts, styles, menus and forms are left out.

    A character set that the page declares takes precedence over `encoding`.
    """
    from lxml import html

    declared = _HTML_CHARSET.search(path.read_bytes()[:4096])
    charset = declared[1].decode("ascii").lower() if declared else encoding
    # Pages that declare gb2312 use characters of its supersets; browsers decode them likewise.
    text = decode(path, name, "gb18030" if charset in ("gb2312", "gbk") else charset)
    builder, title = BlockBuilder(), ""
    if text.strip():
        root = html.document_fromstring(text.encode(), parser=html.HTMLParser(encoding="utf-8"))
        title = " ".join((root.findtext(".//title") or "").split())
        _HtmlWalk(builder).walk(root)
    yield Document(name, "", title or path.stem, "line", builder.blocks())


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
