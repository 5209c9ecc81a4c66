"""Which search has the right entry at the first place: by key, by words, or by both? Searches only, and generates nothing.

    python benchmarks/first_entry.py --memories FOLDER            every set (an hour on one core, most of it embedding)

"First" is the share of questions whose first entry holds the answer, "of 4" the share of what is relevant that is among the
first four: for questions with one answer, whether one of the four holds it; for HotpotQA and MuSiQue, the share of a question's
paragraphs. Questions are those of the reporting halves. Differences are hybrid − dense, paired per question, with 95 % intervals by
bootstrap. Seconds are those of one question, its embedding included, where a search has one; bytes are those of the lexical index
per entry. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import K
from benchmarks.answers import REPORTING, build
from benchmarks.how_to_set import build_manuals, read_questions
from benchmarks.judged_sets import load
from benchmarks.question_sets import DATA, SETS, is_gold, read_set, sample
from memgpt_rag.choices import PRECISIONS, SEARCH_KINDS
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder, load_memory_encoder
from memgpt_rag.evaluation.document_memory import embed_documents
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.retriever import Retriever, Search

MULTIHOP = ("hotpotqa", "musique")
HOW_TO = "how_to"


@dataclass(frozen=True)
class Asked:
    """A question; `relevant` returns what a passage answers of it, out of `of`: the whole, or one of several documents."""

    text: str
    relevant: Callable[[Passage], set[str]]
    of: int = 1


def answer_in(holds: Callable[[Passage], bool]) -> Callable[[Passage], set[str]]:
    return lambda passage: {"answer"} if holds(passage) else set()


def documents_in(wanted: Collection[str]) -> Callable[[Passage], set[str]]:
    return lambda passage: {passage.document_id} & set(wanted)


def memory_and_questions(
    name: str, arguments: argparse.Namespace, folder: Path, encoder: Encoder
) -> tuple[Memory, list[Asked]]:
    """The memory of a set, with a lexical index, and its questions."""
    if name == HOW_TO:
        config = EncoderConfig(precision=arguments.precision)
        memory = build_manuals(folder / name, arguments.data, config, arguments.files)
        files = {Path(passage.source).name for passage in memory.passages(memory.rows())}
        asked = [Asked(one.question, answer_in(one.is_held)) for one in read_questions() if one.file in files]
    elif name in MULTIHOP:
        judged = load(name, arguments.data)
        path = folder / name
        memory = Memory.open(path) if path.exists() else embed_documents(judged, encoder, path, words=True)[0]
        asked = [
            Asked(text, documents_in(judged.relevant(query)), len(judged.relevant(query)))
            for query, text in judged.judged.items()
        ]
    else:
        records, per_set = read_set(arguments.data, name, arguments.articles)
        memory = build(name, folder, encoder, records, words=True)
        asked = [
            Asked(one.text, answer_in(partial(is_gold, one))) for one in sample(per_set, REPORTING, arguments.questions)
        ]
    return memory, asked


def measure(memory: Memory, asked: Sequence[Asked], encoder: Encoder) -> dict[str, Any]:
    rows: dict[str, list[tuple[float, float]]] = {}
    seconds: dict[str, float] = {}
    for kind in SEARCH_KINDS:
        retriever, rows[kind], times = Retriever(memory, encoder, Search(kind)), [], []
        retriever.retrieve([asked[0].text], K)  # maps what is read
        for one in asked:
            began = time.perf_counter()
            (entries,) = retriever.retrieve([one.text], K)
            times.append(time.perf_counter() - began)
            found = [one.relevant(entry.passage) for entry in entries]
            rows[kind].append((float(bool(found and found[0])), len(set().union(*found)) / one.of))
        seconds[kind] = statistics.median(times)
    differences = {
        figure: [
            round(number, 3)
            for number in interval([one[at] - other[at] for one, other in zip(rows["hybrid"], rows["dense"])])
        ]
        for at, figure in enumerate(("first", "of 4"))
    }
    lexical = sum(
        stored.bytes
        for segment in memory.manifest.segments
        for file, stored in segment.files.items()
        if file.startswith("words")
    )
    return {
        "entries": len(memory),
        "questions": len(asked),
        "searches": {
            kind: {
                "first": round(statistics.fmean(first for first, _ in of), 3),
                "of 4": round(statistics.fmean(four for _, four in of), 3),
                "milliseconds": round(seconds[kind] * 1000, 2),
            }
            for kind, of in rows.items()
        },
        "hybrid - dense": differences,
        "bytes per entry": round(lexical / len(memory)),
    }


def print_table(name: str, result: dict[str, Any]) -> None:
    print(
        f"\n{name}: {result['entries']:,} entries, {result['questions']} questions; "
        f"lexical index {result['bytes per entry']} bytes an entry"
    )
    print(f"{'search':<10}{'first':>8}{'of 4':>8}{'time':>10}")
    for kind, of in result["searches"].items():
        print(f"{kind:<10}{of['first']:>8.1%}{of['of 4']:>8.1%}{of['milliseconds']:>7.1f} ms")
    versus = [
        "{} {:+.3f} [{:+.3f}, {:+.3f}]".format(figure, *numbers) for figure, numbers in result["hybrid - dense"].items()
    ]
    print(f"hybrid − dense: {', '.join(versus)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sets = [*SETS, *MULTIHOP, HOW_TO]
    parser.add_argument("--sets", nargs="+", default=sets, choices=sets)
    parser.add_argument("--questions", type=int, default=300, help="questions per set")
    parser.add_argument("--articles", type=int, help="articles per half of a set; all without it")
    parser.add_argument("--files", nargs="+", default=[], help="only these manuals for how_to")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS, help="numbers that passages are embedded in")
    parser.add_argument("--memories", type=Path, help="folder to keep the memories in for the next time")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.memories or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.sets:
            encoder = load_encoder(EncoderConfig(precision=arguments.precision))
            memory, asked = memory_and_questions(name, arguments, folder, encoder)
            results[name] = measure(memory, asked, load_memory_encoder(memory.manifest.encoder))
            print_table(name, results[name])
    print(json.dumps(results, ensure_ascii=False))


if __name__ == "__main__":
    main()
