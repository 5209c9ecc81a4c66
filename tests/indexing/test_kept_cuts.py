"""Where texts were cut, kept for the next job: the same passages, without a count; nothing of another tokenizer."""

from __future__ import annotations

import sqlite3

import pytest

from indexing.document import Block, Document
from indexing.kept_cuts import KeptCuts
from indexing.split_passages import PassageSplitter
from memgpt_rag.errors import MemoryFormatError

TEXT = " ".join(f"Sentence number {number} says what the others do not say." for number in range(60))
DOCUMENT = Document("a.txt", "", "A title", "line", (Block(TEXT, 1, 9), Block("Short.", 10, 10, ("Heading",))))


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, text: str) -> int:
        self.calls += 1
        return len(text.split())


def test_kept_cuts_give_the_passages_that_counting_gives_and_count_nothing(tmp_path):
    plain = list(PassageSplitter(Counter(), 40).split(DOCUMENT))
    assert len(plain) > 10
    for expected_calls in (True, False):
        count = Counter()
        kept = KeptCuts(tmp_path, "words", count, 40)
        count.calls = 0
        assert list(PassageSplitter(count, 40, kept).split(DOCUMENT)) == plain
        assert bool(count.calls) == expected_calls


def test_cuts_of_another_tokenizer_or_length_are_not_taken(tmp_path):
    KeptCuts(tmp_path, "words", Counter(), 40).put(TEXT, [(0, 9)])
    assert KeptCuts(tmp_path, "words", Counter(), 40).get(TEXT) == [(0, 9)]
    others = [("letters", Counter(), 40), ("words", Counter(), 41), ("words", len, 40)]
    assert [KeptCuts(tmp_path, *other).get(TEXT) for other in others] == [None] * 3


def test_cuts_that_do_not_fit_their_text_are_refused(tmp_path):
    kept = KeptCuts(tmp_path, "words", Counter(), 40)
    kept.put(TEXT, [(0, len(TEXT) + 1)])
    with pytest.raises(MemoryFormatError, match=r"cuts\.sqlite holds cuts that do not fit their text; remove the file"):
        kept.get(TEXT)


def test_a_file_that_is_no_cache_is_refused(tmp_path):
    (tmp_path / "cuts.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(MemoryFormatError, match="cannot keep cuts .* remove it, or free its folder"):
        KeptCuts(tmp_path, "words", Counter(), 40)


def test_the_oldest_half_goes_where_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr("indexing.kept_cuts._MOST_ROWS", 10)
    kept = KeptCuts(tmp_path, "words", Counter(), 40)
    for number in range(11):
        kept.put(f"text {number}", [(0, 1)])
    assert [kept.get(f"text {number}") is None for number in range(11)] == [True] * 5 + [False] * 6
    with sqlite3.connect(kept.path) as file:
        assert file.execute("SELECT count(*) FROM cuts").fetchone() == (6,)
    file.close()
