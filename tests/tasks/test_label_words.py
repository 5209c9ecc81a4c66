"""Examples and labels in tokens, with a tokenizer whose tokens are bytes."""

from __future__ import annotations

import pytest

from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.tasks.classification.label_words import LabelWords

PROMPT = Prompt(byte_tokenizer())


def ids(text):
    return PROMPT.token_ids(text)


def test_an_example_is_its_text_and_its_label_and_a_text_ends_where_its_label_begins():
    words = LabelWords(PROMPT, {"1": "good", "0": "bad"})
    assert words.example_ids(" A film. ", "1") == ids("A film. → good\n\n")
    assert words.text_ids("A film.") == ids("A film. →")
    assert words.label_ids == (ids(" good"), ids(" bad"))


def test_only_the_first_tokens_of_a_text_are_read():
    words = LabelWords(PROMPT, {"1": "good", "0": "bad"}, max_tokens=4)
    assert words.example_ids("A film.", "0") == ids("A fi → bad\n\n")


def test_chinese_labels_follow_without_a_space():
    assert LabelWords(PROMPT, {"1": "好评", "0": "差评"}).label_ids == (ids("好评"), ids("差评"))


def test_labels_of_which_one_begins_another_are_compared_with_their_ends():
    words = LabelWords(PROMPT, {"art": "art", "history": "art history"})
    assert words.label_ids == (ids(" art\n\n"), ids(" art history\n\n"))


def test_words_that_are_too_long_are_refused():
    with pytest.raises(
        ValueError, match=r"The words of the label 'b' have 101 tokens; expected at most 64: give it shorter"
    ):
        _ = LabelWords(PROMPT, {"a": "a", "b": "b" * 100}).label_ids
