"""Markdown: headings become titles; lists, tables and code keep their lines; links keep their text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.sources.clean_text import is_wide
from indexing.sources.document import Block, BlockBuilder, Document, Note
from indexing.sources.encodings import decode
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.markup.front_matter import FrontMatter, front_matter
from indexing.sources.readers.markup.html_tags import escape_unknown_tags, inline_html_text, paired_names, shows_nothing
from indexing.sources.readers.web.html import add_html

if TYPE_CHECKING:
    from markdown_it.token import Token

_ALERT = re.compile(r"\[!([\w-]+)\][+-]?[ \t]*")
_ATTRIBUTES = re.compile(r"(?<!\s)\s*\{[#.:][^{}]*\}$")  # of a heading, as in "Prices {#prices}"
_CODE_TITLE = re.compile(r"\btitle=\"([^\"]+)\"|^\{[\w:-]+\}\s*(.+)")
# A list or a quotation longer than this becomes several blocks, so that each has lines of its own.
_LONG = 800


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a Markdown file; `title` of its front matter, or else its only first heading, is the document's title.

    The words of HTML, footnotes, admonitions and front matter are kept; addresses of links and images are not.
    """
    from indexing.sources.readers.markup.markdown_syntax import markdown_parser

    walk, (front, text) = _Walk(), read_text(path, name, options)
    skipped = front.lines if front else 0
    if front:
        walk.add_front_matter(front.title, front.text, skipped)
    environment: dict[str, list[list[int]]] = {}
    walk.add(markdown_parser().parse(text, environment), text.split("\n"), skipped)
    yield Document(name, "", walk.title, "line", walk.blocks())
    if plain := environment.get("plain"):
        first = plain[0][0] + skipped + 1
        others = f" and in {len(plain) - 1} more places" if len(plain) > 1 else ""
        yield Note(name, f"line {first}{others}: text with too much markup was kept as it stands")


def read_text(path: Path, name: str, options: ReadOptions) -> tuple[FrontMatter | None, str]:
    """Return the front matter of a file, and the text behind it."""
    text = re.sub("\r\n?", "\n", decode(path, name, options))
    front = front_matter(text)
    if not front:
        return None, text
    return front, text.split("\n", front.lines)[front.lines] if text.count("\n") >= front.lines else ""


class _Walk:
    """Turns the tokens of Markdown into blocks."""

    def __init__(self) -> None:
        self.title = ""
        self._builder = BlockBuilder()
        self._seen = False  # text before the first heading
        self._line = 1  # of the title
        self._lines: list[str] = []
        self._first = self._last = self._length = 0
        self._marks: list[str] = []  # numbers of list items, marks of footnotes that have no text yet
        self._html: list[str] = []
        self._html_first = self._html_end = 0

    def add_front_matter(self, title: str, text: str, lines: int) -> None:
        self.title = title
        if text:
            self._builder.text(text, 2, max(2, lines - 1))

    def blocks(self) -> tuple[Block, ...]:
        """Return the blocks; a title with nothing under it is text."""
        blocks = self._builder.blocks()
        return blocks or ((Block(self.title, self._line, self._line),) if self.title else ())

    def add(self, tokens: list[Token], source: list[str], skipped: int) -> None:
        """Add all tokens.

        Args:
            source: lines of the text that was parsed.
            skipped: how many lines of the file stand before them.
        """
        self._source, self._skipped = source, skipped
        alone = sum(token.type == "heading_open" and token.tag == "h1" and not token.level for token in tokens) == 1
        numbers = _item_numbers(tokens)
        at = 0
        while at < len(tokens):
            token = tokens[at]
            if token.type == "heading_open" and token.level == 0:
                self._add_heading(token, tokens[at + 1], alone)
                at += 2
            elif token.type == "table_open":
                at = self._add_table(tokens, at)
            elif token.type in ("fence", "code_block"):
                self._add_code(token)
            elif token.type == "html_block":
                self._add_html(token)
            elif token.type == "inline":
                self._add_words(token, quoted=at > 1 and tokens[at - 2].type == "blockquote_open")
            elif token.type == "list_item_open" and at in numbers:
                self._marks.append(numbers[at])
            elif token.type == "footnote_reference_open":
                self._marks.append(f"[{token.meta['label']}]")
            if (token.level == 0 and token.nesting <= 0) or self._length > _LONG:
                self._end_text()
            at += 1
        self._end_text()
        self._end_html()

    def _span(self, token: Token) -> tuple[int, int]:
        """Return the numbers of a token's first and last line in the file."""
        first, end = token.map
        return self._skipped + first + 1, self._skipped + max(end, first + 1)

    def _add_heading(self, token: Token, words: Token, alone: bool) -> None:
        self._end_text()
        self._end_html()
        heading, (first, _) = _ATTRIBUTES.sub("", _plain(words)), self._span(token)
        level = int(token.tag[1])
        if level == 1 and alone and not self.title and not self._seen:
            self.title, self._line = heading, first
        elif heading:
            self._builder.heading(level, heading, first)
        self._seen = True

    def _add_words(self, token: Token, quoted: bool = False) -> None:
        text = _plain(token)
        self._add_line(_ALERT.sub(r"\1: ", text, count=1) if quoted and _ALERT.match(text) else text, token)

    def _add_line(self, text: str, token: Token) -> None:
        if not text.strip():
            return
        self._end_html()
        self._seen = True
        first, last = self._span(token)
        if not self._lines:
            self._first = first
        self._last = last
        self._lines.append(" ".join([*self._marks, text]))
        self._length += len(text)
        self._marks = []

    def _end_text(self) -> None:
        if self._lines:
            self._builder.text("\n".join(self._lines), self._first, self._last)
        self._lines, self._length = [], 0

    def _add_code(self, token: Token) -> None:
        title = _CODE_TITLE.search(token.info)
        self._add_line((title[1] or title[2]) if title else " ".join(self._marks), token)
        self._marks = []
        self._end_text()
        self._end_html()
        code = token.content.rstrip("\n")
        if code.strip():
            self._seen = True
            self._builder.code(code, *self._span(token))

    def _add_table(self, tokens: list[Token], at: int) -> int:
        """Add the table that begins at an index, and return the index of its end."""
        self._add_line(" ".join(self._marks), tokens[at])
        self._marks = []
        self._end_text()
        self._end_html()
        self._seen = True
        rows: list[tuple[str, int, int]] = []
        cells: list[str] = []
        while tokens[at].type != "table_close":
            token = tokens[at]
            if token.type == "tr_open":
                cells, span = [], self._span(token)
                line = self._source[token.map[0]]
            elif token.type == "inline":
                cells.append(_plain(token))
            elif token.type == "tr_close":
                rows.append((" | ".join(cells + _cells_beyond(line, len(cells))), *span))
            at += 1
        (header, first, last), *rows = rows
        rows = [row for row in rows if row[0].strip(" |")]
        if not header.strip(" |"):
            header = ""
        if rows:
            self._builder.table(header, rows)
        elif header:
            self._builder.text(header, first, last)
        return at

    def _add_html(self, token: Token) -> None:
        """Keep a block of HTML; those that follow each other are one, as a table with blank lines between its rows is."""
        self._end_text()
        first, last = token.map
        if not self._html:
            self._html_first = first
        else:
            self._html.append("\n" * (first - self._html_end))
        self._html.append(token.content if token.content.endswith("\n") else token.content + "\n")
        self._html_end = max(last, first + 1)

    def _end_html(self) -> None:
        html, self._html = "".join(self._html), []
        if not html or shows_nothing(html):
            return
        self._seen = True
        first = self._skipped + self._html_first + 1
        title = add_html(self._builder, escape_unknown_tags(html), first)
        if title:
            self._builder.text(title, first, self._skipped + self._html_end)


