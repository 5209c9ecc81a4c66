"""Plain text: paragraphs between blank lines, headings, and code or other lines that are laid out by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from indexing.sources.clean_text import full_width, join_paragraph, paragraphs, split_lines
from indexing.sources.document import Block, BlockBuilder, Document, Note
from indexing.sources.encodings import decode
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.text.code import has_columns, is_code, is_ragged
from indexing.sources.readers.text.headings import (
    QUESTION_LEVEL,
    capitals_heading,
    heading_lines,
    is_rule,
    numbered_level,
    question_number,
    underline,
)
from indexing.sources.readers.text.layout import Contents, entry_key, find_contents, page_furniture
from memgpt_rag.io.printable import counted, shortened

_CODE_INDENT = 4  # columns of a code block's indentation, relative to most of the text


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a plain text file, with blank lines between paragraphs; a short first line is the title.

    Headers and footers of pages, and tables of contents, are left out, with a note.

    Raises:
        SourceError: it is no text.
    """
    lines = split_lines(decode(path, name, options))
    furniture = page_furniture(lines) if any("\f" in line for line in lines) else set()
    if furniture:
        example = shortened(lines[min(furniture)].strip("\f \t"), 60)
        yield Note(name, f"{counted(len(furniture), 'line')} of page headers and footers left out, such as {example!r}")
    lines = ["" if number in furniture else line.replace("\f", "") for number, line in enumerate(lines)]
    contents = find_contents(lines)
    for first, last, count in contents.ranges:
        yield Note(
            name,
            f"a table of contents of {counted(count, 'entry', 'entries')} left out (lines {first + 1:,} to {last + 1:,})",
        )
    lines = ["" if number in contents.lines else line for number, line in enumerate(lines)]
    title = next((line.strip() for line in lines if line.strip()), "")
    alone = next((len(paragraph) == 1 or is_rule(paragraph[1]) for _, paragraph in paragraphs(lines)), False)
    yield Document(name, "", title if alone and len(title) <= 80 else "", "line", _TextReader(lines, contents).blocks())


@dataclass(frozen=True)
class _Paragraph:
    """Lines without a blank one between them, and the number of the first, from 1."""

    first: int
    lines: list[str]

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1

    @property
    def indent(self) -> int:
        """Columns before every line."""
        return min(len(line) - len(line.lstrip()) for line in self.lines)


class _TextReader:
    """Turns the lines of a text into blocks."""

    def __init__(self, lines: list[str], contents: Contents):
        self._lines, self._contents = lines, contents
        self._paragraphs = [_Paragraph(first, paragraph) for first, paragraph in paragraphs(lines)]
        self._full = full_width(lines)
        self._builder = BlockBuilder()
        self._underlines: dict[str, int] = {}  # underlining character → level, in the order in which they occur
        self._question: int | None = None  # number of the FAQ's question that was last found
        indents: Counter[int] = Counter()
        for paragraph in self._paragraphs:
            indents[paragraph.indent] += len(paragraph.lines)
        self._indent = max(indents, key=lambda indent: (indents[indent], -indent), default=0)

    def blocks(self) -> tuple[Block, ...]:
        """Return the blocks of the text."""
        code: list[_Paragraph] = []
        for paragraph in self._paragraphs:
            is_code = self._is_code(paragraph)
            if code and not is_code:
                self._add_code(code)
                code = []
            if is_code:
                code.append(paragraph)
            else:
                self._add(paragraph)
        if code:
            self._add_code(code)
        return self._builder.blocks()

    def _is_code(self, paragraph: _Paragraph) -> bool:
        lines = paragraph.lines
        if any(is_rule(line) for line in lines[:3]) or self._heading(paragraph) is not None:
            return has_columns(lines) and len(lines) > 2
        indented = paragraph.indent >= self._indent + _CODE_INDENT
        return is_code(lines) or has_columns(lines) or (indented and is_ragged(lines, self._full))

    def _add_code(self, code: list[_Paragraph]) -> None:
        """Add paragraphs of code that follow each other as one block, with the blank lines between them."""
        lines = [line.rstrip() for line in self._lines[code[0].first - 1 : code[-1].last]]
        indent = min(paragraph.indent for paragraph in code)
        self._builder.code("\n".join(line[indent:] for line in lines), code[0].first, code[-1].last)

    def _add(self, paragraph: _Paragraph) -> None:
        """Add a paragraph's heading, if it begins with one, and its text."""
        found = self._underlined(paragraph) or self._heading(paragraph)
        lines, first = paragraph.lines, paragraph.first
        if found is not None:
            level, heading, used = found
            self._question = question_number(heading) if level == QUESTION_LEVEL else None
            self._builder.heading(level, heading, first + is_rule(lines[0]))
            lines, first = lines[used:], first + used
        worded = [number for number, line in enumerate(lines) if not is_rule(line)]
        if worded:  # lines drawn above and below are left out
            lines, first = lines[worded[0] : worded[-1] + 1], first + worded[0]
            self._builder.text(join_paragraph(lines, self._full), first, first + len(lines) - 1)

    def _heading(self, paragraph: _Paragraph) -> tuple[int, str, int] | None:
        """Return level and text of a heading at a paragraph's start, and its number of lines."""
        lines = [line.strip() for line in paragraph.lines[:8]]
        known = self._contents.entries.get(entry_key(lines[0]) or "", "")
        if paragraph.indent > self._indent and not known:
            return None
        found = heading_lines(lines, self._full, known, self._question)
        if found is None and len(lines) > 1 and (level := capitals_heading(lines[0])) is not None:
            first, second = (len(line) - len(line.lstrip()) for line in paragraph.lines[:2])
            found = (1, level) if second > first else None  # as in manual pages
        return found and (found[1], join_paragraph(lines[: found[0]], 100).replace("\n", " "), found[0])

    def _underlined(self, paragraph: _Paragraph) -> tuple[int, str, int] | None:
        """Return the same of a heading of one or two lines that is underlined, and may have a line above it, too."""
        lines = [line.strip() for line in paragraph.lines[:4]]
        above = int(is_rule(lines[0]))
        for count in (1, 2):
            title = lines[above : above + count]
            if len(lines) <= above + count or any(is_rule(line) for line in title):
                continue
            mark = underline(
                lines[above + count], max(title, key=len), boxed=above == 1 and lines[0] == lines[above + count]
            )
            if mark is not None:
                heading = " ".join(title)
                style = mark * (1 + above)
                level = self._underlines.setdefault(style, len(self._underlines) + 1)
                return numbered_level(heading) or level, heading, above + count + 1
        return None
