"""reStructuredText: sections become headings; directives, also those of Sphinx, keep their text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexing.sources.document import Block, BlockBuilder, Document, Note
from indexing.sources.encodings import decode
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.list_numbers import list_number
from indexing.sources.readers.text import plain_text
from indexing.sources.readers.web.html import add_html

# docutils takes more than linear time for larger ones.
_MAX_LINES, _MAX_RUN = 30_000, 200_000  # characters without a blank line
_MAX_LINE, _MAX_TABLE_LINE = 10_000, 1_000
_EMPTY = "\u2060"  # invisible, and removed from the text later
_BORDER = re.compile(r"( *)(=+)(?: +=+)+ *$")
_TABLE_EDGE = re.compile(r"\s*(\+[-=]|==)")
# Elements of a paragraph's own, those whose lines are kept, and those that show nothing.
_LEAVES_NAMES = """
paragraph term line caption rubric attribution subtitle classifier
"""
_LEAVES = set(_LEAVES_NAMES.split())
_CODE = {"literal_block", "doctest_block", "math_block"}
_UNSEEN = {"comment", "target", "substitution_definition", "pending", "colspec", "decoration", "meta"}
_WRAPPED = re.compile(r"(?<!\s)\s*\n\s*")
_WIDE = "[\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\U00020000-\U0003fffd]"
_WRAPPED_CHINESE = re.compile(rf"(?<={_WIDE})\s*\n\s*(?={_WIDE})")
_SETTINGS = {"orphan:", "nosearch:", "nocomments:", "no-search:"}  # of Sphinx, for a page
_SECTIONS = {"document", "section"}
_ADMONITIONS_NAMES = """
note tip hint important warning caution danger attention error
"""
_ADMONITIONS = set(_ADMONITIONS_NAMES.split())
_MARKED = _ADMONITIONS | {"list_item", "field", "footnote", "citation", "option_list_item"}
_ENDS_NAMES = """
section footnote citation topic sidebar admonition figure compound container field_list option_list definition_list
bullet_list enumerated_list block_quote line_block
"""
_ENDS = _ADMONITIONS | set(_ENDS_NAMES.split())
_LONG = 800  # characters of a list or a quotation, after which another block begins
# Kind of numbers in docutils → format for `list_number`.
_NUMBERS = {"loweralpha": "a", "upperalpha": "A", "lowerroman": "i", "upperroman": "I"}


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a reStructuredText file. Files that it includes are not inserted, and no raw format is interpreted.

    A text that docutils cannot read in linear time, or that is nested too deeply for it, is read as plain text.
    """
    text = re.sub("\r\n?", "\n", decode(path, name, options))
    reason = _too_large(text)
    if not reason:
        try:
            left_out: list[str] = []
            tree = _parse(text, left_out)
            walk = _Walk(text.split("\n"))
            walk.add(tree)
        except RecursionError:
            reason = "it is nested too deeply"
    if reason:
        yield from plain_text.read(path, name, options)
        yield Note(name, f"{reason} to be read as reStructuredText; it was read as plain text")
        return
    yield Document(name, "", walk.title, "line", walk.blocks())
    for clause in left_out:
        yield Note(name, clause)


def _too_large(text: str) -> str:
    """Return why a text is too large for docutils; empty if it is not."""
    lines = text.split("\n")
    if len(lines) > _MAX_LINES:
        return f"its {len(lines):,} lines are too many"
    run = 0
    for number, line in enumerate(lines, 1):
        run = run + len(line) if line.strip() else 0
        if len(line) > _MAX_TABLE_LINE and _TABLE_EDGE.match(line):
            return f"its table in line {number} is too wide"
        if len(line) > _MAX_LINE or run > _MAX_RUN:
            return f"its paragraph that reaches line {number} is too long"
    return ""


