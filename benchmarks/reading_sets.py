"""Training questions from open sets, each with what a search finds for it: the rows that `train_readers.py` learns from.

    python benchmarks/reading_sets.py ROWS.jsonl.gz             (15 minutes)
    python benchmarks/reading_sets.py ROWS.jsonl.gz --how-to    for a second training, `continue_reader.py`: a third are how-to questions

The sets lie in ../shared/data/reading; their licences are listed in the README there and in a reader's card. The passages of a set
are split as the index job splits them and form one pool. Each question is given the passage that holds its answer and the
highest-ranked other passages as distractors. For some questions the gold passage is removed; their answer is "not in memory". Each
row is one question, tokenised for the default language model.

Passages are ranked by E5 embeddings, which takes an hour and a half on one core. With --profiles they are ranked by BM25, and
retrieval scores are sampled from rows that E5 ranked: from a question of the same language that is answerable or not, as this one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bm25s
import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.command_questions import how_to_records
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.clean_text import clean
from indexing.sources.document import Block, Document
from memgpt_rag.answering.answer_match import holds_answer
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory.lexical.analysis import terms
from memgpt_rag.model import DEFAULT_GENERATOR
from memgpt_rag.model.prompt import NOT_IN_MEMORY, Prompt, detect_language
from memgpt_rag.model.tokenizer import load_tokenizer
from memgpt_rag.passage import Passage

# Questions taken of each set, by its name and part.
COUNTS = {
    "squadshifts new_wiki_v1.0": 4500,
    "squadshifts reddit_v1.0": 400,
    "squadshifts amazon_reviews_v1.0": 400,
    "qed_dev": 1300,
    "nq_oracle": 2200,
    "clapnq_dev": 600,
    "qamr": 700,
    "timeqa_human": 1200,
    "boolq_dev": 500,
    "tatqa": 700,
    "fetaqa": 500,
    "mtrag_un": 376,
    "cmrc2018_train": 5000,
    "dureader_robust": 1500,
    "dureader_checklist": 1230,
    "dureader2_demo": 195,
    "cmrc2017_user": 1200,
    "nomiracl en.non_relevant": 250,
    "nomiracl zh.non_relevant": 250,
    "hotpot_bolaa": 300,
    "hotpot_pooled500": 500,
    "ircot_demos": 89,
    "strategyqa": 200,
    "qmsum": 150,
    "medquad": 900,
    "python_faq_zh_en": 348,
    "tldr en": 1500,
    "tldr zh": 1100,
    "us_federal_covid_faq": 289,
}
# Of a second training, which are joined by how-to questions made from tldr pages (`command_questions.py`).
HOW_TO_COUNTS = {
    "squadshifts new_wiki_v1.0": 1600,
    "squadshifts reddit_v1.0": 150,
    "cmrc2018_train": 1800,
    "dureader_robust": 1500,
    "nq_oracle": 600,
    "qed_dev": 300,
    "timeqa_human": 250,
    "hotpot_bolaa": 150,
    "hotpot_pooled500": 250,
    "nomiracl en.non_relevant": 120,
    "nomiracl zh.non_relevant": 120,
    "tatqa": 150,
    "medquad": 500,
    "python_faq_zh_en": 348,
    "us_federal_covid_faq": 289,
    "dureader2_demo": 195,
    "dureader_checklist": 700,
    "clapnq_dev": 300,
    "mtrag_un": 150,
    "cmrc2017_user": 300,
}
HOW_TO_MADE = {"en": 3600, "zh": 1800}
NO_TITLES = ("squadshifts reddit_v1.0", "squadshifts amazon_reviews_v1.0", "tatqa")
_UNANSWERABLE = 0.12  # share of the answerable questions whose passage is taken away
_MOST_ENTRIES = 8
_MOST_ANSWER_TOKENS = 96
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")


@dataclass
class _Asked:
    """A question; `own` and `gold` are indices into the pool: passages of its record, and those that hold the answer."""

    name: str
    question: str
    answer: str
    own: list[int]
    gold: list[int] = field(default_factory=list)


# Ranks passages for each question: indices of the best ones, and every passage's normalized_score score; None to sample scores.
Search = Callable[[Sequence[str], Sequence[str]], Iterator[tuple[list[int], Any]]]
_DEPTH = 64


def search_by_key(encoder: Any) -> Search:
    def search(passages: Sequence[str], questions: Sequence[str]) -> Iterator[tuple[list[int], Any]]:
        keys = np.asarray(encoder.encode_passages(passages))
        queries = np.asarray(encoder.encode_queries(questions))
        for scores in queries @ keys.T / encoder.fingerprint.score_scale:
            yield np.argsort(-scores, kind="stable")[:_DEPTH].tolist(), scores

    return search


def search_by_words(passages: Sequence[str], questions: Sequence[str]) -> Iterator[tuple[list[int], Any]]:
    index = bm25s.BM25()
    index.index([terms(text) for text in passages], show_progress=False)
    for question in questions:
        scores = index.get_scores(terms(question))
        yield np.argsort(-scores, kind="stable")[:_DEPTH].tolist(), None


class Profiles:
    """Retrieval scores of rows that were ranked by embeddings: those of gold passages, and those of the others, best first."""

    def __init__(self, file: Path | None):
        self._by_kind: dict[tuple[str, bool], list[tuple[list[float], list[float]]]] = {}
        if file is not None:
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                for row in map(json.loads, lines):
                    scores, gold = row["scores"], set(row["gold"])
                    right = [score for place, score in enumerate(scores) if place in gold]
                    wrong = [score for place, score in enumerate(scores) if place not in gold]
                    self._by_kind.setdefault((row["lang"], bool(gold)), []).append((right, wrong))

    def drawn(self, language: str, gold: int, count: int, generator: np.random.Generator) -> list[float]:
        """Scores for `count` entries, the `gold` ones first; each part is in descending order."""
        profiles = self._by_kind[language, bool(gold)]
        right, wrong = profiles[int(generator.integers(len(profiles)))]
        scores = list(right)
        while len(scores) < gold:  # further right entries score somewhat below the first
            scores.append(scores[0] - 0.3 * float(generator.exponential()))
        fewer = wrong or [min(scores, default=0.0) - 0.7]
        while len(fewer) < count - gold:
            fewer = [*fewer, fewer[-1] - 0.05 * float(generator.exponential())]
        return [round(one, 3) for one in (*scores[:gold], *fewer[: count - gold])]


def records(
    folder: Path, generator: np.random.Generator, counts: dict[str, int] = COUNTS
) -> dict[str, list[dict[str, Any]]]:
    """Sample records from each set, in stretches of neighbors, so that questions about one document stay together.

    Args:
        counts: how many of each set, by its name and part.
    """
    taken: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            every = [json.loads(line) for line in lines]
        parts: dict[str, list[dict[str, Any]]] = {}
        for record in every:
            name = record["set"] if record["set"] in counts else f"{record['set']} {record.get('sub')}"
            if record["set"] == "nomiracl" and record["answerable"]:
                continue  # answerable ones say only that they are
            if record["set"] == "tatqa" and record.get("atype") != "span":
                continue
            parts.setdefault(name, []).append(record)
        for name, members in parts.items():
            count, stretch = counts.get(name, 0), 40
            starts = generator.permutation(range(0, len(members), stretch))
            taken[name] = [one for start in starts for one in members[start : start + stretch]][:count]
    return {name: members for name, members in taken.items() if members}


def shortened(answer: str, prompt: Prompt) -> str:
    """An answer cut to whole sentences or lines of at most `_MOST_ANSWER_TOKENS` tokens."""
    answer = re.sub(r"[ \t]+", " ", answer.strip())
    if len(prompt.token_ids(answer)) <= _MOST_ANSWER_TOKENS:
        return answer
    kept = ""
    for piece in re.findall(r".+?(?:[.!?](?=\s)|[。！？]|\n|$)", answer, re.S):
        if len(prompt.token_ids(kept + piece)) > _MOST_ANSWER_TOKENS:
            break
        kept += piece
    return kept.strip()


def overlap(answer: str, text: str) -> float:
    """Share of an answer's words that occur in a text."""
    words, there = Counter(_WORD.findall(answer.casefold())), Counter(_WORD.findall(text.casefold()))
    return sum((words & there).values()) / max(1, sum(words.values()))


