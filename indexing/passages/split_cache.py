"""Cache of the split points of texts: one file for all tokenizers, bounded in bytes.

Splitting tokenizes each text about four times; the split points depend only on the text, the tokenizer and the maximum length.
A tokenizer is identified by its name and its token counts of known texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from memgpt_rag.encoders.probe_texts import JUDGED_QUERIES
from memgpt_rag.memory.caches.sqlite_cache import SqliteCache

# Version of `PassageSplitter`, increased when it splits differently, so that older split points are not used.
_RECIPE = 3
_MAX_BYTES = 2**27


class SplitCache:
    """Cache of the start and end of each piece of a text, in characters.

    Args:
        folder: folder of the cache; it need not exist.
        tokenizer: name of the tokenizer.
        count_tokens: returns the tokenizer's number of tokens of a text.
        max_tokens: maximum length of a passage.
    """

    def __init__(self, folder: Path, tokenizer: str, count_tokens: Callable[[str], int], max_tokens: int):
        counts = [count_tokens(text) for text in JUDGED_QUERIES]
        identity = json.dumps([_RECIPE, version("semantic-text-splitter"), tokenizer, counts, max_tokens])
        self._cache = SqliteCache(folder, "splits", identity, _MAX_BYTES)

    def get(self, text: str, most: int) -> list[tuple[int, int]] | None:
        """Return the places of a text's pieces of at most so many tokens; None where they are not cached, or not valid."""
        (data,) = self._cache.get([_key(text, most)])
        if data is None or len(data) % 8:
            return None
        places = [(start, end) for start, end in np.frombuffer(data, "<u4").reshape(-1, 2).tolist()]
        return places if _cover(places, text) else None

    def put(self, text: str, most: int, places: list[tuple[int, int]]) -> None:
        """Store the places of a text's pieces."""
        self._cache.put([_key(text, most)], [np.asarray(places, "<u4").tobytes()])


def _key(text: str, most: int) -> bytes:
    return f"{most}\n{text}".encode()


def _cover(places: list[tuple[int, int]], text: str) -> bool:
    """Return whether pieces are in order and skip nothing but white space."""
    before = 0
    for start, end in places:
        if not before <= start < end <= len(text) or text[before:start].strip():
            return False
        before = end
    return not text[before:].strip()
