"""From the messages of a dialogue to a question, what is read before it, and what is searched for.

A question that follows others is searched for together with them: "and in winter?" means what the turns before it were about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from memgpt_rag.model.prompt import Prompt

# Chosen by `benchmarks/dialogue.py`: two turns find more than one, always more than only where a question seems to refer back.
_TURNS = 2
_MOST_CHARACTERS = 200  # of an earlier question or answer: encoders read the beginning of long texts only


class Message(Protocol):
    """A message of a dialogue."""

    @property
    def role(self) -> str:
        """Who wrote it: "system", "developer", "user" or "assistant"."""

    @property
    def text(self) -> str:
        """What it says."""


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


def finished_turns(messages: Sequence[Message]) -> list[Turn]:
    """Return the questions that were answered, the latest last."""
    return [
        Turn(first.text.strip(), second.text.strip())
        for first, second in pairwise(messages)
        if first.role == "user" and second.role == "assistant" and first.text.strip()
    ]


def question_and_context(messages: Sequence[Message], prompt: Prompt) -> tuple[str, str]:
    """Return the last user's message, and the earlier ones as text.

    System messages stand first, then the earlier turns in the form in which the model is asked, so that it reads them as
    questions that were answered. All of it is plain text: nothing in it can end a turn.

    Raises:
        ValueError: the question is empty.
    """
    *earlier, last = messages
    if not last.text.strip():
        raise ValueError("The last message is empty; ask something.")
    instructions = [message.text.strip() for message in messages if message.role in ("system", "developer")]
    turns = list[str]()
    for message in earlier:
        text = message.text.strip()
        if message.role == "user" and text:
            turns.append(prompt.asked_text(text))
        elif message.role == "assistant" and text:
            asked = turns.pop() if turns and not turns[-1].endswith("\n\n") else ""
            turns.append(f"{asked}{'' if not asked or asked.endswith('：') else ' '}{text}\n\n")
    dialogue = "".join(turn if turn.endswith("\n\n") else f"{turn}\n\n" for turn in turns)
    return last.text.strip(), "\n\n".join(part for part in (*instructions, dialogue.strip()) if part)
