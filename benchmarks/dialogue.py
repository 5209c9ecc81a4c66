"""Do follow-up questions find what they mean, and are the first turns of a long conversation remembered?

    python benchmarks/dialogue.py                      search, 200 dialogues of KdConv (minutes on one core)
    python benchmarks/dialogue.py --conversation       a conversation of 60 turns in a window of 512 tokens

Search: recall at 4 of the right knowledge. A turn counts as a question where the next one states facts that were not on the
table before; what is right are these facts, each an entry (an entity with one of its properties), among the facts of all dialogues.
Figures are given for all questions and for those that follow another one. Differences to searching for the question alone are
paired, with 95 % intervals by bootstrap over the questions.

Conversation: how many facts of the first turns the default language model still knows at the end, with the turns as entries that are
read by attention, and with as many of the last turns in the prompt as 512 tokens hold. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.question_sets import DATA
from memgpt_rag.answering.dialogue import Turn, search_query
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.choices import DEFAULT_K
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.passage import Passage
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retriever
from memgpt_rag.serving.access import EVERYTHING
from memgpt_rag.serving.chat_request import Message
from memgpt_rag.serving.conversations import Conversations, joined
from memgpt_rag.serving.dialogue import Asked as Dialogue
from memgpt_rag.serving.dialogue import read_conversation

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


# Words that stand for what an earlier turn named, and beginnings that go on from it.
_REFERS = re.compile(
    r"\b(it|its|they|them|their|he|him|his|she|her|this|that|these|those|there|then|one|ones|same)\b"
    r"|^(and|but|so|or|what about|how about)\b|[它他她这那其]|^(还|那|然后|而)|呢[？?]?$",
    re.IGNORECASE,
)


def refers_back(question: str) -> bool:
    """Whether a question seems to need the turn before it: it is short, or has a word that stands for something."""
    text = question.strip()
    return len(text) <= 12 or (" " in text and len(text.split()) <= 5) or _REFERS.search(text) is not None


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


# What the user says in the first turns; what is asked at the end; a word of the right answer.
FACTS = (
    ("My dog is called Biscuit.", "What is my dog called?", "biscuit"),
    ("My sister Nora lives in Bergen.", "In which city does my sister Nora live?", "bergen"),
    ("I was born in 1987.", "In which year was I born?", "1987"),
    ("The code of my bicycle lock is 4172.", "What is the code of my bicycle lock?", "4172"),
    ("My doctor is called Zhang.", "What is my doctor called?", "zhang"),
)
TURNS, WINDOW = 60, 512
_SMALL_TALK = ("How many boats have the number {}?", "There are {} boats of this number on the lake.")


def long_conversation(rag: RAG, folder: Path) -> dict[str, int]:
    """Hold a conversation of 60 turns, and count the facts of its first turns that are known at the end.

    Args:
        folder: where the conversation is kept.
    """
    conversation = Conversations(folder).begun("long", EVERYTHING, "")
    said = [Turn(fact, "") for fact, _, _ in FACTS]
    said += [Turn(*(text.format(number) for text in _SMALL_TALK)) for number in range(TURNS - len(said))]
    encoder, options = rag.retriever.encoder, AskOptions(max_new_tokens=16)
    for turn in said:
        conversation.add(turn, "park", encoder)
    known = {"turns": len(conversation.turns()), "with memory": 0, "last turns in the window": 0}
    for _, question, answer in FACTS:
        message = [Message(role="user", content=question)]
        asked = read_conversation(message, conversation.recent(), rag.prompt)
        queries, read = [question, asked.query], [turn.question for turn in asked.earlier]
        recalled = conversation.recalled(queries, encoder, read, options.k)
        (draft,) = rag.drafts([question], options, contexts=[asked.context], queries=[asked.query])
        draft = replace(draft, retrieved=joined(draft.retrieved, recalled, options.k))
        known["with memory"] += answer in rag.answer_from([draft], options)[0].text.casefold()
        window = next(
            tried
            for start in range(TURNS)
            if len((tried := read_conversation(message, said[start:], rag.prompt)).context) and _fits(rag, tried)
        )
        (draft,) = rag.drafts([question], options, contexts=[window.context], queries=[asked.query])
        known["last turns in the window"] += answer in rag.answer_from([draft], options)[0].text.casefold()
    return known


def _fits(rag: RAG, asked: Dialogue) -> bool:
    return len(rag.prompt.question_row(asked.question, [], asked.context)) <= WINDOW


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=200)
    parser.add_argument("--questions", type=int, default=3, help="of a dialogue, at random")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--conversation", action="store_true", help="the conversation of 60 turns instead")
    options = parser.parse_args()
    quiet_libraries()
    if options.conversation:
        with tempfile.TemporaryDirectory() as folder:
            texts = ["The park opens at six in the morning.", "A rowing boat costs 40 yuan an hour."]
            Memory.create(Path(folder) / "park", texts, load_encoder())
            known = long_conversation(RAG.open(Path(folder) / "park"), Path(folder) / "conversations")
        print(f"of {len(FACTS)} facts of the first turns, known after {TURNS} turns:")
        for name in ("with memory", "last turns in the window"):
            print(f"{name:30} {known[name]}")
        print(json.dumps(known))
        return
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
