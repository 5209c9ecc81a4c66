"""Do titles and summaries from memory equal those of a prompt that holds the whole text, where it fits and where it does not?

    python benchmarks/summaries.py titles --kept titles.jsonl           (goes on where it was stopped)
    python benchmarks/summaries.py chapters --kept chapters.jsonl       (--stay 0: without entries that stay)

Titles: abstracts of Chinese papers (CSL, test part), each in a memory of its own whose passages have at most 160 tokens, as the job cuts
them, all of them attended to, and for the first abstracts at most 64; the same text in the prompt; a title without the abstract ("closed
book", the same for all); and the abstract's first sentence. No worked examples in any of them. The figure is ROUGE-L by characters (Lin 2004, F1 of the longest common subsequence) against the paper's own title.

Chapters: those of the Debian FAQ in English and Chinese, without any of their headings, so that nobody can copy them. The figure is
coverage: of the words of a chapter's headings, each counted once, stop words and numbers left out and Chinese taken in pairs of characters,
the share that its summary says. The memory's summary has at most four parts, about topics that the keys give, whose entries are renewed every
24 tokens or stay; the prompt holds the whole chapter where it has at most 2,048 tokens, else its beginning. All write at most 192 tokens.
The chapter's first words, as many characters as the memory's summary, are the baseline.

Intervals are 95 %, by bootstrap, of differences paired. A table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.kept_answers import KeptAnswers, Row
from indexing.passages.cut_text import cut_text
from indexing.sources.find_files import find_files
from indexing.sources.read_documents import read_documents
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.choices import DEFAULT_MAX_PASSAGE_TOKENS, Mode
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.memory.lexical.analysis import terms
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.tasks.summaries.summarize import SummaryOptions, summarize
from memgpt_rag.tasks.summaries.summary import Part
from memgpt_rag.tasks.summaries.writer import Writer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_FINER, _FINER_ITEMS = 64, 20  # tokens of a passage where abstracts are cut finer, and how many are
FINER = f"memory, {_FINER} tokens"
SYSTEMS: tuple[tuple[str, Mode, int], ...] = (
    ("memory", "memory", DEFAULT_MAX_PASSAGE_TOKENS),
    (FINER, "memory", _FINER),
    ("prompt", "prompt", 2048),
)
_TITLES_AT_ONCE = 10
_WINDOW = 2048  # tokens of a chapter that the prompt holds
_CHAPTER_TOKENS, _PARTS = 192, 4  # of a summary
_STAY = "memory, entries stay"
_RENEWED = {"memory": 24, _STAY: None}  # tokens after which entries are renewed
_FIRST_SENTENCE = re.compile(r".*?[。.！？!?；;](?!\d)|.+", re.DOTALL)


def rouge_l(written: str, wanted: str) -> float:
    """ROUGE-L of two texts by characters, white space and case apart: F1 of their longest common subsequence."""
    one, other = ("".join(text.casefold().split()) for text in (written, wanted))
    longest = [0] * (len(other) + 1)
    for character in one:
        row = [0]
        for place, same in enumerate(other):
            row.append(longest[place] + 1 if character == same else max(longest[place + 1], row[place]))
        longest = row
    return 2 * longest[-1] / (len(one) + len(other)) if one and other else 0.0


def cut_passages(text: str, count_tokens: Callable[[str], int], most: int) -> list[Retrieved]:
    """Cut a text into passages that are attended to alike."""
    return [
        Retrieved(
            -1 - number, Passage(str(number), text[start:end], "", "text", "", "line", 1, 1, start, end), 0.0, 0.0
        )
        for number, (start, end) in enumerate(cut_text(text, count_tokens, most))
    ]


def abstracts(count: int) -> list[tuple[str, str]]:
    """Abstracts with the titles of their papers, the first of all drawn in one order."""
    lines = (DATA / "csl" / "ts.test.tsv").read_text(encoding="utf-8").splitlines()
    pairs = [(fields[1], fields[2]) for line in lines if len(fields := line.split("\t")) == 3]
    return random.Random(0).sample(pairs, len(pairs))[:count]


def titles(writer: Writer, kept: KeptAnswers, count: int) -> dict[str, Any]:
    """Titles of abstracts, block by block, so that all systems have written as many whenever it is stopped."""
    pairs = abstracts(count)

    def written(mode: Mode, cut: int) -> Callable[[Sequence[str]], Iterator[Row]]:
        def write(texts: Sequence[str]) -> Iterator[Row]:
            began = time.perf_counter()
            found = [cut_passages(text, writer.rag.retriever.encoder.count_tokens, cut) for text in texts]
            for title, passages in zip(writer.titles(found, mode), found, strict=True):
                yield {"title": title, "passages": len(passages), "seconds": (time.perf_counter() - began) / len(texts)}

        return write

    rows: dict[str, list[Row]] = {name: [] for name, _, _ in SYSTEMS}
    for start in range(0, len(pairs), _TITLES_AT_ONCE):
        block = [(start + number, text) for number, (text, _) in enumerate(pairs[start : start + _TITLES_AT_ONCE])]
        for name, mode, cut in SYSTEMS:
            items = [(f"{name}|{number}", text) for number, text in block if name != FINER or number < _FINER_ITEMS]
            rows[name] += kept.fill(items, written(mode, cut), f"titles from {name}", _TITLES_AT_ONCE)
    blank = Passage("nothing", "论文", "", "text", "", "line", 1, 1, 0, 2)
    (closed,) = kept.fill(
        [("closed book", None)],
        lambda _: [{"title": writer.titles([[Retrieved(-1, blank, 0.0, 0.0)]], "closed_book")[0]}],
        "closed book",
    )
    texts = {name: [row["title"] for row in mode_rows] for name, mode_rows in rows.items()}
    texts["closed book"] = [closed["title"]] * len(pairs)
    texts["first sentence"] = [_FIRST_SENTENCE.match(text)[0] for text, _ in pairs]  # type: ignore[index]
    figures = {
        name: [rouge_l(one, title) for one, (_, title) in zip(written_titles, pairs)]
        for name, written_titles in texts.items()
    }
    seconds = {name: sum(row["seconds"] for row in mode_rows) / len(mode_rows) for name, mode_rows in rows.items()}
    result = compared("ROUGE-L", figures, seconds)
    return {"all": result, "one passage": sum(row["passages"] == 1 for row in rows["memory"])}


class Chapter(NamedTuple):
    """A chapter without its headings."""

    name: str
    text: str
    headings: tuple[str, ...]


def chapters(count: int) -> list[Chapter]:
    """Chapters of the FAQ in both languages, the first of all drawn in one order."""
    found: list[Chapter] = []
    for name in ("debian-faq.txt", "debian-faq-zh-cn.txt"):
        (document,) = read_documents(find_files([DATA / "debian_docs" / name]))
        for heading, blocks in groupby(document.blocks, key=lambda block: block.headings[:1]):
            own = [*blocks]
            headings = tuple(dict.fromkeys(one for block in own for one in block.headings))
            text = "\n\n".join(block.text for block in own if block.text not in headings)
            if heading:
                found.append(Chapter(f"{name} {heading[0]}", text, headings))
    return random.Random(0).sample(found, len(found))[:count]


def coverage(headings: Sequence[str], written: str) -> float:
    """Share of the words of headings that a text says."""
    wanted = {term for heading in headings for term in terms(heading) if len(term) > 1 and term[0].isalpha()} - {
        "chapter"
    }
    return len(wanted & set(terms(written))) / len(wanted)


def chapter_row(chapter: Chapter, encoder: Encoder, model: MemoryDecoder, name: str) -> Row:
    """What one system writes about a chapter."""
    began = time.perf_counter()
    passages = [one.passage for one in cut_passages(chapter.text, encoder.count_tokens, DEFAULT_MAX_PASSAGE_TOKENS)]
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Memory.create(Path(folder) / "chapter", passages, encoder), encoder, model)
        if name in _RENEWED:
            options = SummaryOptions(
                outline="topics", parts=_PARTS, part_tokens=_CHAPTER_TOKENS // _PARTS, retrieve_every=_RENEWED[name]
            )
            text = "\n".join(part.text for part in summarize(writer, options))
        else:
            ids = model.tokenizer(chapter.text, add_special_tokens=False)["input_ids"]
            whole = Passage("whole", model.tokenizer.decode(ids[:_WINDOW]), "", "text", "", "line", 1, 1, 0, 1)
            asked = AskOptions("prompt", 1, max_new_tokens=_CHAPTER_TOKENS)
            sentences, _ = writer.part("", [Retrieved(-1, whole, 0.0, 0.0)], asked, [])
            text = Part("", sentences, 1, 1).text
    return {"text": text, "passages": len(passages), "seconds": time.perf_counter() - began}


def summarized(encoder: Encoder, model: MemoryDecoder, kept: KeptAnswers, count: int, stay: int) -> dict[str, Any]:
    """Summarises chapters, and compares the systems over all of them, those that fit into the prompt, and those that do not.

    Args:
        stay: number of chapters that are also summarised with entries that stay.
    """
    drawn = chapters(count)
    rows: dict[str, list[Row]] = {name: [] for name in (*_RENEWED, "prompt") if stay or name != _STAY}
    for chapter in drawn:
        for name, system_rows in rows.items():
            if name == _STAY and len(system_rows) == stay:
                continue
            write = partial(map, lambda one, name=name: chapter_row(one, encoder, model, name))
            system_rows += kept.fill([(f"{name}|{chapter.name}", chapter)], write, f"{name}: {chapter.name}")
    texts = {name: [row["text"] for row in system_rows] for name, system_rows in rows.items()}
    texts["first words"] = [chapter.text[: len(text)] for chapter, text in zip(drawn, texts["memory"], strict=True)]
    figures = {
        name: [coverage(chapter.headings, text) for chapter, text in zip(drawn, summaries)]
        for name, summaries in texts.items()
    }
    seconds = {
        name: sum(row["seconds"] for row in system_rows) / len(system_rows) for name, system_rows in rows.items()
    }
    fits = [len(model.tokenizer(one.text, add_special_tokens=False)["input_ids"]) <= _WINDOW for one in drawn]
    length = {name: round(sum(map(len, summaries)) / len(summaries)) for name, summaries in texts.items()}
    result: dict[str, Any] = {"all": compared("coverage", figures, seconds), "characters": length}
    for whole, label in ((True, "fits"), (False, "does not fit")):
        part = {name: [one for one, fit in zip(values, fits) if fit is whole] for name, values in figures.items()}
        if part["memory"]:
            result[label] = compared("coverage", part, seconds)
    return result


def compared(figure: str, figures: dict[str, list[float]], seconds: dict[str, float]) -> dict[str, Any]:
    """Means with their intervals, and the paired differences of memory to the others."""
    return {
        "figure": figure,
        "systems": {
            name: {
                "items": len(values),
                "mean": [round(one, 4) for one in interval(values)],
                "seconds": round(seconds[name], 2) if name in seconds else None,
                "memory against it": [
                    round(one, 4) for one in interval([mine - other for mine, other in zip(figures["memory"], values)])
                ],
            }
            for name, values in figures.items()
        },
    }


def print_table(name: str, result: dict[str, Any]) -> None:
    print(f"\n{name}: {result['figure']}")
    print(f"{'system':<28}{'items':>6}{'mean (95 %)':>24}{'memory minus it':>26}{'s an item':>11}")
    for system, one in result["systems"].items():
        mean, against = ("{:+.3f} [{:+.3f}, {:+.3f}]".format(*one[key]) for key in ("mean", "memory against it"))
        print(f"{system:<28}{one['items']:>6}{mean:>24}{against:>26}{one['seconds'] or '':>11}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("titles", "chapters"))
    parser.add_argument("--items", type=int, default=300, help="abstracts, or chapters")
    parser.add_argument("--stay", type=int, default=32, help="chapters that are summarised with entries that stay, too")
    parser.add_argument("--kept", type=Path, help="file that keeps what was written")
    arguments = parser.parse_args()
    quiet_libraries()
    encoder, kept = load_encoder(), KeptAnswers(arguments.kept)
    model = MemoryDecoder.from_pretrained(reader=None)
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory.create(Path(folder) / "nothing", ["nothing"], encoder)  # each item brings its own passages
        result = (
            titles(Writer(memory, encoder, model), kept, arguments.items)
            if arguments.what == "titles"
            else summarized(encoder, model, kept, arguments.items, arguments.stay)
        )
    for part, figures in result.items():
        if isinstance(figures, dict) and "systems" in figures:
            print_table(f"{arguments.what}, {part}", figures)
    print(
        json.dumps(
            {"benchmark": "summaries", "what": arguments.what, "model": model.name, **result}, ensure_ascii=False
        )
    )


if __name__ == "__main__":
    main()
