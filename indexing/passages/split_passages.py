"""Splits documents into passages: at sentence ends, also Chinese ones, never across a heading, within a maximum length."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import groupby
from pathlib import PurePosixPath

from semantic_text_splitter import TextSplitter

from indexing.passages.split_cache import SplitCache
from indexing.sources.clean_text import clean
from indexing.sources.document import Block, Document
from memgpt_rag.choices import DEFAULT_MAX_PASSAGE_TOKENS
from memgpt_rag.passage import Passage

# Titles go into the encoder and the language model with every passage, so long ones are truncated.
MAX_TITLE_CHARACTERS = 120


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
        """Yield passages in reading order; `start` and `end` count characters of the cleaned blocks, joined by two characters."""
        offset, times = 0, Counter[str]()
        for headings, group in groupby(document.blocks, key=lambda block: block.headings):
            blocks, starts, text = self._join(group)
            if not text:
                continue
            for start, piece in self._pieces(text):
                first = blocks[bisect_right(starts, start) - 1]
                last = blocks[bisect_right(starts, start + len(piece) - 1) - 1]
                title = _title(document.title or _file_title(document), headings)
                digest = blake2b(f"{title}\n{piece}".encode(), digest_size=6).hexdigest()
                times[digest] += 1
                yield Passage(
                    id=_id(document, digest, times[digest]),
                    text=piece,
                    title=title,
                    source=document.source,
                    record=document.record,
                    unit=document.unit,
                    first=first.first,
                    last=last.last,
                    start=offset + start,
                    end=offset + start + len(piece),
                    metadata=document.metadata,
                )
            offset += len(text) + 2

    def _join(self, group: Iterator[Block]) -> tuple[list[Block], list[int], str]:
        """Join the cleaned texts of adjacent blocks; returns the blocks, the start of each in the text, and the text."""
        blocks, starts, texts, length = [], [], [], 0
        for block in group:
            text = clean(block.text)
            if text:
                blocks.append(block)
                starts.append(length)
                texts.append(text)
                length += len(text) + 2
        return blocks, starts, "\n\n".join(texts)

    def _pieces(self, text: str) -> Iterator[tuple[int, str]]:
        places = None if self._cache is None else self._cache.get(text)
        if places is not None:
            yield from ((start, text[start:end]) for start, end in places)
            return
        pieces = list(self._cut(text))
        if self._cache is not None:
            self._cache.put(text, [(start, start + len(piece)) for start, piece in pieces])
        yield from pieces

    def _cut(self, text: str) -> Iterator[tuple[int, str]]:
        tokens = self._count(text)
        if tokens <= self.max_tokens:
            yield 0, text
            return
        # Aim at pieces of equal length: a last piece of a few words is a poor entry.
        pieces = -(-tokens // self.max_tokens)
        full = min(self.max_tokens, max(1, round(1.1 * tokens / pieces)))
        yield from TextSplitter.from_callback(self._count, (full, self.max_tokens)).chunk_indices(text)


def _id(document: Document, digest: str, time: int) -> str:
    """Return a unique id of the passage's source and text; it does not depend on the passage's position."""
    record = f"{document.record}/" if document.record else ""
    return f"{document.source}#{record}{digest}" + (f"-{time}" if time > 1 else "")


def _file_title(document: Document) -> str:
    """Return the title of a document without one: its file's name without its suffix; none for a record."""
    return "" if document.record else PurePosixPath(document.source).stem


def _title(title: str, headings: tuple[str, ...]) -> str:
    parts = list(dict.fromkeys(clean(part) for part in (title, *headings) if part.strip()))
    joined = " › ".join(parts)
    return joined if len(joined) <= MAX_TITLE_CHARACTERS else joined[: MAX_TITLE_CHARACTERS - 1] + "…"
