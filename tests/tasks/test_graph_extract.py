"""Triples that a language model extracts: whatever it would like to write, they are made of the text."""

from __future__ import annotations

import pytest
from hashing import passage
from tiny import TinyReader

from memgpt_rag.tasks.graph.extract import MOST_FACTS, TripleExtractor

pytest.importorskip("llguidance", reason="the extra `graph` is missing")

ENGLISH = "Ada Lovelace wrote the first program. She was born in London."
CHINESE = "居里夫人出生于华沙，她获得诺贝尔奖。"


@pytest.fixture(scope="module")
def extractor() -> TripleExtractor:
    return TripleExtractor(TinyReader()())


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_subjects_and_objects_are_words_of_the_text_and_no_triple_is_reported_twice(extractor, text):
    found = list(extractor.extract(passage(1, text)))
    assert 1 <= len(found) <= MOST_FACTS
    for triple in found:
        assert triple["source"] == "doc" and triple["line"] == 1
        for end in ("subject", "object"):
            assert triple[end] in text
        assert triple["subject"].casefold() != triple["object"].casefold()
        assert 0 < len(triple["property"]) <= 60
    if text == ENGLISH:  # whole words
        words = ENGLISH.split()
        assert all(
            word in words for triple in found for end in ("subject", "object") for word in triple[end].split()[1:-1]
        )
    shown = [tuple(map(str.casefold, map(str, triple.values()))) for triple in found]
    assert len(shown) == len(set(shown))
