"""Drops passages that say nothing new before they cost an embedding.

An exact duplicate has the text of an earlier passage. A near duplicate resembles one (Broder 1997, resemblance of
shingles; candidates by MinHash) and has no word or number that the earlier one lacks: two passages of one pattern that
name another city or year are different facts, and both stay.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from datasketch import MinHash, MinHashLSH

from memgpt_rag.passage import Passage

RESEMBLANCE = 0.9
_PERMUTATIONS = 64
_SHINGLE = 3
# A text of fewer words, "Yes." or "See above.", means something only under its title.
_WORDS_THAT_STAND_ALONE = 8
# Words, and each Chinese or Japanese character by itself.
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W_\u2e80-\u9fff\uf900-\ufaff]+")


@dataclass
class DuplicateCounts:
    exact: int = 0
    near: int = 0


class DuplicateFilter:
    """Remembers what it has let through; of duplicates the first one stays."""

    def __init__(self) -> None:
        self.counts = DuplicateCounts()
        self._seen: set[bytes] = set()
        self._kept: list[tuple[np.ndarray, np.ndarray]] = []
        self._candidates = MinHashLSH(threshold=RESEMBLANCE, num_perm=_PERMUTATIONS)

    def is_new(self, passage: Passage) -> bool:
        """Whether to keep the passage; counts it where not."""
        words = _WORD.findall(unicodedata.normalize("NFKC", passage.text).casefold())
        if len(words) < _WORDS_THAT_STAND_ALONE:
            words = _WORD.findall(unicodedata.normalize("NFKC", passage.titled_text).casefold())
            text = passage.titled_text
        else:
            text = passage.text
        digest = blake2b(text.encode(), digest_size=16).digest()
        if digest in self._seen:
            self.counts.exact += 1
            return False
        self._seen.add(digest)

        said = _hashes(words)
        shingles = _hashes([" ".join(words[at : at + _SHINGLE]) for at in range(max(1, len(words) - _SHINGLE + 1))])
        sketch = MinHash(num_perm=_PERMUTATIONS, hashfunc=int, seed=1)
        sketch.update_batch(shingles.tolist())
        for candidate in self._candidates.query(sketch):
            kept_words, kept_shingles = self._kept[candidate]
            shared = np.intersect1d(shingles, kept_shingles, assume_unique=True).size
            resemblance = shared / (shingles.size + kept_shingles.size - shared)
            if resemblance >= RESEMBLANCE and np.isin(said, kept_words, assume_unique=True).all():
                self.counts.near += 1
                return False
        self._candidates.insert(len(self._kept), sketch)
        self._kept.append((said, shingles))
        return True


def _hashes(pieces: list[str]) -> np.ndarray:
    return np.unique(np.array([zlib.crc32(piece.encode()) for piece in pieces], dtype=np.uint32))
