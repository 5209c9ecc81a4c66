"""A request on its way to its answers: what is asked, how, until when, and who receives what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from memgpt_rag.answering.answer_row import Piece, Sampling
from memgpt_rag.answering.choice import Choice
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.retrieval.retriever import Retrieved, Search
from memgpt_rag.serving.memories import ServedMemory


@dataclass(frozen=True)
class Found:
    """The entries that a question is answered from, best first."""

    entries: list[Retrieved]


Event = Found | Piece | list[Choice] | BaseException


@dataclass(eq=False)
class Task:
    """A request on its way to its answers.

    Attributes:
        query: what to search for; empty for the question.
        choices: how many answers to generate.
        streams: whether pieces are wanted as they come.
        pictures: files of pictures that the question is about.
        recalled: turns of the conversation that may be read beside the memory's entries, best first.
        tells_found: whether the entries are wanted as soon as they are found.
        on_event: receives pieces, and last the choices or an error; called by the engine's thread.
        deadline: when the request's time is up, in seconds of `time.monotonic`.
    """

    memory: ServedMemory
    question: str
    context: str
    query: str
    options: AskOptions
    search: Search
    sampling: Sampling
    choices: int
    streams: bool
    deadline: float
    on_event: Callable[[Event], None]
    arrived: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    failed: bool = False
    tells_found: bool = False
    recalled: Sequence[Retrieved] = ()
    pictures: Sequence[bytes] = ()

    def cancel(self) -> None:
        """Stop the request: nobody waits for it any more."""
        self.cancelled = True

    def is_over(self) -> bool:
        """Whether nobody waits any more, or the time is up."""
        return self.cancelled or time.monotonic() >= self.deadline
