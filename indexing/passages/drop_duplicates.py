"""Drops passages that say nothing new before they cost an embedding, and no others.

An exact duplicate has the text of an earlier passage. A near duplicate is nearly as long as an earlier passage and
contained in it word for word, whatever its case, punctuation and character widths. Resemblance alone would not do: two
passages of one pattern that differ in a name, a year or a "not" are different facts, and both stay.

Candidates are passages that share one of the smallest shingle hashes, the bottom sketch of Broder (1997, "On the
resemblance and containment of documents", section 4).
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nsmallest

from indexing.seen import SeenRuns, SeenTexts
from memgpt_rag.passage import Passage

NEARLY = 0.8
_SHINGLE_WORDS = 8
_SKETCH = 4
# A text of fewer words, "Yes." or "See above.", means something only under its title.
_WORDS_THAT_STAND_ALONE = 8
# Words, and each Chinese or Japanese character by itself.
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W_\u2e80-\u9fff\uf900-\ufaff]+")


@dataclass
class DuplicateCounts:
    exact: int = 0
    near: int = 0


class DuplicateFilter:
    """Remembers what it has let through; of duplicates the first one stays.

    Args:
        known: passages that were let through before.
    """

    def __init__(self, known: Iterable[Passage] = ()) -> None:
        self.counts = DuplicateCounts()
        self._texts, self._kept = SeenTexts(), SeenRuns()
        for passage in known:
            self.is_new(passage)
        self.counts = DuplicateCounts()

    def is_new(self, passage: Passage) -> bool:
        """Whether to keep the passage; counts it where not."""
        text = passage.text
        words = _hashed_words(text)
        if len(words) < _WORDS_THAT_STAND_ALONE:
            text = passage.titled_text
            words = _hashed_words(text)
        if not self._texts.add(text):
            self.counts.exact += 1
            return False
        run = words.tobytes()
        width = _SHINGLE_WORDS * words.itemsize
        shingles = (run[at : at + width] for at in range(0, max(1, len(run) - width + 1), words.itemsize))
        sketch = nsmallest(_SKETCH, {zlib.crc32(shingle) for shingle in shingles})
        if any(_contains(kept, run, words.itemsize) for kept in self._kept.of_parts(sketch, len(run) / NEARLY)):
            self.counts.near += 1
            return False
        self._kept.add(run, sketch)
        return True


def _hashed_words(text: str) -> array[int]:
    return array(
        "I", (zlib.crc32(word.encode()) for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
    )


def _contains(whole: bytes, part: bytes, itemsize: int) -> bool:
    """Whether `part` lies in `whole` at a word's boundary."""
    at = whole.find(part)
    while at >= 0 and at % itemsize:
        at = whole.find(part, at + 1)
    return at >= 0
