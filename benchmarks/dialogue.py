"""Do follow-up questions find what they mean, and are the first turns of a long conversation remembered?

    python benchmarks/dialogue.py                      search, 200 dialogues of KdConv (minutes on one core)

Search: recall at 4 of the right knowledge. A turn counts as a question where the next one states facts that were not on the
table before; what is right are these facts, each an entry (an entity with one of its properties), among the facts of all dialogues.
Figures are given for all questions and for those that follow another one. Differences to searching for the question alone are
paired, with 95 % intervals by bootstrap over the questions. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.question_sets import DATA
from memgpt_rag.choices import DEFAULT_K
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.retriever import Retriever
from memgpt_rag.serving.follow_up import Turn, refers_back, search_query

DOMAINS = ("film", "music", "travel")
MOST_CHARACTERS = 300  # of a fact: some are whole articles


@dataclass(frozen=True)
class Asked:
    """A question, the finished turns before it, and the ids of the facts that answer it."""

    text: str
    earlier: tuple[Turn, ...]
    right: frozenset[str]


def dialogues(split: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the messages of each dialogue, the domains in turn."""
    sets = [json.loads((DATA / "kdconv" / f"{domain}.{split}.json").read_text(encoding="utf-8")) for domain in DOMAINS]
    for together in zip(*sets, strict=True):
        for dialogue in together:
            yield dialogue["messages"]


def fact_id(fact: dict[str, str]) -> str:
    """Return the id of the entry that a fact is a part of: an entity with one of its properties."""
    return f"{fact['name']}#{fact['attrname']}"


def facts(every: Sequence[list[dict[str, Any]]]) -> list[Passage]:
    """Return the facts of dialogues as entries."""
    values: dict[str, dict[str, None]] = {}
    names: dict[str, tuple[str, str]] = {}
    for messages in every:
        for message in messages:
            for fact in message.get("attrs", []):
                values.setdefault(fact_id(fact), {})[fact["attrvalue"]] = None
                names[fact_id(fact)] = fact["name"], fact["attrname"]
    found = []
    for number, (id, known) in enumerate(values.items(), 1):
        name, attribute = names[id]
        text = f"{attribute}：{'、'.join(known)}"[:MOST_CHARACTERS]
        found.append(Passage(id, text, name, "kdconv", id, "fact", number, number, 0, len(text)))
    return found


def questions(messages: Sequence[dict[str, Any]]) -> Iterator[Asked]:
    """Yield the questions of a dialogue."""
    said = [message["message"] for message in messages]
    known = [{fact_id(fact) for fact in message.get("attrs", [])} for message in messages]
    for place in range(len(messages) - 1):
        right = known[place + 1] - known[place]
        if right and said[place].rstrip("。！ ").endswith(("？", "?", "吗", "呢")):
            start = place % 2
            earlier = tuple(Turn(said[at], said[at + 1]) for at in range(start, place - 1, 2))
            yield Asked(said[place], earlier, frozenset(right))


def alone(question: str, earlier: Sequence[Turn]) -> str:
    return question


def after_question(question: str, earlier: Sequence[Turn]) -> str:
    return f"{earlier[-1].question} {question}" if earlier else question


def after_turn(question: str, earlier: Sequence[Turn]) -> str:
    return f"{earlier[-1].question} {earlier[-1].answer} {question}" if earlier else question


def after_answer(question: str, earlier: Sequence[Turn]) -> str:
    return f"{earlier[-1].answer} {question}" if earlier else question


def after_two_turns(question: str, earlier: Sequence[Turn]) -> str:
    return " ".join([*(f"{turn.question} {turn.answer}" for turn in earlier[-2:]), question])


def where_it_refers_back(joined: Callable[[str, Sequence[Turn]], str]) -> Callable[[str, Sequence[Turn]], str]:
    return lambda question, earlier: joined(question, earlier) if refers_back(question) else question


VARIANTS: dict[str, Callable[[str, Sequence[Turn]], str]] = {
    "question alone": alone,
    "last question joined": after_question,
    "last answer joined": after_answer,
    "last question and answer joined": after_turn,
    "last two turns joined": after_two_turns,
    "last turn, where it refers back": where_it_refers_back(after_turn),
    "as the server does": search_query,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=200)
    parser.add_argument("--questions", type=int, default=3, help="of a dialogue, at random")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    options = parser.parse_args()
    quiet_libraries()
    every = list(dialogues(options.split))[: options.dialogues]
    chosen = random.Random(0)
    asked = [
        question
        for found in (list(questions(messages)) for messages in every)
        for question in chosen.sample(found, min(options.questions, len(found)))
    ]
    encoder = load_encoder()
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory.create(Path(folder) / "facts", facts(every), encoder)
        retriever = Retriever(memory, encoder)
        recalls = {name: _recalls(retriever, asked, query) for name, query in VARIANTS.items()}
    follows = [place for place, question in enumerate(asked) if question.earlier]
    _report(len(memory), asked, follows, recalls, len(every))


def _recalls(retriever: Retriever, asked: Sequence[Asked], query: Callable[[str, Sequence[Turn]], str]) -> list[float]:
    found = retriever.retrieve([query(one.text, one.earlier) for one in asked], DEFAULT_K)
    return [
        len(one.right & {entry.passage.id for entry in entries}) / min(len(one.right), DEFAULT_K)
        for one, entries in zip(asked, found, strict=True)
    ]


def _report(
    entries: int, asked: Sequence[Asked], follows: Sequence[int], recalls: dict[str, list[float]], count: int
) -> None:
    print(
        f"{count} dialogues, {len(asked):,} questions ({len(follows):,} follow another one), {entries:,} facts; "
        f"recall at {DEFAULT_K}\n"
    )
    print(f"{'searched for':40} {'all':>6} {'follow-up':>10}   difference (follow-up)")
    figures = {}
    base = recalls["question alone"]
    for name, every in recalls.items():
        later = [every[place] for place in follows]
        difference = [every[place] - base[place] for place in follows]
        mean, low, high = interval(difference)
        print(
            f"{name:40} {sum(every) / len(every):6.3f} {sum(later) / len(later):10.3f}   "
            f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
        )
        figures[name] = {"all": sum(every) / len(every), "follow_up": sum(later) / len(later)}
    print(json.dumps({"dialogues": count, "questions": len(asked), "entries": entries, "recall": figures}))


if __name__ == "__main__":
    main()
