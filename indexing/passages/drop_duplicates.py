"""Drops duplicate passages before they are embedded.

An exact duplicate has the title and the text of an earlier passage. A near duplicate has the same title, is nearly as long
as an earlier passage and contained in it word for word, apart from case, punctuation and character widths. Resemblance alone
is not enough: two passages that differ in a name, a year, a "not", a sign or an operator, or stand under different headings,
are different facts, and both are kept. A title that is only the file's name does not count, so that a copied file is a duplicate.

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
from pathlib import PurePosixPath

from indexing.seen import SeenRuns, SeenTexts
from memgpt_rag.passage import TITLE_SEPARATOR, Passage

NEARLY = 0.8
_SHINGLE_WORDS = 8
_SKETCH = 4
# Words; each Chinese or Japanese character is a word. So is what changes the meaning beside them: a symbol, "!" before a word, "#"
# behind one, "-" before a number, "*" and "/" between words, and whatever stands between two digits.
_SYMBOLS = r"+<=>^~$%\u00a2-\u00a9\u00ac\u00ae-\u00b1\u00d7\u00f7\u2044\u20a0-\u20cf\u2100-\u24ff\u25a0-\u2bff\U0001f000-\U0001faff"
_WORD = re.compile(
    r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W_\u2e80-\u9fff\uf900-\ufaff]+"
    rf"|[{_SYMBOLS}]|!(?=\w)|(?<=\w)#|(?<!\w)-(?=\d)|(?<=\w)[*/](?=\w)|(?<=\w )[*/](?= \w)|(?<=\d)[^\w\s](?=\d)"
)
_LINE = re.compile(r"([=~+^<>])\1{2,}")  # drawn, as under a heading
_SUPERSCRIPTS = re.compile(r"[\u00b2\u00b3\u00b9\u2070-\u207f]+")  # 10³ is not 103


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
        title = _own_title(passage)
        if not self._texts.add(f"{title}\n{passage.text}"):
            self.counts.exact += 1
            return False
        words = _hashed_words(passage.text)
        if not words:  # nothing that could be alike
            return True
        seed = zlib.crc32(_hashed_words(title).tobytes())
        title_hash = array("I", [seed]).tobytes()
        run = words.tobytes()
        width = _SHINGLE_WORDS * words.itemsize
        shingles = (run[at : at + width] for at in range(0, max(1, len(run) - width + 1), words.itemsize))
        sketch = nsmallest(_SKETCH, {zlib.crc32(shingle, seed) for shingle in shingles})
        longest = len(run) / NEARLY + len(title_hash)
        if any(_contains(kept, title_hash, run) for kept in self._kept.sharing_parts(sketch, longest)):
            self.counts.near += 1
            return False
        self._kept.add(title_hash + run, sketch)
        return True


def _own_title(passage: Passage) -> str:
    """Return the title of a passage without the name of its file, which stands for a missing title of the document."""
    stem = PurePosixPath(passage.source).stem
    if passage.title == stem:
        return ""
    return passage.title.removeprefix(f"{stem}{TITLE_SEPARATOR}")


def _hashed_words(text: str) -> array[int]:
    shown = unicodedata.normalize("NFKC", _SUPERSCRIPTS.sub(r"^\g<0>", _LINE.sub(" ", text)))
    return array("I", (zlib.crc32(word.encode()) for word in _WORD.findall(shown.casefold())))


def _contains(whole: bytes, title_hash: bytes, words: bytes) -> bool:
    """Return whether a passage, as the hash of its title and those of its words, has a title and contains words."""
    if not whole.startswith(title_hash):
        return False
    at = whole.find(words, len(title_hash))
    while at >= 0 and at % len(title_hash):
        at = whole.find(words, at + 1)
    return at >= 0
