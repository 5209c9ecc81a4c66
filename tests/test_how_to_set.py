"""The how-to questions: what each needs, and that its reference answer stands in the manual where the manuals are there."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.how_to_set import MANUALS, read_questions, squeezed
from benchmarks.question_sets import DATA
from memgpt_rag.passage import Passage

QUESTIONS = read_questions()
FOLDER = DATA / MANUALS


def passage(question, text, title="", source=None):
    source = source or f"manuals/{question.file}"
    return Passage("p", text, title, source, question.record, "line", 1, 1, 0, len(text))


def test_there_are_as_many_questions_in_each_language_and_some_about_every_manual():
    assert len({question.name for question in QUESTIONS}) == len({question.question for question in QUESTIONS}) == 60
    assert Counter(question.language for question in QUESTIONS) == {"en": 30, "zh": 30}
    assert min(Counter(question.file for question in QUESTIONS).values()) >= 7
    assert len({question.file for question in QUESTIONS}) == 8


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_a_reference_is_usable_and_a_question_or_half_the_facts_are_not(question):
    assert question.is_usable("\n".join(question.reference))
    assert not question.is_usable(question.question)
    for place in range(len(question.facts)):
        others = [ways[0] for number, ways in enumerate(question.facts) if number != place]
        missing = question.facts[place]
        if not any(squeezed(way) in squeezed(" ".join(others)) for way in missing):
            assert not question.is_usable("; ".join(others))


def test_each_fact_may_be_said_in_several_ways():
    locked = next(question for question in QUESTIONS if question.facts == (("passwd -l", "usermod -L"),))
    assert locked.is_usable("Type `passwd -l user`.")
    assert locked.is_usable("USERMOD -L user")
    assert not locked.is_usable("passwd user")


def test_the_entry_named_is_known_by_its_file_page_and_words_and_another_by_the_whole_reference():
    question = next(question for question in QUESTIONS if question.record and len(question.reference) > 1)
    named = passage(question, f"Before. {question.find} After.")
    assert question.is_named(named) and question.is_held(named)
    assert not question.is_held(replace(named, source="manuals/other.txt"))
    assert not question.is_held(replace(named, record="other.html"))
    whole = passage(question, "; ".join(question.reference), source="manuals/other.txt")
    assert not question.is_named(whole) and question.is_held(whole)
    assert not question.is_held(replace(whole, text=question.reference[0]))


def make_manual(question):
    file = FOLDER / question.file
    if not question.record:
        return file.read_text(encoding="utf-8")
    pages = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return next("\n".join(page["paragraphs"]) for page in pages if page["id"] == question.record)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the manuals are not part of the project")
def test_every_reference_stands_in_the_manual():
    manuals = {}
    for question in QUESTIONS:
        place = question.file, question.record
        if place not in manuals:
            manuals[place] = "".join(make_manual(question).split())
        for words in (question.find, *question.reference):
            assert "".join(words.split()) in manuals[place], question.name