def _item_numbers(tokens: list[Token]) -> dict[int, str]:
    """Return the number of each item of an ordered list, by its index: as written, or counted where all are alike."""
    numbers: dict[int, str] = {}
    lists: list[list[int]] = []
    for at, token in enumerate(tokens):
        if token.type in ("ordered_list_open", "bullet_list_open"):
            lists.append([])
        elif token.type == "list_item_open" and token.info:
            lists[-1].append(at)
        elif token.type in ("ordered_list_close", "bullet_list_close"):
            items = lists.pop()
            alike = len({tokens[item].info for item in items}) == 1
            for place, item in enumerate(items):
                number = str(int(tokens[item].info) + place) if alike else tokens[item].info
                numbers[item] = number + tokens[item].markup
    return numbers


def _cells_beyond(line: str, columns: int) -> list[str]:
    """Return the cells of a row beyond the columns of its table, which the parser drops."""
    from markdown_it.rules_block.table import escapedSplit

    cells = [cell.strip() for cell in escapedSplit(line.strip(" \t>"))]
    if cells and not cells[0]:
        del cells[0]
    if cells and not cells[-1]:
        del cells[-1]
    return [cell for cell in cells[columns:] if cell]


def _plain(inline: Token) -> str:
    """Return the text of an inline token without markup; images are their alternative text."""
    children = inline.children or []
    paired = paired_names(child.content for child in children if child.type == "html_inline")
    words: list[str] = []
    titles: list[str] = []
    broken = False
    todo: list[Token | str] = list(reversed(children))
    while todo:
        child = todo.pop()
        piece = child if isinstance(child, str) else ""
        if isinstance(child, str):
            pass
        elif child.type in ("text", "text_special", "code_inline"):
            piece = child.content
        elif child.type == "image":
            todo += [_in_brackets(child), *reversed(child.children or [])]
        elif child.type == "link_open":
            titles.append(_in_brackets(child))
        elif child.type == "link_close":
            piece = titles.pop()
        elif child.type == "html_inline":
            piece = inline_html_text(child.content, paired)
        elif child.type == "hardbreak":
            piece = "\n"
        elif child.type == "softbreak":
            broken = True
        if piece and broken:
            # A line break is a space, but not between Chinese characters.
            if not (words and is_wide(words[-1][-1]) and is_wide(piece[0])):
                words.append(" ")
            broken = False
        if piece:
            words.append(piece)
    return "".join(words).strip()


def _in_brackets(token: Token) -> str:
    """Return the title of a link or of an image, to stand after its text; empty if it has none."""
    title = str(token.attrs.get("title", "")).strip()
    return f" ({title})" if title and title != token.content else ""
