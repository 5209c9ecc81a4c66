"""Question sets as a retrieval and reading task: every paragraph of a set in one memory, questions asked openly.

The data is not part of the project: folders of SQuAD-layout files are looked for in ../shared/data, or where --data says.
XQuAD (CC BY-SA 4.0, github.com/google-deepmind/xquad), CMRC 2018 (CC BY-SA 4.0, github.com/ymcui/cmrc2018), COVID-QA
(Apache-2.0, github.com/deepset-ai/COVID-QA).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from indexing.sources.clean_text import clean
from memgpt_rag.passage import Passage

LANGUAGES = ("en", "zh")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class QuestionSet:
    """Where a set lies and what language it is in. Two files are the halves; articles of one file take turns."""

    language: str
    files: tuple[str, ...]


SETS = {
    "xquad-en": QuestionSet("en", ("xquad/xquad.en.json",)),
    "xquad-zh": QuestionSet("zh", ("xquad/xquad.zh.json",)),
    "cmrc2018": QuestionSet("zh", ("cmrc2018/cmrc2018_trial.json", "cmrc2018/cmrc2018_dev.json")),
    "covid_qa": QuestionSet("en", ("covid_qa/200423_covidQA.json",)),
}


@dataclass(frozen=True)
class Question:
    """A question of a set.

    Attributes:
        answers: gold answers; those with a place in the text first.
        record: record of its paragraph.
        spans: where the answers stand in the cleaned text of that record, in characters.
        article: number of its article.
        half: the half that the article belongs to, 0 or 1.
    """

    text: str
    answers: tuple[str, ...]
    record: str
    spans: tuple[tuple[int, int], ...]
    article: int
    half: int


def read_set(data: Path, name: str, max_articles: int | None = None) -> tuple[list[dict[str, str]], list[Question]]:
    """Paragraphs as records for the index job, and questions.

    Args:
        max_articles: of each half, the first so many articles; None for all.
    """
    records, questions, files = [], [], SETS[name].files
    articles_by_file = [json.loads((data / file).read_text(encoding="utf-8"))["data"] for file in files]
    halves = articles_by_file if len(files) == 2 else [articles_by_file[0][0::2], articles_by_file[0][1::2]]
    for half, number, article in (
        (half, 2 * place + half, article)
        for half, articles in enumerate(halves)
        for place, article in enumerate(articles[:max_articles])
    ):
        for place, paragraph in enumerate(article["paragraphs"]):
            record, context = f"{number}.{place}", paragraph["context"]
            records.append({"id": record, "text": context})
            for asked in paragraph["qas"]:
                # CMRC has answers that stand nowhere in the text; they begin at -1.
                answers = sorted(asked["answers"], key=lambda answer: answer["answer_start"] < 0)
                spans = [
                    cleaned_span(context, answer["answer_start"], answer["answer_start"] + len(answer["text"]))
                    for answer in answers
                    if answer["answer_start"] >= 0
                ]
                texts = tuple(dict.fromkeys(answer["text"].strip() for answer in answers))
                questions.append(
                    Question(asked["question"].strip(), texts, record, tuple(dict.fromkeys(spans)), number, half)
                )
    return records, questions


def cleaned_span(text: str, start: int, end: int) -> tuple[int, int]:
    """Where a span of a text stands once the index job has cleaned the text, which keeps what is no white space."""
    visible = [place for place, character in enumerate(clean(text)) if not character.isspace()]
    before, until = (sum(not character.isspace() for character in clean(text[:get_end])) for get_end in (start, end))
    return visible[before], visible[max(before, until - 1)] + 1


def is_gold(question: Question, passage: Passage) -> bool:
    """Whether a passage holds an answer, by its place: at least half of it, since an answer may cross a passage's end."""
    return passage.record == question.record and any(
        2 * (min(end, passage.end) - max(start, passage.start)) >= end - start for start, end in question.spans
    )


def sample(questions: Sequence[Question], half: int, count: int, seed: int = 0) -> list[Question]:
    """At most `count` questions of one half, spread over its articles."""
    half_questions = [question for question in questions if question.half == half]
    order = np.random.default_rng(seed).permutation(len(half_questions))[:count]
    return [half_questions[place] for place in sorted(order)]
