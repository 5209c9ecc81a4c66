"""Answers judged in words or characters, and asked of a memory in several modes."""

from __future__ import annotations

import json

import pytest

from memgpt_rag.answering.answer import Answer, Citation, Timings
from memgpt_rag.answering.answer_match import normalize_answer
from memgpt_rag.evaluation.answers import (
    JudgedAnswer,
    answers_report,
    answers_table,
    comparisons_table,
    evaluate_answers,
    judge,
)
from memgpt_rag.evaluation.data.answered_questions import AnsweredQuestion
from memgpt_rag.evaluation.metrics.answer_measures import (
    exact_match,
    f1,
    holds_any,
    units,
)
from memgpt_rag.passage import Passage

KITES = AnsweredQuestion("1", "Who can borrow a kite?", ("Children under twelve", "children"))
OPENS = AnsweredQuestion("2", "公园几点开门？", ("早上六点",))


def test_answers_are_compared_without_case_punctuation_and_articles():
    assert normalize_answer("The  Rowing-Boat, a boat!") == "rowing boat boat"
    assert normalize_answer("ＡＢＣ，１２３。") == "abc 123", "full width is the same"
    assert normalize_answer("theatre and another") == "theatre and another", "articles are words of their own"
    assert exact_match("the Children under Twelve.", KITES.answers, "en") == 1.0
    assert exact_match("Children under thirteen", KITES.answers, "en") == 0.0


def test_english_is_counted_in_words_and_chinese_in_characters():
    assert units("The boat, again", "en") == ["boat", "again"]
    assert units("早上六点。", "zh") == list("早上六点")
    said, gold = ["at", "six", "in", "morning"], ["six", "in", "morning", "sharp"]
    assert f1("at six in the morning", ["six in the morning sharp"], "en") == pytest.approx(
        2 * 3 / (len(said) + len(gold))
    )
    assert f1("六点开", OPENS.answers, "zh") == pytest.approx(2 * 2 / (3 + 4))
    assert f1("", OPENS.answers, "zh") == 0.0
    assert f1("children", KITES.answers, "en") == 1.0, "the best of several right answers counts"
    assert f1("boat boat", ["boat"], "en") == pytest.approx(2 / 3), "a word counts as often as it is in both"


def test_an_answer_that_says_more_contains_the_right_one():
    assert holds_any("公园早上六点开门。", OPENS.answers) == 1.0
    assert holds_any("All children may.", KITES.answers) == 1.0
    assert holds_any("Nobody.", KITES.answers) == 0.0


def answer(asked: AnsweredQuestion, text: str, *entries: str) -> Answer:
    citations = [
        Citation(Passage(f"p{at}", entry, "", "park.md", "", "line", 1, 1, 0, len(entry)), 0.5, 1.0)
        for at, entry in enumerate(entries)
    ]
    return Answer(asked.question, text, "memory", citations, 0.5, Timings(0.0, 0.0, 0.0, 0.0))


def test_an_answer_is_judged_in_the_language_of_its_question():
    judged = judge(OPENS, answer(OPENS, "早上六点开门", "河滨公园早上六点开门。", "有船。"))
    assert judged.language == "zh"
    assert judged.values == {"em": 0.0, "f1": pytest.approx(2 * 4 / (6 + 4)), "contains": 1.0, "found": 1.0}
    english = judge(KITES, answer(KITES, "children", "Boats only."))
    assert (english.language, english.values["em"], english.values["found"]) == ("en", 1.0, 0.0)
    assert "found" not in judge(KITES, answer(KITES, "children")).values, "where nothing was read"


def judged(asked: AnsweredQuestion, language: str, em: float) -> JudgedAnswer:
    return JudgedAnswer(asked, "said", language, {"em": em, "f1": em, "contains": 1.0, "found": 1.0})


def test_a_report_tells_modes_languages_and_differences():
    answers = {
        "memory": [judged(KITES, "en", 1.0), judged(OPENS, "zh", 0.0)],
        "prompt": [judged(KITES, "en", 0.0), judged(OPENS, "zh", 0.0)],
    }
    report = answers_report(answers, command="memgpt-rag eval answers", about={"k": 4})
    assert report == json.loads(json.dumps(report))
    memory = report["modes"]["memory"]
    assert [memory[part]["em"]["mean"] for part in ("all", "en", "zh")] == [0.5, 1.0, 0.0]
    assert [memory[part]["questions"] for part in ("all", "en", "zh")] == [2, 1, 1]
    em, f1_of, contains = report["comparisons"]
    assert (em["mode"], em["against"], em["figure"], em["difference"]) == ("prompt", "memory", "em", -0.5)
    assert (f1_of["worse"], contains["equal"]) == (1, 2)
    assert report["answers"][1]["golden_answers"] == ["早上六点"]
    rows = [row[0].strip() for row in answers_table(report).rows]
    assert rows == ["memory", "en", "zh", "prompt", "en", "zh"]
    assert answers_table(report).rows[0][2] == "50.0 [0.0, 100.0]"
    differences = comparisons_table(report)
    assert differences.head[3] == "difference, points"
    assert differences.rows[0][:4] == ["prompt", "memory", "em", "-50.0 [-100.0, +0.0]"]


@pytest.mark.offline_models
def test_a_memory_answers_what_it_holds_and_a_model_alone_does_not(rag):
    heard: list[int] = []
    boats = AnsweredQuestion("1", "How much does it cost to rent a rowing boat?", ("40 yuan an hour", "40 yuan"))
    dogs = AnsweredQuestion("2", "遛狗必须怎么做？", ("牵绳",))
    answers = evaluate_answers(rag, [boats, dogs], modes=["memory", "closed_book"], on_answers=heard.append)
    means = {mode: sum(one.values["contains"] for one in item) / len(item) for mode, item in answers.items()}
    assert means == {"memory": 1.0, "closed_book": 0.0}
    assert [one.values["found"] for one in answers["memory"]] == [1.0, 1.0]
    assert all("found" not in one.values for one in answers["closed_book"])
    assert sum(heard) == 4
    with pytest.raises(ValueError, match="There are 0 questions and 1 modes; expected 1 or more of each"):
        evaluate_answers(rag, [])
