"""Do the words of an answer cite the passage that holds the answer?

    python benchmarks/span_citations.py                100 questions each of XQuAD in English and Chinese, as `memgpt-rag ask` answers

Each part of an answer cites the entry that its tokens attended to most. Counted are the questions for which search found a passage with
the answer: how many cite such a passage for most of the answer's characters, of all that were answered, and of those whose answer holds the
right one. Intervals are 95 %, by bootstrap. Prints a table and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answers import REPORTING, build
from benchmarks.question_sets import DATA, SETS, Question, is_gold, read_set, sample
from memgpt_rag import Answer
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.answer_measures import holds_any
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.rag import RAG


def cites_gold(question: Question, answer: Answer) -> bool:
    """Whether passages with the answer are cited for more characters of an answer than all others together."""
    characters = {True: 0, False: 0}
    for citation in answer.citations:
        right = is_gold(question, citation.passage)
        characters[right] += sum(end - start for start, end in citation.spans)
    return characters[True] > characters[False]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["xquad-en", "xquad-zh"], choices=SETS)
    parser.add_argument("--questions", type=int, default=100, help="of each set")
    parser.add_argument("--articles", type=int, default=100, help="per half of a set")
    parser.add_argument("--memories", type=Path, help="folder that keeps the memories for the next time")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    quiet_libraries()
    encoder, report = load_encoder(), {}
    print(f"{'set':<12}{'asked':>7}{'found':>7}{'answered':>10}   {'cited right':24}of right answers", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.sets:
            records, questions = read_set(options.data, name, options.articles)
            memory = build(name, options.memories or Path(scratch), encoder, records, words=True)
            rag = RAG.open(memory.path)
            asked = sample(questions, REPORTING, options.questions)
            answers = [rag.answer(question.text) for question in tqdm(asked, desc=name, disable=None)]
            found = [
                (question, answer)
                for question, answer in zip(asked, answers, strict=True)
                if any(is_gold(question, citation.passage) for citation in answer.citations)
            ]
            answered = [(question, answer) for question, answer in found if any(one.spans for one in answer.citations)]
            every = [float(cites_gold(*one)) for one in answered]
            right = [
                float(cites_gold(question, answer))
                for question, answer in answered
                if holds_any(answer.text, question.answers)
            ]
            figures = {kind: interval(cited) if cited else None for kind, cited in (("all", every), ("right", right))}
            shown = [f"{one[0]:.0%} [{one[1]:.0%}, {one[2]:.0%}]" if one else "–" for one in figures.values()]
            print(
                f"{name:<12}{len(asked):>7}{len(found):>7}{len(answered):>10}   {shown[0]:24}{shown[1]} of {len(right)}",
                flush=True,
            )
            counts = {"asked": len(asked), "found": len(found), "answered": len(answered), "right": len(right)}
            report[name] = {"counts": counts, "cited_right": figures}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
