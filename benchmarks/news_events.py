"""Questions about events that two news articles report, in Chinese: one article answers them, the other is about the same event.

    python benchmarks/news_events.py             says how many there are, and shows some

Articles are those of CRUD-RAG's news (github.com/IAAR-Shanghai/CRUD_RAG), which are not part of the project: they are looked for in
../shared/data/crud_news. Two articles report one event where the beginnings of both share many rare words, but not nearly all: copies
of one text have the same answers. A question is a sentence of the first article with "how many" in place of a number, which no other
article of the event holds; the event is its topic, and every second event is for reporting.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.question_sets import DATA, Question, cleaned_span
from memgpt_rag.answering.answer_match import holds_answer
from memgpt_rag.memory.lexical.analysis import terms

NEWS = "news"
ARTICLES = 4_000  # the first ones: neighbours in the file are neighbours in time
_BEGINNING = 160  # characters
_SAME_EVENT, _SAME_TEXT = 0.3, 0.7  # shares of an article's own BM25 score that another one reaches
_LENGTH = (200, 2_000)  # characters of an article
_HEAD = re.compile(r"^[^。]{0,60}?正文：(?:\s*原标题：)?")
_SENTENCE = re.compile(r"(?<![^。！？\n])[^。！？\n]{12,60}。")
_NUMBER = re.compile(
    r"(?<![\d.第\-年月])(\d+(?:\.\d+)?)(?=(?:余|多)?(?:万|亿|千)?(?:名|人|家|个|只|辆|架|艘|吨|元|公里|米|次|起|岁|小时|分钟|例|套|件|座|所))"
)


def read_articles(data: Path, count: int = ARTICLES) -> list[str]:
    import pyarrow.parquet as pq

    table = pq.read_table(data / "crud_news" / "docs.parquet", columns=["text"]).slice(0, count)
    texts = [_HEAD.sub("", text).strip() for text in table["text"].to_pylist()]
    return [text for text in dict.fromkeys(texts) if _LENGTH[0] <= len(text) <= _LENGTH[1]]


def same_event(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of articles on one event; no article is in two pairs."""
    import bm25s

    beginnings = [terms(text[:_BEGINNING]) for text in texts]
    index = bm25s.BM25()
    index.index(beginnings, show_progress=False)
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for place, asked in enumerate(beginnings):
        if place in taken:
            continue
        scores = index.get_scores(list(dict.fromkeys(asked)))
        own, scores[place] = scores[place], 0
        other = int(np.argmax(scores))
        if other not in taken and _SAME_EVENT * own <= scores[other] <= _SAME_TEXT * own:
            pairs.append((place, other))
            taken |= {place, other}
    return pairs


def questions_in(text: str, others: Sequence[str]) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Questions about a text with their answers and the places of these, where no other text holds the answer."""
    for sentence in _SENTENCE.finditer(text):
        numbers = list(_NUMBER.finditer(sentence[0]))
        if len(numbers) != 1:
            continue  # with two numbers, the one that is left would give the other away
        answer, (start, end) = numbers[0][1], numbers[0].span(1)
        if len(answer) < 2 or any(holds_answer(other, answer) for other in others):
            continue
        asked = f"{sentence[0][:start]}多少{sentence[0][end:].rstrip('。')}？"
        yield asked.strip(), answer, (sentence.start() + start, sentence.start() + end)


def read_news(
    data: Path, max_events: int | None = None, per_event: int = 2
) -> tuple[list[dict[str, str]], list[Question]]:
    """Both articles of every event as records for the index job, and the questions about the first ones."""
    texts = read_articles(data)
    records: list[dict[str, str]] = []
    questions: list[Question] = []
    for event, (one, other) in enumerate(same_event(texts)[:max_events]):
        records += [{"id": f"{event}.{place}", "text": texts[item]} for place, item in enumerate((one, other))]
        for number, (asked, answer, span) in enumerate(questions_in(texts[one], [texts[other]])):
            if number == per_event:
                break
            span = cleaned_span(texts[one], *span)
            questions.append(Question(asked, (answer,), f"{event}.0", (span,), event, event % 2))
    return records, questions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    records, questions = read_news(arguments.data)
    text_by_id = {record["id"]: record["text"] for record in records}
    for question in questions[:: len(questions) // 8 + 1]:
        print(f"{question.text} {question.answers[0]}")
        for place in (0, 1):
            print(f"    {text_by_id[f'{question.article}.{place}'][:80]}")
    events = len({question.article for question in questions})
    print(json.dumps({"events": len(records) // 2, "with questions": events, "questions": len(questions)}))


if __name__ == "__main__":
    main()