def gold_passages(asked: _Asked, pool: Sequence[Passage], name: str) -> list[int]:
    """Indices of the gold passages: the one that contains the answer or shares most words with it; all, for multi-hop sets."""
    if name.startswith(("hotpot", "ircot", "strategyqa")):
        return asked.own
    holding = [place for place in asked.own if holds_answer(pool[place].titled_text, asked.answer)]
    if holding:
        return holding[:1]
    if len(asked.own) == 1 or asked.answer in ("yes", "no"):
        return asked.own[:_MOST_ENTRIES]
    best = max(asked.own, key=lambda place: overlap(asked.answer, pool[place].text), default=None)
    return [] if best is None or overlap(asked.answer, pool[best].text) < 0.3 else [best]


def training_rows(
    name: str,
    taken: list[dict[str, Any]],
    search: Search,
    profiles: Profiles,
    splitter: PassageSplitter,
    prompt: Prompt,
    generator: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """Training rows of one set."""
    pool: list[Passage] = []
    places: dict[tuple[str, str], list[int]] = {}
    asked: list[_Asked] = []

    for record in taken:
        passages = record["passages"]
        if name.startswith("hotpot"):
            titles = {support[0] if isinstance(support, list) else support for support in record["sup"]}
            supports = [one for one in passages if one["title"] in titles]
            others = [one for one in passages if one["title"] not in titles]
        else:
            supports, others = passages, []
        own: list[int] = []
        for passage, counts in [*((one, True) for one in supports), *((one, False) for one in others)]:
            key = (passage["title"], passage["text"])
            if key not in places:
                title = (
                    "" if name in NO_TITLES or generator.random() < 0.4 else passage["title"].replace("_", " ").strip()
                )
                text = re.sub(r"\{\w+\}", "", passage["text"])
                document = Document(name, str(len(places)), title, "line", (Block(text, 1, 1),))
                split = list(splitter.split(document))
                places[key] = list(range(len(pool), len(pool) + len(split)))
                pool += split
            own += places[key] if counts else []
        question = clean(record["question"])
        answer = shortened(record["answers"][0], prompt) if record["answers"] else ""
        if not question or (record["answerable"] and not answer) or len(prompt.token_ids(question)) > 96:
            continue
        asked.append(_Asked(name, question, answer if record["answerable"] else "", own))
    for one in asked:
        one.gold = gold_passages(one, pool, name)[:_MOST_ENTRIES] if one.answer else []
    found = search([one.titled_text for one in pool], [one.question for one in asked])
    for one, (ranked, scores) in zip(asked, found, strict=True):
        count = int(generator.integers(max(2, len(one.gold)), _MOST_ENTRIES + 1)) if one.gold else 4
        answerable = bool(one.answer and one.gold)
        if one.answer and not one.gold:
            continue
        if answerable and generator.random() < _UNANSWERABLE:
            answerable = False
        wrong = [
            place
            for place in ranked
            if place not in one.gold
            and (answerable or place not in one.own or not one.answer)
            and not (one.answer and holds_answer(pool[place].titled_text, one.answer) and not answerable)
        ]
        gold = one.gold if answerable else []
        language = detect_language(one.question)
        entries = [*gold, *wrong[: count - len(gold)]]
        if not entries:
            continue
        if scores is None:
            drawn = profiles.drawn(language, len(gold), len(entries), generator)
            scores = dict(zip(entries, drawn, strict=True))
        entries.sort(key=lambda place: -scores[place])
        answer = one.answer if answerable else NOT_IN_MEMORY[language]
        words, _ = prompt.answer_ids(one.question, answer)
        yield {
            "set": name,
            "lang": language,
            "entries": [prompt.entry_ids(pool[place]) for place in entries],
            "scores": [round(float(scores[place]), 3) for place in entries],
            "gold": [entries.index(place) for place in gold],
            "question": prompt.question_ids(one.question),
            "answer": words,
        }


def taken_records(folder: Path, generator: np.random.Generator, how_to: bool) -> dict[str, list[dict[str, Any]]]:
    """Records of each set; with `how_to` those of a second training, with questions made from tldr pages."""
    if not how_to:
        return records(folder, generator)
    taken = records(folder, generator, HOW_TO_COUNTS)
    with gzip.open(folder / "tldr.jsonl.gz", "rt", encoding="utf-8") as lines:
        pages = [json.loads(line) for line in lines]
    made = {
        f"tldr how-to {language}": how_to_records(pages, language, generator, count)
        for language, count in HOW_TO_MADE.items()
    }
    return {**taken, **made}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="file to write")
    parser.add_argument(
        "--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "reading"
    )
    parser.add_argument("--sets", nargs="*", help="only these sets, by the beginning of their names")
    parser.add_argument("--profiles", type=Path, help="search by words, with scores drawn from these rows")
    parser.add_argument("--how-to", action="store_true", help="the sets of a second training")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    quiet_libraries()
    generator = np.random.default_rng(arguments.seed)
    profiles = Profiles(arguments.profiles)
    search = (
        search_by_words
        if arguments.profiles
        else search_by_key(load_encoder(EncoderConfig(backend="openvino", precision="int8")))
    )
    prompt = Prompt(load_tokenizer(DEFAULT_GENERATOR))
    splitter = PassageSplitter(lambda text: len(prompt.token_ids(text)))
    counts: dict[str, dict[str, int]] = {}
    with gzip.open(arguments.rows, "wt", encoding="utf-8") as file:
        for name, taken in taken_records(arguments.data, generator, arguments.how_to).items():
            if arguments.sets and not name.startswith(tuple(arguments.sets)):
                continue
            totals = Counter[str]()
            for row in training_rows(name, taken, search, profiles, splitter, prompt, generator):
                file.write(json.dumps(row) + "\n")
                totals["questions"] += 1
                totals["answerable"] += bool(row["gold"])
                totals["tokens"] += sum(map(len, row["entries"]))
            counts[name] = dict(totals)
            print(name, dict(totals), flush=True)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
