"""What to search for where a question follows others: "and in winter?" means what the turns before it were about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Chosen by `benchmarks/dialogue.py`: two turns find more than one, always more than only where a question seems to refer back.
_TURNS = 2
_MOST_CHARACTERS = 200  # of an earlier question or answer: encoders read the beginning of long texts only


@dataclass(frozen=True)
class Turn:
    """A finished turn of a conversation."""

    question: str
    answer: str


def search_query(question: str, earlier: Sequence[Turn]) -> str:
    """Return what to search for: the question after the last two turns.

    Args:
        earlier: the finished turns before the question, the latest last.
    """
    said = [text[:_MOST_CHARACTERS] for turn in earlier[-_TURNS:] for text in (turn.question, turn.answer) if text]
    return " ".join([*said, question])
