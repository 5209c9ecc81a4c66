"""Where texts were split, kept for the next job: the same passages, without a count; nothing of another tokenizer."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from indexing.passages.split_cache import SplitCache
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.document import Block, Document
from memgpt_rag.io.cache_folder import CacheWarning

TEXT = " ".join(f"Sentence number {number} says what the others do not say." for number in range(60))
DOCUMENT = Document("a.txt", "", "A title", "line", (Block(TEXT, 1, 9), Block("Short.", 10, 10, ("Heading",))))


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, text: str) -> int:
        self.calls += 1
        return len(text.split())


def test_kept_splits_give_the_passages_that_counting_gives_and_count_nothing(tmp_path):
    plain = list(PassageSplitter(Counter(), 40).split(DOCUMENT))
    assert len(plain) > 10
    for expected_calls in (True, False):
        count = Counter()
        kept = SplitCache(tmp_path, "words", count, 40)
        count.calls = 0
        assert list(PassageSplitter(count, 40, kept).split(DOCUMENT)) == plain
        assert bool(count.calls) == expected_calls


def test_splits_of_another_tokenizer_or_length_are_not_taken(tmp_path):
    SplitCache(tmp_path, "words", Counter(), 40).put(TEXT, 40, [(0, len(TEXT))])
    assert SplitCache(tmp_path, "words", Counter(), 40).get(TEXT, 40) == [(0, len(TEXT))]
    others = [("letters", Counter(), 40), ("words", Counter(), 41), ("words", len, 40)]
    assert [SplitCache(tmp_path, *other).get(TEXT, 40) for other in others] == [None] * 3


@pytest.mark.parametrize(
    "places",
    [
        [],
        [(0, 5)],
        [(0, len(TEXT) + 1)],
        [(0, 600), (500, len(TEXT))],
        [(500, len(TEXT)), (0, 500)],
        [(0, 0), (0, len(TEXT))],
        [(0, 500), (510, len(TEXT))],
        [(5, len(TEXT))],
    ],
)
def test_places_that_do_not_cover_their_text_are_not_believed(tmp_path, places):
    """Though they were kept so, and their checksum is right."""
    cache, plain = SplitCache(tmp_path, "words", Counter(), 40), list(PassageSplitter(Counter(), 40).split(DOCUMENT))
    cache.put(TEXT, 40, places)
    assert cache.get(TEXT, 40) is None
    assert list(PassageSplitter(Counter(), 40, cache).split(DOCUMENT)) == plain
    assert cache.get(TEXT, 40) is not None


def test_wrong_places_that_cover_their_text_are_not_believed_either(tmp_path):
    cache = SplitCache(tmp_path, "words", Counter(), 40)
    plain = list(PassageSplitter(Counter(), 40, cache).split(DOCUMENT))
    with sqlite3.connect(tmp_path / "splits-2.sqlite") as file:
        file.execute("UPDATE entries SET value = ? WHERE size > 150", (np.array([0, len(TEXT)], "<u4").tobytes(),))
        assert file.execute("SELECT changes()").fetchone() == (1,)
    file.close()
    with pytest.warns(CacheWarning, match=r"splits-2\.sqlite holds values that are not as they were kept"):
        assert list(PassageSplitter(Counter(), 40, cache).split(DOCUMENT)) == plain


def test_a_splitter_goes_on_without_a_cache_that_cannot_be_used(tmp_path):
    (tmp_path / "splits-2.sqlite").write_bytes(b"something else" * 100)
    with pytest.warns(
        CacheWarning, match=r"splits-2\.sqlite cannot be used as a cache .file is not a database"
    ) as shown:
        cache = SplitCache(tmp_path, "words", Counter(), 40)
        split = list(PassageSplitter(Counter(), 40, cache).split(DOCUMENT))
    assert split == list(PassageSplitter(Counter(), 40).split(DOCUMENT))
    assert len(shown) == 1
