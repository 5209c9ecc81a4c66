"""Plain text: paragraphs between blank lines, numbered headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from indexing.sources.clean_text import join_wrapped_lines
from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.encodings import decode
from indexing.sources.read_options import ReadOptions

# A heading on a line of its own in plain text: "3.1. Choosing a release", "Chapter 12. Advanced use" or "第 12 章 高级管理".
# One number with a full stop is more often a step of a list.
_NUMBERED = re.compile(r"(\d{1,3}(?:\.\d{1,3})+)\.?\s+\S.{0,78}")
_CHAPTER = re.compile(
    r"第\s*[\d一二三四五六七八九十百]+\s*章.{0,60}|(?:Chapter|Appendix|CHAPTER|APPENDIX)\s+[\dA-Z]{1,3}\b.{0,78}"
)
_SENTENCE_END = ".!?。！？；;,，:：…"


def numbered_heading(line: str) -> int | None:
    """Return the level of a numbered heading on a line of its own; None if the line is no such heading."""
    line = line.strip()
    if line.endswith(tuple(_SENTENCE_END)):
        return None
    if _CHAPTER.fullmatch(line):
        return 1
    numbered = _NUMBERED.fullmatch(line)
    return None if numbered is None else 1 + numbered[1].count(".")


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a plain text file, with blank lines between paragraphs; a short first line is the title."""
    builder, title = BlockBuilder(), ""
    for number, (first, last, text) in enumerate(join_wrapped_lines(decode(path, name, options))):
        alone = first == last
        if number == 0 and alone and len(text) <= 80:
            title = text.strip()
        if alone and (level := numbered_heading(text)) is not None:
            builder.heading(level, text.strip(), first)
        else:
            builder.text(text, first, last)
    yield Document(name, "", title, "line", builder.blocks())
