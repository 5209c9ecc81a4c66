"""Which entry to quote where the quote leads: the one with the largest share of the attention, or one that makes the question likely, too?

    python benchmarks/lead_quotes.py --answers FILE              60 how-to questions, 100 of XQuAD in each language (20 minutes)
    python benchmarks/lead_quotes.py --answers FILE --rerank 8   the language model reranks the top 8 first

Each question is answered with the reader that ships, by hybrid search. Where the quote leads, all entries are quoted, and rated by the
log-likelihood of the question's tokens, their mean. An entry's figure is its share × e^(weight · log-likelihood). The table has, for each
weight, how often the quote of the best entry is usable, and one of the best two where the second has three tenths of the first one's
figure: for a how-to question, that it says all key facts; for one of XQuAD, that it holds the answer. One line of JSON follows.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import K
from benchmarks.answers import REPORTING, build
from benchmarks.how_to_set import build_manuals, read_questions
from benchmarks.kept_answers import KeptAnswers
from benchmarks.question_sets import DATA, read_set, sample
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.quote import quote
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.answer_measures import holds_any
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.rerankers import LikelihoodReranker
from memgpt_rag.retrieval.retriever import Search

NAMES = ("how_to", "xquad-en", "xquad-zh")
WEIGHTS = (0, 1, 2, 3, 4, 5, 6, 8)
SECOND = 0.3

Asked = list[tuple[str, Callable[[str], bool]]]  # questions, and whether a text is usable for each


def read(name: str, folder: Path, data: Path, count: int) -> tuple[Memory, Asked]:
    if name == "how_to":
        manuals = build_manuals(folder / name, data, EncoderConfig())
        return manuals, [(one.question, one.is_usable) for one in read_questions()]
    records, questions = read_set(data, name)
    memory = build(name, folder, load_encoder(), records, words=True)
    chosen = sample(questions, REPORTING, count)
    return memory, [(one.text, lambda text, one=one: holds_any(text, one.answers)) for one in chosen]


def measured(rag: RAG, question: str, is_usable: Callable[[str], bool]) -> dict[str, Any]:
    """What is kept of a question: whether the quote leads, and of each entry its share, its likelihood, and whether its quote is usable."""
    answer = rag.answer(question, AskOptions(k=K))
    passages = [one.passage for one in answer.citations]
    rated = LikelihoodReranker(rag.model, rag.prompt).rate(question, passages).tolist()
    traces = answer.trace.entries if answer.trace else [None] * len(passages)
    quotes = [
        quote(question, answer.text, passage, trace, leads=True)
        for passage, trace in zip(passages, traces, strict=True)
    ]
    return {
        "leads": answer.leads == "quote",
        "entries": [
            {"share": one.share, "likelihood": likelihood, "usable": bool(found and is_usable(found.text))}
            for one, likelihood, found in zip(answer.citations, rated, quotes, strict=True)
        ],
    }


def counts(rows: Sequence[dict[str, Any]], weight: float) -> tuple[int, int]:
    """For how many questions whose quote leads the first quote is usable, and one of two."""
    first = either = 0
    for row in rows:
        entries = row["entries"] if row["leads"] else []
        figures = [(one["share"] or 0.0) * math.exp(weight * one["likelihood"]) for one in entries]
        best = sorted(range(len(entries)), key=lambda place: -figures[place])[:2]
        shown = [entries[place]["usable"] for place in best if figures[place] >= SECOND * figures[best[0]]]
        first += bool(shown) and shown[0]
        either += any(shown)
    return first, either


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--questions", type=int, default=100, help="of XQuAD in each language")
    parser.add_argument("--rerank", type=int, default=0, help="entries that the language model reranks")
    parser.add_argument("--answers", type=Path, help="file that keeps the figures; a run goes on with what is there")
    parser.add_argument("--memories", type=Path, help="folder to keep memories in (a temporary one)")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    kept, result = KeptAnswers(arguments.answers), dict[str, Any]()
    model = MemoryDecoder.from_pretrained(config="quality")
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.sets:
            memory, asked = read(name, arguments.memories or Path(temporary), arguments.data, arguments.questions)
            rag = RAG(memory, load_encoder(), model, search=Search("hybrid"))
            if arguments.rerank:
                reranker = LikelihoodReranker(rag.model, rag.prompt)
                rag.retriever.search = replace(rag.retriever.search, reranker=reranker, depth=arguments.rerank)
            items = [
                (f"{name}, rerank {arguments.rerank}: {question}", (question, usable)) for question, usable in asked
            ]
            rows = kept.fill(items, lambda batch, rag=rag: [measured(rag, *one) for one in batch], name, batch_size=1)
            by_weight = {weight: counts(rows, weight) for weight in WEIGHTS}
            leading = sum(row["leads"] for row in rows)
            print(f"\n{name}: the quote leads for {leading} of {len(rows)} questions\nweight  first usable  one of two")
            for weight, (first, either) in by_weight.items():
                print(f"{weight:>6}{first:>14}{either:>12}", flush=True)
            result[name] = {"questions": len(rows), "quote leads": leading, "usable by weight": by_weight}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
