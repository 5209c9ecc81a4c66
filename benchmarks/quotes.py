"""How often does the quote of an answer hold the right answer, where the right passage was read?

    python benchmarks/quotes.py              110 questions of XQuAD in each language (15 minutes)
    python benchmarks/quotes.py --preset compact

Each question is answered from the passage that holds its answer, as where that one is cited first. A quote is right where it holds
the whole place of the answer in the passage. How attention and words count was chosen by the questions of half 0, and is reported
on half 1. To compare with: the first sentence, the one with most words of the question, attention alone, words alone; and how
often the written answer is right (EM) or holds the right one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answers import build
from benchmarks.question_sets import DATA, SETS, Question, is_gold, read_set
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.quote import attention_shares, quote, unit_scores
from memgpt_rag.answering.text_units import text_units
from memgpt_rag.choices import PRESETS
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.answer_measures import exact_match, holds_any
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.passage import Passage
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved

SETS_ASKED = ("xquad-en", "xquad-zh")
HALVES = (0, 1)
BATCH = 20


@dataclass(frozen=True)
class Asked:
    """A question with the passage that holds its answer."""

    question: Question
    passage: Passage


def sample(memory: Memory, questions: Sequence[Question], half: int, count: int) -> list[Asked]:
    """The first so many questions of a half, paragraph by paragraph in random order."""
    passages: dict[str, list[Passage]] = {}
    for passage in memory.passages(range(len(memory))):
        passages.setdefault(passage.record, []).append(passage)
    records = sorted({question.record for question in questions if question.half == half})
    order = {records[place]: rank for rank, place in enumerate(np.random.default_rng(1).permutation(len(records)))}
    in_order = sorted((one for one in questions if one.half == half), key=lambda one: order[one.record])
    found = []
    for question in in_order:
        gold = [passage for passage in passages.get(question.record, []) if is_gold(question, passage)]
        found += [Asked(question, passage) for passage in gold[:1]]
    return found[:count]


def measure(rag: RAG, asked: Sequence[Asked], language: str) -> Iterator[dict[str, float]]:
    """Of each question, what is right of quote, sentences chosen otherwise, and answer."""
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        drafts = [Draft(one.question.text, [Retrieved(0, one.passage, 1.0, 1.0)]) for one in part]
        for one, answer in zip(part, rag.answer_from(drafts, AskOptions(k=1, max_new_tokens=14)), strict=True):
            text, question = one.passage.text, one.question
            units, trace = text_units(text), answer.trace and answer.trace.entries[0]
            assert trace is not None and answer.quote is not None
            plain = quote(question.text, answer.text, one.passage, trace)
            assert plain is not None
            spans = [(begin - one.passage.start, end - one.passage.start) for begin, end in question.spans]

            def is_right(start: int, end: int, spans: list[tuple[int, int]] = spans) -> bool:
                return any(start <= begin and until <= end for begin, until in spans)

            words = unit_scores(question.text, answer.text, text, units, None)
            scores = unit_scores(question.text, "", text, units, None)
            yield {
                "quote": is_right(plain.start, plain.end),
                "quote, widened where it leads": is_right(answer.quote.start, answer.quote.end),
                "first sentence": is_right(*units[0]),
                "words of the question": is_right(*units[int(scores.argmax())]),
                "words": is_right(*units[int(words.argmax())]),
                "attention": is_right(*units[int(attention_shares(text, units, trace).argmax())]),
                "EM": exact_match(answer.text, question.answers, language),
                "contains": holds_any(answer.text, question.answers),
                "quote leads": answer.leads == "quote",
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the question sets")
    parser.add_argument("--questions", type=int, default=55, help="per language and half (55)")
    parser.add_argument("--preset", default="quality", choices=PRESETS)
    parser.add_argument("--memories", type=Path, help="folder to keep memories in (a temporary one)")
    arguments = parser.parse_args()
    quiet_libraries()
    encoder = load_encoder()
    model = MemoryDecoder.from_pretrained(config=arguments.preset, int8_weights=True)
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in SETS_ASKED:
            records, questions = read_set(arguments.data, name)
            memory = build(name, arguments.memories or Path(temporary), encoder, records)
            for half in HALVES:
                asked = sample(memory, questions, half, arguments.questions)
                measured = list(measure(RAG(memory, encoder, model), asked, SETS[name].language))
                figures[f"{name}, half {half}"] = {
                    figure: round(statistics.fmean(one[figure] for one in measured), 3) for figure in measured[0]
                }
                print(f"{name}, half {half}: {len(measured)} questions", figures[f"{name}, half {half}"], flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
