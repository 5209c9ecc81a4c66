"""Answers to questions whose answer the memory holds, and to the same questions when it does not, with their signals.

Every question is asked of up to three memories: "with" its paragraph; "easy", without that paragraph; and "same topic", with nothing but
other passages of its article, none of which holds the answer: other paragraphs in XQuAD, other parts of the text in CMRC 2018 and
COVID-QA, another article about the same event in the news.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import K
from benchmarks.kept_answers import KeptAnswers, known
from benchmarks.news_events import NEWS, read_news
from benchmarks.question_sets import SETS, Question, is_gold, read_set
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.judge import declines
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.signals import SCORED_CANDIDATES, Signals
from memgpt_rag.choices import DEFAULT_MAX_NEW_TOKENS
from memgpt_rag.evaluation.metrics.answer_measures import holds_any
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved

WITH, EASY, SAME_TOPIC = "with", "easy", "same topic"
NEGATIVES = (EASY, SAME_TOPIC)
ASKED_SETS = (*SETS, NEWS)
_DEEP = 400  # entries among which those of one topic are looked for
_MOST = 4 * SCORED_CANDIDATES
_BLOCK = 25  # questions that are searched together


@dataclass(frozen=True)
class Observed:
    """An answer to a question.

    Attributes:
        kind: what the memory held: "with", "easy" or "same topic".
        right: whether the answer holds a gold answer.
        declined: whether the reader itself says that the memory does not hold the answer.
        records: those of the entries read, the one cited first at the beginning.
        best: record of the entry that the search put first.
    """

    question: Question
    kind: str
    signals: Signals
    right: bool
    declined: bool
    records: tuple[str, ...]
    best: str


def language_of_set(name: str) -> str:
    return "zh" if name == NEWS else SETS[name].language


def read_asked_set(data: Path, name: str, max_articles: int | None) -> tuple[list[dict[str, str]], list[Question]]:
    """Records and questions of a set, the news among them."""
    if name == NEWS:
        return read_news(data, None if max_articles is None else 2 * max_articles)
    return read_set(data, name, max_articles)


def memory_kinds(question: Question, found: Sequence[Retrieved]) -> dict[str, list[Retrieved]]:
    """What a search finds in each of the three memories; one in which nothing is left is missing."""
    topic = f"{question.article}."
    without = [entry for entry in found if entry.passage.record != question.record]
    kinds = {
        WITH: list(found),
        EASY: without,
        SAME_TOPIC: [
            entry
            for entry in found
            if entry.passage.record.startswith(topic)
            and not is_gold(question, entry.passage)
            and not holds_any(entry.passage.titled_text, question.answers)
        ],
    }
    return {kind: entries[:_MOST] for kind, entries in kinds.items() if entries}


def observe(
    rag: RAG,
    name: str,
    questions: Sequence[Question],
    kept: KeptAnswers,
    key: str,
    *,
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
) -> list[Observed]:
    """Ask every question of every memory; the answers to a question are neighbours.

    Args:
        kept: answers of earlier runs.
        key: what else answers depend on, such as models and search.
    """
    observed: list[Observed] = []
    for start in range(0, len(questions), _BLOCK):
        block = questions[start : start + _BLOCK]
        found = rag.retriever.retrieve([question.text for question in block], _DEEP)
        items = [
            (f"{key}; {name}, {kind}: {question.record} {question.text}", (question, kind, entries))
            for question, get_entries in zip(block, found, strict=True)
            for kind, entries in memory_kinds(question, get_entries).items()
        ]

        def answer(batch: Sequence[tuple[Question, str, list[Retrieved]]]) -> list[dict[str, Any]]:
            drafts = [Draft(question.text, entries) for question, _, entries in batch]
            answers = rag.answer_from(drafts, AskOptions(k=K, max_new_tokens=max_new_tokens))
            return [
                {
                    "answer": one.text,
                    "right": bool(holds_any(one.text, question.answers)),
                    "signals": known(one.signals),
                    "records": [citation.passage.record for citation in one.citations],
                    "best": entries[0].passage.record,
                }
                for one, (question, _, entries) in zip(answers, batch, strict=True)
            ]

        rows = kept.fill(items, answer, f"{name} {start + len(block)} of {len(questions)}")
        observed += [
            Observed(
                question,
                kind,
                Signals(**row["signals"]),
                row["right"],
                declines(row["answer"]),
                tuple(row["records"]),
                row["best"],
            )
            for (_, (question, kind, _)), row in zip(items, rows, strict=True)
        ]
    return observed


def signals_of_inputs(rag: RAG, inputs: dict[str, list[str]], kept: KeptAnswers, key: str) -> dict[str, list[Signals]]:
    """Signals of inputs that need no memory, by kind, as they are when the question was read."""

    def answer(batch: Sequence[str]) -> list[dict[str, Any]]:
        answers = rag.answer_all(list(batch), AskOptions(k=K, max_new_tokens=1))
        return [{"signals": known(one.signals)} for one in answers]

    found = {}
    for kind, texts in inputs.items():
        rows = kept.fill([(f"{key}; {kind} {place}: {text}", text) for place, text in enumerate(texts)], answer, kind)
        found[kind] = [Signals(**row["signals"]) for row in rows]
    return found
