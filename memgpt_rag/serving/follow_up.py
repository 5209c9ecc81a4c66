"""What to search for where a question follows others: "and in winter?" means what the turn before it was about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """A finished turn of a conversation."""

    question: str
    answer: str


# Words that stand for what an earlier turn named.
_REFERS = re.compile(
    r"\b(it|its|they|them|their|he|him|his|she|her|this|that|these|those|there|then|one|ones|same)\b"
    r"|^(and|but|so|or|what about|how about)\b|[它他她这那其]|^(还|那|然后|而)|呢[？?]?$",
    re.IGNORECASE,
)
_SHORT = {"characters": 12, "words": 5}
_MOST_CHARACTERS = 200  # of an earlier question or answer: encoders read the beginning of long texts only


def refers_back(question: str) -> bool:
    """Whether a question needs the turn before it to be understood: it is short, or has a word that stands for something."""
    text = question.strip()
    short = len(text) <= _SHORT["characters"] or (" " in text and len(text.split()) <= _SHORT["words"])
    return short or _REFERS.search(text) is not None


def search_query(question: str, earlier: Sequence[Turn]) -> str:
    """Return what to search for.

    Args:
        earlier: the finished turns before the question, the latest last.
    """
    return f"{earlier[-1].question} {earlier[-1].answer} {question}" if earlier else question
