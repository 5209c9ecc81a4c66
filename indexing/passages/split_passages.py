"""Splits documents into passages: at sentence ends, also Chinese ones, never across a heading, within a maximum length."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import groupby
from pathlib import PurePosixPath
from typing import NamedTuple

from indexing.passages.cut_text import cut_text
from indexing.passages.split_cache import SplitCache
from indexing.sources.clean_text import clean
from indexing.sources.document import Block, Document
from memgpt_rag.choices import DEFAULT_MAX_PASSAGE_TOKENS
from memgpt_rag.passage import MOST_READ_CHARACTERS, TITLE_SEPARATOR, Passage, shortened_headings

MAX_TITLE_CHARACTERS = 1_000  # that a passage stores of its title


class PassageSplitter:
    """Splits cleaned documents.

    Args:
        count_tokens: returns the number of tokens of a text, by the tokenizer that the limit refers to.
        max_tokens: maximum length of a passage, without its title.
        cache: cache of split points, which is read and extended.
    """

    def __init__(
        self,
        count_tokens: Callable[[str], int],
        max_tokens: int = DEFAULT_MAX_PASSAGE_TOKENS,
        cache: SplitCache | None = None,
    ):
        if max_tokens < 8:
            raise ValueError(f"max_tokens is {max_tokens}; expected 8 or more.")
        self._count, self._cache = count_tokens, cache
        self.max_tokens = max_tokens

    def split(self, document: Document) -> Iterator[Passage]:
        """Yield passages in reading order.

        `start` and `end` count characters of the cleaned blocks, joined by blank lines, and by line breaks before rows. A
        passage that begins inside a table has the table's header above its text.
        """
        offset, times, mentioned = 0, Counter[str](), set[str]()
        for headings, group in groupby(document.blocks, key=lambda block: block.headings):
            title, cut = _title(document.title or _file_title(document), headings)
            blocks = list(group)
            # What models do not read of a title is not lost: it begins the text.
            blocks[:0] = [Block(part, blocks[0].first, blocks[0].first) for part in cut if part not in mentioned]
            mentioned.update(cut)
            section = self._join(blocks)
            for start, end in self._pieces(section):
                first, last = section.block_at(start), section.block_at(end - 1)
                text = section.header_at(start) + section.text[start:end]
                digest = blake2b(f"{title}\n{text}".encode(), digest_size=6).hexdigest()
                times[digest] += 1
                yield Passage(
                    id=_id(document, digest, times[digest]),
                    text=text,
                    title=title,
                    source=document.source,
                    record=document.record,
                    unit=document.unit,
                    first=first.first,
                    last=last.last,
                    start=offset + start,
                    end=offset + end,
                    metadata=document.metadata,
                )
            offset += len(section.text) + 2 if section.text else 0

    def _join(self, blocks: Iterable[Block]) -> _Section:
        """Join the cleaned texts of the blocks of a section; rows of a table follow without a blank line."""
        section, before = _Section([], [], [], [], ""), None
        texts: list[str] = []
        length = 0
        for block in blocks:
            text = clean(block.text, code=block.kind == "code")
            if not text:
                continue
            in_table = before is not None and block.kind == before.kind == "row" and block.header == before.header
            if texts:
                texts.append("\n" if block.kind == "row" else "\n\n")  # a table stays with the text above it
                length += len(texts[-1])
            header = f"{head}\n" if (head := clean(block.header).replace("\n", " ")) else ""
            section.blocks.append(block)
            section.starts.append(length)
            # The header stands in the text where the table begins; later pieces repeat it, if that leaves room for rows.
            section.behind_headers.append(length if in_table else length + len(header))
            section.headers.append(header if not header or self._count(header) <= self.max_tokens // 2 else "")
            texts.append(text if in_table else header + text)
            length += len(texts[-1])
            before = block
        return section._replace(text="".join(texts))

    def _pieces(self, section: _Section) -> list[tuple[int, int]]:
        if not section.text:
            return []
        most = self.max_tokens - max((self._count(header) for header in {*section.headers} if header), default=0)
        known = None if self._cache is None else self._cache.get(section.text, most)
        if known is not None:
            return known
        code = any(block.kind == "code" for block in section.blocks)
        places = list(cut_text(section.text, self._count, most, code=code))
        if self._cache is not None:
            self._cache.put(section.text, most, places)
        return places


class _Section(NamedTuple):
    """The joined text of the blocks under one heading, with each block's start and, of rows, the header of their table."""

    blocks: list[Block]
    starts: list[int]
    behind_headers: list[int]
    headers: list[str]
    text: str

    def block_at(self, at: int) -> Block:
        return self.blocks[self._number(at)]

    def header_at(self, at: int) -> str:
        """Return the table header to repeat above a piece that begins here."""
        number = self._number(at)
        return self.headers[number] if at >= self.behind_headers[number] else ""

    def _number(self, at: int) -> int:
        return bisect_right(self.starts, at) - 1


def _id(document: Document, digest: str, time: int) -> str:
    """Return a unique id of the passage's source and text; it does not depend on the passage's position."""
    record = f"{document.record}/" if document.record else ""
    return f"{document.source}#{record}{digest}" + (f"-{time}" if time > 1 else "")


def _file_title(document: Document) -> str:
    """Return the title of a document without one: its file's name without its suffix; none for a record."""
    return "" if document.record else PurePosixPath(document.source).stem


def _title(title: str, headings: tuple[str, ...]) -> tuple[str, list[str]]:
    """Return the title of a section's passages, and the parts of it that models do not read with them."""
    cleaned = dict.fromkeys(clean(part).replace("\n", " ") for part in (title, *headings) if part.strip())
    parts = [part for one in cleaned for part in one.split(TITLE_SEPARATOR)]
    whole = shortened_headings(parts, MAX_TITLE_CHARACTERS)
    read = shortened_headings(whole, MOST_READ_CHARACTERS)
    # `Passage.short_title` shortens headings only, so a long title without headings is shortened here.
    return TITLE_SEPARATOR.join(whole if len(whole) > 1 else read), [part for part in parts if part not in read]
