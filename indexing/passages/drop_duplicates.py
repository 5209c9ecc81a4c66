"""Drops duplicate passages before they are embedded.

An exact duplicate has the text of an earlier passage. A near duplicate is nearly as long as an earlier passage and
contained in it word for word, apart from case, punctuation and character widths. Resemblance alone is not enough: two
passages of one pattern that differ in a name, a year or a "not" are different facts, and both are kept.

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
# A text of fewer words, such as "Yes." or "See above.", depends on its title, which is compared, too.
_WORDS_THAT_STAND_ALONE = 8
# Words; each Chinese or Japanese character is a word.
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W_\u2e80-\u9fff\uf900-\ufaff]+")


@dataclass
class DuplicateCounts:
    """Numbers of exact and near duplicates that were dropped."""

    exact: int = 0
    near: int = 0


class DuplicateFilter:
    """Decides which passages are new; the first one of several duplicates is kept.

    Args:
        known: passages that are kept already.
    """

    def __init__(self, known: Iterable[Passage] = ()) -> None:
        self.counts = DuplicateCounts()
        self._texts, self._kept = SeenTexts(), SeenRuns()
        for passage in known:
            self.is_new(passage)
        self.counts = DuplicateCounts()

    def is_new(self, passage: Passage) -> bool:
        """Return whether a passage is new; duplicates are counted."""
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
        if any(_contains(kept, run, words.itemsize) for kept in self._kept.sharing_parts(sketch, len(run) / NEARLY)):
            self.counts.near += 1
            return False
        self._kept.add(run, sketch)
        return True


def _hashed_words(text: str) -> array[int]:
    return array(
        "I", (zlib.crc32(word.encode()) for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
    )


def _contains(whole: bytes, part: bytes, itemsize: int) -> bool:
    """Return whether `whole` contains `part` at a word boundary."""
    at = whole.find(part)
    while at >= 0 and at % itemsize:
        at = whole.find(part, at + 1)
    return at >= 0
