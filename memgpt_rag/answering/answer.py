"""What a question gets: an answer, the entries that it rests on, how likely they support it, and how long it took."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from memgpt_rag.answering.confidence import Decisions
from memgpt_rag.model.prompt import NOT_IN_MEMORY, language_of
from memgpt_rag.passage import Passage

Mode = Literal["memory", "prompt", "closed"]
MODES: tuple[Mode, ...] = ("memory", "prompt", "closed")


@dataclass(frozen=True)
class Citation:
    """An entry that the answer rests on.

    Attributes:
        passage: the entry, with its source.
        score: its retrieval score.
        share: its share of the attention mass on memory, 0 to 1; None in prompt mode, which cannot tell.
    """

    passage: Passage
    score: float
    share: float | None


@dataclass(frozen=True)
class Timings:
    """Seconds from the question's arrival to the end of each step; of a batch, all its questions share them."""

    retrieved: float
    states_ready: float
    first_token: float
    complete: float


@dataclass(frozen=True)
class Answer:
    """What a question got.

    Attributes:
        text: the answer.
        mode: how it came about; "closed" where the memory was left out.
        citations: the entries retrieved, the one with the largest share first.
        memory_mass: how much of all attention went to memory, averaged over attended layers, heads and tokens, 0 to 1.
        confidence: how likely it is that the memory supports the answer, 0 to 1; None where attention did not read it.
        supported: whether the confidence is high enough; None where there is none.
        figures: what the confidence is computed from; see `memgpt_rag.answering.confidence`.
    """

    question: str
    text: str
    mode: Mode
    citations: list[Citation]
    memory_mass: float
    timings: Timings
    confidence: float | None = None
    supported: bool | None = None
    figures: dict[str, float] = field(default_factory=dict)


def judged(answer: Answer, decisions: Decisions, figures: dict[str, float], *, abstain: bool) -> Answer:
    """The answer with its confidence; where the memory does not support it and `abstain`, one that says so."""
    confidence = decisions.supported(figures)
    said_so = answer.text.casefold().strip(" .。") in NOT_IN_MEMORY.values()  # a model may have learned to
    supported = confidence >= decisions.supported.threshold and not said_so
    text = answer.text if supported or not abstain else NOT_IN_MEMORY[language_of(answer.question)]
    return replace(answer, text=text, confidence=confidence, supported=supported, figures=figures)
