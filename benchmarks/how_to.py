"""Does memory answer how-to questions usably, in one line or by a quote?

    python benchmarks/how_to.py --answers before.jsonl                      quality, hybrid search, no reader
    python benchmarks/how_to.py --answers after.jsonl --readers auto        with the reader that ships
    python benchmarks/how_to.py --answers after.jsonl --readers auto --rerank 8   the model reranks the top 8 first
    python benchmarks/how_to.py --compare before.jsonl after.jsonl          what changed, question by question

Sixty questions in people's words over four manuals of Debian in English and Chinese (benchmarks/how_to_set.py), all in one memory.
A text is usable that says all key facts of a question. Figures are shares of the questions: "line", a usable answer line; "quote", a
usable quote; "entry", the entry cited first holds the reference answer; "found", one of those read does; "empty", an answer of
nothing; "empty, supported", such an answer that is judged to be supported. "one of two quotes" counts the second quote, too, where there
is one; "any" is a usable line or quote. Answers are kept in --answers as they come, by mode, preset and reader: a run that was stopped
goes on there. Prints a table, and one JSON line last; intervals are 95 %, by bootstrap.

Modes are memory, prompt and closed_book; readers are "none", "auto" for the one that ships, and folders.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import K
from benchmarks.how_to_set import HowTo, build_manuals, read_questions
from benchmarks.kept_answers import KeptAnswers, known
from benchmarks.question_sets import DATA
from memgpt_rag.answering.answer import Answer
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.choices import DEFAULT_MAX_NEW_TOKENS, MODES, PRECISIONS, PRESETS, SEARCH_KINDS
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_memory_encoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.cache_folder import cache_folder
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryDecoder
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.rerankers import LikelihoodReranker
from memgpt_rag.retrieval.retriever import Search

FIGURES = ("line", "quote", "one of two quotes", "any", "entry", "found", "empty", "empty, supported")


def load_model(preset: str, reader: str, name: str) -> MemoryDecoder:
    return MemoryDecoder.from_pretrained(name, config=preset, reader=reader)


def judged(question: HowTo, answer: Answer) -> dict[str, Any]:
    """What is kept of an answer, and its figures; no quote where answers have none, as in releases before."""
    quote, second = getattr(answer, "quote", None), getattr(answer, "second_quote", None)
    text, quoted = answer.text.strip(), "" if quote is None else quote.text
    second_quoted = "" if second is None else second.text
    usable = {
        "line": question.is_usable(text),
        "quote": question.is_usable(quoted),
        "one of two quotes": question.is_usable(quoted) or question.is_usable(second_quoted),
    }
    held = [question.is_held(one.passage) for one in answer.citations]
    empty = not any(character.isalnum() for character in text)
    return {
        "question": question.question,
        "answer": text,
        "quote": quoted,
        "second_quote": second_quoted,
        "cited": [one.passage.place for one in answer.citations],
        "confidence": answer.confidence,
        "supported": answer.supported,
        "signals": known(answer.signals),
        "figures": {
            **usable,
            "any": any(usable.values()),
            "entry": bool(held and held[0]),
            "found": any(held),
            "empty": empty,
            "empty, supported": empty and bool(answer.supported),
        },
    }


def rows_by_mode(arguments: argparse.Namespace) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The rows of every mode, preset and reader in turn, by name; those that are kept are not asked again."""
    kept, questions = KeptAnswers(arguments.answers), read_questions()[:: arguments.every]
    if arguments.files:
        questions = [question for question in questions if question.file in arguments.files]
    folder = (arguments.memories or cache_folder("benchmarks")) / "how_to"
    memory = build_manuals(folder, arguments.data, EncoderConfig(precision=arguments.precision), arguments.files)
    encoder = load_memory_encoder(memory.manifest.encoder)
    for reader in arguments.readers:
        for preset in arguments.presets:
            rag: RAG | None = None
            for mode in arguments.modes:
                name = ", ".join(
                    (
                        mode,
                        preset,
                        f"reader {reader}",
                        arguments.search,
                        f"k {arguments.k}",
                        f"{arguments.tokens} tokens",
                        *([f"rerank {arguments.rerank}"] if arguments.rerank else []),
                    )
                )
                items = [(f"{name}: {question.name}", question) for question in questions]
                if rag is None and any(key not in kept.rows for key, _ in items):
                    model = load_model(preset, reader, arguments.model)
                    rag = RAG(memory, encoder, model, search=Search(arguments.search))
                    if arguments.rerank:
                        reranker = LikelihoodReranker(rag.model, rag.prompt)
                        rag.retriever.search = replace(rag.retriever.search, reranker=reranker, depth=arguments.rerank)
                options = AskOptions(mode=mode, k=arguments.k, max_new_tokens=arguments.tokens)

                def ask(batch: Sequence[HowTo], rag: RAG | None = rag, options: AskOptions = options) -> list[Any]:
                    assert rag is not None
                    answers = rag.answer_all([question.question for question in batch], options)
                    return [judged(question, answer) for question, answer in zip(batch, answers, strict=True)]

                yield name, kept.fill(items, ask, name, batch_size=4)


