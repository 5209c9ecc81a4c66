"""Are questions over one and two hops answered by following entities, and does that find what one search does not?

    python benchmarks/graph.py                       all of it (50 minutes of one core)
    python benchmarks/graph.py --questions 60        fewer questions about countries, 60 of each kind
    python benchmarks/graph.py --parts text          HotpotQA and MuSiQue only

countries: questions by templates, in English and Chinese, over one hop and two. Exact match of the words that the model wrote from
paths (paths), of the name that the path leads to (end), and of the same model after one search for four entries (one search), with the
same paths in its prompt (prompt), and without memory (closed book); and of the end of the best path by score, without any language
model (search alone).

text: recall of the supporting passages among the first 2, 5 and 10 found by hybrid search (one search) and by following names in
the passages (paths); and F1 of answers on the first --answers questions of each set. Every third question is left out: settings were
chosen on these.

Each figure of a mode is paired per question with that of the end of paths, or, in texts, of paths; intervals are 95 %, by bootstrap. Answers are kept in --answers-file,
so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.graph_sets import HopQuestion, country_graph, country_questions, hotpot, musique
from benchmarks.kept_answers import KeptAnswers
from benchmarks.question_sets import DATA
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.choices import DEFAULT_PATHS, Mode
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.answer_measures import exact_match, f1
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory, add_lexical_index
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retriever
from memgpt_rag.tasks.graph.ask import answer_by_paths, entries_by_paths
from memgpt_rag.tasks.graph.build import build_graph_memory
from memgpt_rag.tasks.graph.links import NameLinks, TripleLinks, path_end
from memgpt_rag.tasks.graph.paths import PathFinder
from memgpt_rag.tasks.graph.read import read_triples

Row = dict[str, Any]
CUTS = (2, 5, 10)
SEED, SETTINGS_SEED = 0, 7  # of the questions that are reported, and of those that settings were chosen on
_TOKENS = 16


class Answering:
    """The ways of answering that are compared, each from questions to rows."""

    def __init__(self, rag: RAG, finder: PathFinder):
        self._rag, self._finder = rag, finder
        self.modes: dict[str, Callable[[Sequence[HopQuestion]], list[Row]]] = {
            "paths": self.paths,
            "one search": self.one_search,
            "prompt": self.prompt,
            "closed book": self.closed_book,
        }

    def paths(self, questions: Sequence[HopQuestion]) -> list[Row]:
        answered = answer_by_paths(
            self._rag, self._finder, _texts(questions), AskOptions(k=DEFAULT_PATHS, max_new_tokens=_TOKENS)
        )
        return [
            {**_row(one.answer.text, question), "end": one.end, "end em": _em(one.end or "", question)}
            for one, question in zip(answered, questions, strict=True)
        ]

    def one_search(self, questions: Sequence[HopQuestion]) -> list[Row]:
        return self._rows(self._rag.drafts(_texts(questions)), questions, "memory", 4)

    def prompt(self, questions: Sequence[HopQuestion]) -> list[Row]:
        found = [entries_by_paths(self._finder, question.text, DEFAULT_PATHS) for question in questions]
        drafts = [Draft(question.text, entries) for question, entries in zip(questions, found, strict=True)]
        return self._rows(drafts, questions, "prompt", 2 * DEFAULT_PATHS)

    def closed_book(self, questions: Sequence[HopQuestion]) -> list[Row]:
        return self._rows([Draft(question.text) for question in questions], questions, "closed_book", 1)

    def _rows(self, drafts: Sequence[Draft], questions: Sequence[HopQuestion], mode: Mode, k: int) -> list[Row]:
        answers = self._rag.answer_from(drafts, AskOptions(mode, k, max_new_tokens=_TOKENS))
        return [_row(answer.text, question) for answer, question in zip(answers, questions, strict=True)]


def _texts(questions: Sequence[HopQuestion]) -> list[str]:
    return [question.text for question in questions]


def _em(text: str, question: HopQuestion) -> float:
    return exact_match(text, question.answers, question.language)


def _row(text: str, question: HopQuestion) -> Row:
    return {"text": text, "em": _em(text, question), "f1": f1(text, question.answers, question.language)}


def measure_countries(arguments: argparse.Namespace, folder: Path, encoder: Encoder, kept: KeptAnswers) -> Row:
    turtle, known = country_graph(arguments.data)
    if not (folder / "countries" / "manifest.json").exists():
        (folder / "countries.ttl").write_text(turtle, encoding="utf-8")
        build_graph_memory(read_triples([folder / "countries.ttl"]), folder / "countries", encoder)
    rag = RAG(Memory.open(folder / "countries"), encoder, arguments.model())
    finder = PathFinder(rag.retriever, TripleLinks(rag.retriever.memory))
    answering, figures = Answering(rag, finder), {}
    for hops in (1, 2):
        for language in ("en", "zh"):
            chosen_on = {question.key for question in country_questions(known, language, hops, 20, SETTINGS_SEED)}
            questions = country_questions(known, language, hops, arguments.questions, SEED)
            questions = [question for question in questions if question.key not in chosen_on]
            name = f"countries, {language}, {hops} hop{'s' * (hops > 1)}"
            rows = {mode: _filled(kept, answering.modes[mode], questions, mode, 10) for mode in arguments.modes}
            rows["search alone"] = _filled(kept, _search_alone(finder), questions, "search alone", 10)
            values = {mode: [row["em"] for row in found] for mode, found in rows.items()}
            if "paths" in rows:
                values = {"end": [row["end em"] for row in rows["paths"]], **values}
            figures[name] = _compared(name, "EM", values, "end")
    return figures


def _search_alone(finder: PathFinder) -> Callable[[Sequence[HopQuestion]], list[Row]]:
    """The end of the path with the best score, which no language model has read."""

    def answered(questions: Sequence[HopQuestion]) -> list[Row]:
        found = [(finder.paths(question.text, 1), question) for question in questions]
        return [
            _row((path_end(question.text, paths[0]) if paths else None) or "", question) for paths, question in found
        ]

    return answered


def measure_texts(arguments: argparse.Namespace, folder: Path, encoder: Encoder, kept: KeptAnswers) -> Row:
    figures = {}
    for name, read in (("hotpotqa", hotpot), ("musique", musique)):
        passages, questions = read(arguments.data)
        questions = [
            question for number, question in enumerate(questions) if number % 3
        ]  # settings were chosen on the others
        if not (folder / name / "manifest.json").exists():
            add_lexical_index(Memory.create(folder / name, passages, encoder))
        memory = Memory.open(folder / name)
        retriever = Retriever(memory, encoder)
        finder = PathFinder(retriever, NameLinks(memory))
        searches = {"paths": _by_paths(finder), "one search": _by_search(retriever)}
        found = {mode: _filled(kept, search, questions, f"recall by {mode}", 10) for mode, search in searches.items()}
        for cut in CUTS:
            values = {
                mode: [_recall(row["ids"][:cut], question) for row, question in zip(rows, questions, strict=True)]
                for mode, rows in found.items()
            }
            figures[f"{name}, recall@{cut}"] = _compared(f"{name}, recall@{cut}", "recall", values, "paths")
        if arguments.answers:
            answering = Answering(RAG(memory, encoder, arguments.model()), finder)
            asked = questions[: arguments.answers]
            rows = {mode: _filled(kept, answering.modes[mode], asked, mode, 4) for mode in arguments.modes}
            values = {mode: [row["f1"] for row in found] for mode, found in rows.items()}
            figures[f"{name}, answers"] = _compared(f"{name}, answers", "F1", values, "paths")
    return figures


def _by_paths(finder: PathFinder) -> Callable[[Sequence[HopQuestion]], list[Row]]:
    """The passages of the best paths, path by path."""

    def found(questions: Sequence[HopQuestion]) -> list[Row]:
        paths = [finder.paths(question.text, 48) for question in questions]
        return [
            {"ids": list(dict.fromkeys(one.id for path in some for one in path.passages))[: max(CUTS)]}
            for some in paths
        ]

    return found


def _by_search(retriever: Retriever) -> Callable[[Sequence[HopQuestion]], list[Row]]:
    def found(questions: Sequence[HopQuestion]) -> list[Row]:
        return [
            {"ids": [entry.passage.id for entry in entries]}
            for entries in retriever.retrieve(_texts(questions), max(CUTS))
        ]

    return found


def _recall(ids: Sequence[str], question: HopQuestion) -> float:
    return len({*ids} & {*question.supporting}) / len(question.supporting)


def _filled(kept: KeptAnswers, answer: Any, questions: Sequence[HopQuestion], mode: str, batch: int) -> list[Row]:
    items = [(f"{mode}: {question.key}", question) for question in questions]
    return kept.fill(items, answer, mode, batch)


def _compared(name: str, measure: str, values: dict[str, list[float]], mine: str) -> Row:
    """Print and return the mean of each mode, and what mine has more than it."""
    count = len(next(iter(values.values())))
    print(f"\n{name}: {count} questions", flush=True)
    figures: Row = {"questions": count}
    for mode, found in values.items():
        entry: Row = {measure: round(statistics.fmean(found), 4)}
        line = f"  {mode:<14}{measure} {entry[measure]:.3f}"
        if mine in values and mode != mine:
            entry[f"{mine} minus this"] = [
                round(one, 4) for one in interval([own - other for own, other in zip(values[mine], found, strict=True)])
            ]
            line += f"   {mine} " + "{:+.3f} [{:+.3f}, {:+.3f}]".format(*entry[f"{mine} minus this"])
        figures[mode] = entry
        print(line, flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--parts", default="countries, text", help="what to measure (countries, text)")
    parser.add_argument(
        "--modes", default="paths, one search, prompt, closed book", help="ways of answering (all four)"
    )
    parser.add_argument(
        "--questions", type=int, default=300, help="about countries, of each language and number of hops (300)"
    )
    parser.add_argument(
        "--answers", type=int, default=50, help="questions of HotpotQA and MuSiQue that are answered (50)"
    )
    parser.add_argument("--memories", type=Path, help="folder to keep memories in (a temporary one)")
    parser.add_argument("--answers-file", type=Path, help="file to keep answers in (none)")
    arguments = parser.parse_args()
    arguments.modes = [mode.strip() for mode in arguments.modes.split(",")]
    quiet_libraries()
    loaded: list[MemoryDecoder] = []

    def model() -> MemoryDecoder:
        loaded[:] = loaded or [MemoryDecoder.from_pretrained(int8_weights=True)]
        return loaded[0]

    arguments.model = model
    encoder, kept = load_encoder(), KeptAnswers(arguments.answers_file)
    figures: Row = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.memories or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for part, measure in (("countries", measure_countries), ("text", measure_texts)):
            if part in arguments.parts:
                figures |= measure(arguments, folder, encoder, kept)
    print(json.dumps(figures, ensure_ascii=False))


if __name__ == "__main__":
    main()