def _parse(text: str, left_out: list[str]) -> Any:
    """Parse without files, settings, messages or transformations."""
    from docutils import frontend, utils
    from docutils.parsers.rst import Parser

    from indexing.sources.readers.markup.rst_directives import foreign_markup

    parser = Parser()
    settings = frontend.get_default_settings(Parser)
    vars(settings).update(
        {
            "file_insertion_enabled": False,
            "raw_enabled": False,
            "report_level": 5,
            "halt_level": 6,
            "warning_stream": False,
            "line_length_limit": _MAX_LINE,
            "syntax_highlight": "none",
            "tab_width": 4,
        }
    )
    tree = utils.new_document("text", settings)
    with foreign_markup(text, left_out):
        parser.parse(_with_first_cells(text), tree)
    return tree


def _with_first_cells(text: str) -> str:
    """Mark the first cell of a table's row as empty where it is blank: docutils would leave out the whole row."""
    lines = text.split("\n")
    for number, line in enumerate(lines[:-1]):
        border, row = _BORDER.match(line), lines[number + 1]
        if border and row.strip() and not row[: border.end(2)].strip():
            lines[number + 1] = f"{border[1]}{_EMPTY}{row[len(border[1]) + 1 :]}"
    return "\n".join(lines)


class _Walk:
    """Turns the tree of docutils into blocks."""

    def __init__(self, lines: list[str]) -> None:
        self.title = ""
        self._source = lines
        self._builder = BlockBuilder()
        self._lines: list[str] = []
        self._marks: list[str] = []  # numbers of list items, labels of footnotes
        self._first = self._last = self._length = 0
        self._at = 1  # line of the node before
        self._sections = 0  # that are open

    def blocks(self) -> tuple[Block, ...]:
        """Return the blocks; a title with nothing under it is text."""
        blocks = self._builder.blocks()
        return blocks or ((Block(self.title, 1, 1),) if self.title else ())

    def add(self, tree: Any) -> None:
        """Add all nodes of a document, in order."""
        from docutils import nodes

        self._substitutions = {
            name: node.astext() for node in tree.findall(nodes.substitution_definition) for name in node["names"]
        }
        parts = [node for node in tree.children if node.tagname not in _UNSEEN | {"system_message", "field_list"}]
        whole = parts[0] if len(parts) == 1 and parts[0].tagname == "section" else None  # its title is the document's
        todo: list[Any] = [tree]
        while todo:
            node = todo.pop()
            if isinstance(node, str):  # the end of an element
                self._end(node)
                continue
            self._at = node.line or self._at
            name = node.tagname
            if name in _UNSEEN:
                continue
            if name == "title" and node.parent is whole:
                self.title = self._text(node)
            elif name == "title" and node.parent.tagname == "section":
                self._end_text()
                self._builder.heading(self._sections, self._text(node), self._at)
            elif name in _CODE or name == "raw":
                self._add_source(node)
            elif name == "table":
                self._add_table(node)
            elif name == "image":
                self._add_words(str(node.get("alt", "")), node)
            elif name == "system_message":
                # What was in error is in a literal block; the message itself is not of the author.
                todo += reversed([child for child in node.children if child.tagname == "literal_block"])
            elif name in _LEAVES or name == "title":
                self._add_words(self._text(node), node)
            else:
                self._begin(node, name)
                todo += [name, *reversed(node.children)]

    def _begin(self, node: Any, name: str) -> None:
        if name == "section":
            self._sections += 1
        elif name == "list_item" and node.parent.tagname == "enumerated_list":
            self._marks.append(_number(node))
        elif name == "label":
            self._marks.append(f"[{node.astext()}]")
        elif name == "field_name":
            self._marks.append(f"{node.astext()}:")
        elif name == "option_group":
            self._marks.append(node.astext())
        elif name in _ADMONITIONS:
            self._marks.append(f"{name.capitalize()}:")

    def _end(self, name: str) -> None:
        """End an element with a tag name; a list item without text is left out, and a field without text is its own name."""
        if name == "field" and self._marks and self._marks[-1].lower() not in _SETTINGS:
            self._lines.append(" ".join(self._marks))
            self._first, self._last = (self._first, self._at) if len(self._lines) > 1 else (self._at, self._at)
        if name in _MARKED:
            self._marks = []
        if name in _ENDS or self._length > _LONG:
            self._end_text()
        self._sections -= name == "section"

    def _add_words(self, text: str, node: Any) -> None:
        if not text.strip():
            return
        last = self._at + node.rawsource.strip().count("\n")
        if not self._lines:
            self._first = self._at
        self._last = max(last, self._first)
        self._lines.append(" ".join([*self._marks, text]))
        self._length += len(text)
        self._marks = []
        if node.parent.tagname in _SECTIONS:
            self._end_text()

    def _end_text(self) -> None:
        if self._lines:
            self._builder.text("\n".join(self._lines), self._first, self._last)
        self._lines, self._length = [], 0

    def _add_source(self, node: Any) -> None:
        """Add a block of code; of raw HTML, its words."""
        text = node.astext().rstrip()
        self._add_words(" ".join(self._marks), node)
        self._marks = []
        self._end_text()
        if node.tagname == "raw" and "html" in node.get("format", ""):
            add_html(self._builder, text, self._at)
        elif text.strip():
            self._builder.code(text, self._at, self._at + text.count("\n"))

    def _add_table(self, table: Any) -> None:
        top = self._at
        header: list[tuple[str, int, int]] = []
        rows: list[tuple[str, int, int]] = []
        for group in table.children:
            if group.tagname == "title":
                self._add_words(self._text(group), group)
            for part in group.children if group.tagname == "tgroup" else ():
                for row in part.children if part.tagname in ("thead", "tbody") else ():
                    (header if part.tagname == "thead" else rows).append(self._row(row, top))
        self._add_words(" ".join(self._marks), table)
        self._marks = []
        self._end_text()
        rows = [row for row in rows if row[0].strip(" |")]
        if rows:
            self._builder.table("\n".join(text for text, _, _ in header), rows)
        else:
            for text, first, last in header:
                self._builder.text(text, first, last)

    def _row(self, row: Any, top: int) -> tuple[str, int, int]:
        """Return text, first and last line of a row of a table that begins in line `top`."""
        cells, lines = [], []
        for entry in row.children:
            leaves = [node for node in entry.findall() if node.tagname in _LEAVES | _CODE | {"image"}]
            cells.append(" ".join(filter(None, map(self._text, leaves))))
            for leaf in leaves:
                if leaf.line and leaf.line >= top:  # those of a CSV table are counted within it
                    lines += [leaf.line, leaf.line + leaf.rawsource.strip().count("\n")]
        return " | ".join(cells).replace(_EMPTY, ""), min(lines, default=top), max(lines, default=top)

    def _text(self, node: Any) -> str:
        """Return the text of an element in one line, without markup."""
        words: list[str] = []
        todo = [node]
        while todo:
            part = todo.pop()
            name = part.tagname
            if name == "#text":
                words.append(str(part))
            elif name == "substitution_reference":
                words.append(self._substitutions.get(part.get("refname", ""), part.astext()))
            elif name in ("footnote_reference", "citation_reference"):
                words.append(f"[{part.astext() or part.get('refname', '#')}]")
            elif name == "image":
                words.append(str(part.get("alt", "")))
            else:
                todo += reversed(part.children)
        return _WRAPPED.sub(" ", _WRAPPED_CHINESE.sub("", "".join(words))).strip()


def _number(item: Any) -> str:
    """Return the number of an item of an enumerated list, as the list begins and counts."""
    around = item.parent
    place = int(around.get("start", 1)) + around.index(item)
    number = list_number(place, _NUMBERS.get(around.get("enumtype", ""), "decimal"))
    return f"{around.get('prefix', '')}{number}{around.get('suffix', '.')}"