def figures(row: dict[str, Any]) -> dict[str, float]:
    """The figures of a row; those kept before there were second quotes count the one that there was."""
    kept: dict[str, bool] = row["figures"]
    found = {"one of two quotes": kept["quote"], "any": kept["line"] or kept["quote"], **kept}
    return {name: float(value) for name, value in found.items()}


def shares(rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Each figure's share of the questions, with its interval."""
    return {
        figure: [round(number, 3) for number in interval([figures(row)[figure] for row in rows])] for figure in FIGURES
    }


def print_table(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Print the shares, over all questions and by language, and return them."""
    result: dict[str, Any] = {"all": shares(rows)}
    for language in ("en", "zh"):
        if per_language := [row for row in rows if row["key"].rpartition(": ")[2].startswith(language)]:
            result[language] = shares(per_language)
    print(f"\n{name}: {len(rows)} questions")
    print("    " + "".join(f"{figure:>24}" for figure in FIGURES))
    for part, item in result.items():
        print(
            f"{part:<4}"
            + "".join("{:>8.0%} [{:>4.0%}, {:>4.0%}]".format(*item[figure]).rjust(24) for figure in FIGURES),
            flush=True,
        )
    return result


def compare(before: Path, after: Path) -> dict[str, Any]:
    """Print what changed between two files: by mode, the paired differences; by question, the answers that became usable or not.

    Modes are paired by their names; if neither file has a name of the other, as with two readers, they are paired in order.
    """
    sides = []
    for file in (before, after):
        by_name: dict[str, dict[str, Any]] = {}
        for key, row in KeptAnswers(file).rows.items():
            name, _, question = key.rpartition(": ")
            by_name.setdefault(name, {})[question] = row
        sides.append(by_name)
    old, new = sides
    pairs = [(name, name) for name in old if name in new] or list(zip(old, new))
    result: dict[str, Any] = {}
    for one, other in pairs:
        both = [question for question in old[one] if question in new[other]]
        title = one if one == other else f"{one} → {other}"
        print(f"\n{title}: {len(both)} questions")
        result[title] = {}
        for figure in FIGURES:
            values = [[figures(side[question])[figure] for question in both] for side in (old[one], new[other])]
            change = interval([mine - theirs for theirs, mine in zip(*values)])
            result[title][figure] = [round(number, 3) for number in change]
            means = [statistics.fmean(item) for item in values]
            print("{:<18}{:>5.0%} → {:>4.0%}   {:+.3f} [{:+.3f}, {:+.3f}]".format(figure, *means, *change))
        for question in both:
            was, now = old[one][question], new[other][question]
            for figure, text in (("line", "answer"), ("quote", "quote")):
                if was["figures"][figure] != now["figures"][figure]:
                    sign = "+" if now["figures"][figure] else "−"
                    print(f"{sign} {question} {figure}: {was['question']}\n    {was[text]!r}\n    {now[text]!r}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, help="file that keeps the answers; a run goes on with what is there")
    parser.add_argument(
        "--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"), help="two files; nothing is asked"
    )
    parser.add_argument("--modes", nargs="+", default=["memory"], choices=MODES)
    parser.add_argument("--presets", nargs="+", default=["quality"], choices=PRESETS)
    parser.add_argument("--readers", nargs="+", default=["none"], help="none, auto, or folders")
    parser.add_argument("--search", default="hybrid", choices=SEARCH_KINDS)
    parser.add_argument("--rerank", type=int, default=0, help="entries that the language model reranks")
    parser.add_argument("-k", type=int, default=K, help="entries per question")
    parser.add_argument("--tokens", type=int, default=DEFAULT_MAX_NEW_TOKENS, help="longest answer")
    parser.add_argument("--every", type=int, default=1, help="ask only every so many questions")
    parser.add_argument("--files", nargs="+", default=[], help="only these manuals, and the questions about them")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS, help="numbers that passages are embedded in")
    parser.add_argument("--memories", type=Path, help="folder to keep the memory in; your cache folder without it")
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    results = (
        compare(*arguments.compare)
        if arguments.compare
        else {name: print_table(name, rows) for name, rows in rows_by_mode(arguments)}
    )
    print(json.dumps(results, ensure_ascii=False))


if __name__ == "__main__":
    main()
