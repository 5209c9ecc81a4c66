"""Markdown: headings become titles; lists, tables and code keep their lines; links keep their text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.encodings import decode
from indexing.sources.read_options import ReadOptions

if TYPE_CHECKING:
    from markdown_it.token import Token


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a Markdown file: headings become titles; lists, tables and code keep their lines; links keep their text."""
    from markdown_it import MarkdownIt

    text = decode(path, name, options)
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
    yield Document(name, "", title, "line", builder.blocks())


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
