"""What holds an answer: the one definition that training, confidence and evaluation share."""

from __future__ import annotations

import doctest

import pytest

from memgpt_rag.answering import answer_match
from memgpt_rag.answering.answer_match import holds_answer


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("It cost 35 yuan.", "5 yuan", False),
        ("It cost 35 yuan.", "35 Yuan", True),
        ("Boats cost  40 Yuan\nan hour.", "40 yuan an hour", True),
        ("It cost 40 yuan, an hour's worth.", "40 yuan an hour", True),
        ("他今年35岁。", "35", True),
        ("他今年135岁。", "35", False),
        ("河流在旧港口入海。", "旧港口", True),
        ("河流在旧 港口入海。", "旧港口", True),
        ("The incarnation", "car", False),
        ("a car", "A car", True),
        ("In the\nold  harbour", "the old harbour", True),
        ("for $5", "$5", True),
        ("Vitamin A", "A", True),
        ("Vitamin B", "A", False),
        ("Vitamin B", "a", False),
        ("Boats cost money.", "a", False),
        ("Blood group A is common", "A", True),
        ("Blood group AB is rare", "A", False),
        ("Separate them with |", "|", True),
        ("run make && make install", "&&", True),
        ("run make & make install", "&&", False),
        ("Nothing", " ", False),
        ("Nothing", "?", False),
        ("ﾊｰﾌ １２", "12", True),
    ],
)
def test_a_text_holds_an_answer_as_whole_words(text, answer, expected):
    assert holds_answer(text, answer) == expected


def test_the_example_of_the_docstring_is_true():
    assert doctest.testmod(answer_match) == (0, 1)
