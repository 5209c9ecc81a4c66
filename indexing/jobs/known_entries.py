"""Entries of a memory, looked up by id and by text, so that only changed texts are embedded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b

import numpy as np

from memgpt_rag.memory import MemoryReader
from memgpt_rag.passage import Passage

_BLOCK = 4096


class KnownEntries:
    """Rows of a memory's entries by their id and by their text.

    The index uses eight bytes of a digest for each; matches are compared with the entry itself, so that collisions have no
    effect.
    """

    def __init__(self, memory: MemoryReader):
        self._memory = memory
        self.rows = memory.rows()
        ids, texts = bytearray(), bytearray()
        for passage in self._passages():
            ids += _digest(passage.id)
            texts += _digest(passage.titled_text)
        self._by_id, self._by_text = _Digests(bytes(ids)), _Digests(bytes(texts))

    def same(self, passage: Passage) -> int | None:
        """Return the row of the entry that equals this passage in all fields; None if there is none."""
        return self._find(self._by_id, passage.id, lambda entry: entry == passage)

    def row_with_text(self, titled_text: str) -> int | None:
        """Return the row of an entry with the same titled text, and so the same key; None if there is none."""
        return self._find(self._by_text, titled_text, lambda entry: entry.titled_text == titled_text)

    def keys(self, rows: list[int]) -> np.ndarray:
        """Return the keys of the given rows, of shape [rows, dimension]."""
        return self._memory.keys(rows)

    def _find(self, digests: _Digests, text: str, fits: Callable[[Passage], bool]) -> int | None:
        for place in digests.places(_digest(text)):
            row = int(self.rows[place])
            if fits(self._memory.passages([row])[0]):
                return row
        return None

    def _passages(self) -> Iterator[Passage]:
        for start in range(0, len(self.rows), _BLOCK):
            yield from self._memory.passages(self.rows[start : start + _BLOCK])


class _Digests:
    """Positions of digests in a list."""

    def __init__(self, digests: bytes):
        every = np.frombuffer(digests, dtype="<u8")
        self._order = np.argsort(every, kind="stable")
        self._sorted = every[self._order]

    def places(self, digest: bytes) -> list[int]:
        wanted = np.frombuffer(digest, dtype="<u8")[0]
        first, end = (int(np.searchsorted(self._sorted, wanted, side=side)) for side in ("left", "right"))
        return [int(place) for place in self._order[first:end]]


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
