"""The question sets of the benchmarks: which questions, which halves, and which passages hold an answer."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.question_sets import SETS, QuestionSet, cleaned_span, is_gold, read_set, sample
from indexing.sources.clean_text import clean
from memgpt_rag.passage import Passage

PARAGRAPH = "The  ferry\u200b leaves at 7:40.\r\n\r\n\r\nIt costs 3 yuan;\tthe way back is free."


def article(context, *asked):
    qas = [
        {
            "question": f" {question} ",
            "answers": [
                {"text": text, "answer_start": context.index(text) if start is None else start}
                for text, start in answers
            ],
        }
        for question, *answers in asked
    ]
    return {"paragraphs": [{"context": context, "qas": qas}]}


@pytest.fixture
def data(tmp_path, monkeypatch):
    articles = [
        article(PARAGRAPH, ("When?", ("7:40", None)), ("What is free?", (" the way back", PARAGRAPH.index("the way")))),
        article("第二段。渡船停运。", ("为何停运？", ("没有答案", -1), ("停运", None), ("停运", None))),
        article("Third.", ("Which?", ("Third", None))),
    ]
    for name, part in (("all", articles), ("first", articles[:1]), ("second", articles[1:])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"data": part}), encoding="utf-8")
    monkeypatch.setitem(SETS, "turns", QuestionSet("en", ("all.json",)))
    monkeypatch.setitem(SETS, "files", QuestionSet("en", ("first.json", "second.json")))
    return tmp_path


def test_articles_of_one_file_take_turns_and_two_files_are_the_halves(data):
    for name, halves in (("turns", [0, 0, 0, 1]), ("files", [0, 0, 1, 1])):
        records, questions = read_set(data, name)
        assert [question.half for question in questions] == halves
        assert len({record["id"] for record in records}) == 3
        text_by_id = {record["id"]: record["text"] for record in records}
        for question in questions:
            assert question.answers[0] in text_by_id[question.record]
        assert {question.article for question in questions if question.half == 0}.isdisjoint(
            question.article for question in questions if question.half == 1
        )
    records, questions = read_set(data, "turns", max_articles=1)
    assert [record["text"] for record in records] == [PARAGRAPH, "第二段。渡船停运。"]
    assert [question.text for question in sample(questions, 1, 9)] == ["为何停运？"]


def test_an_answer_that_stands_nowhere_comes_last_and_has_no_place(data):
    asked = next(question for question in read_set(data, "turns")[1] if question.text == "为何停运？")
    assert asked.answers == ("停运", "没有答案")
    assert asked.spans == ((6, 8),)


def test_answers_are_placed_in_the_text_as_the_index_job_cleans_it(data):
    cleaned = clean(PARAGRAPH)
    assert cleaned != PARAGRAPH
    for question in read_set(data, "turns")[1][:2]:
        ((start, end),) = question.spans
        assert cleaned[start:end] in question.answers[0]
    for words in ("ferry", "7:40", "It costs 3 yuan;", "free."):
        start = PARAGRAPH.index(words)
        begun, ended = cleaned_span(PARAGRAPH, start, start + len(words))
        assert cleaned[begun:ended] == words


def test_a_passage_is_gold_by_its_place_and_not_by_its_words(data):
    question = next(one for one in read_set(data, "turns")[1] if one.text == "When?")
    ((start, end),) = question.spans
    passage = Passage("p", "7:40", "", "x.jsonl", question.record, "line", 1, 1, start - 5, end + 5)
    assert is_gold(question, passage)
    assert is_gold(question, replace(passage, start=end - 2))  # half of it
    assert not is_gold(question, replace(passage, start=end - 1))
    assert not is_gold(question, replace(passage, start=end, end=end + 9))  # the same words elsewhere
    assert not is_gold(question, replace(passage, record="9.9"))
    assert not is_gold(replace(question, spans=()), passage)
