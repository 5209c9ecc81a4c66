"""The bridge between search and attention: question → entries of the memory → what the language model attends to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memgpt_rag.encoder import Encoder
from memgpt_rag.memory import Memory
from memgpt_rag.passage import Passage

if TYPE_CHECKING:
    from memgpt_rag.model import AttendedMemory, MemoryDecoder
    from memgpt_rag.prompt import Prompt


@dataclass(frozen=True)
class Retrieved:
    """An entry found for a question.

    Attributes:
        row: its row in the memory.
        passage: its value.
        score: cosine of question and key; in a Euclidean memory, minus their distance.
        standardised: the score in units of the encoder's contrast, so that one β fits encoders of any scale.
    """

    row: int
    passage: Passage
    score: float
    standardised: float


class Retriever:
    """Finds the entries nearest to a question.

    Raises:
        MismatchError: the memory was embedded by another encoder.
    """

    def __init__(self, memory: Memory, encoder: Encoder):
        memory.manifest.encoder.require_match(encoder.fingerprint)
        self.memory = memory
        self.encoder = encoder

    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Retrieved]]:
        """The k nearest entries of each question, best first."""
        contrast = self.memory.manifest.encoder.score_contrast
        found = self.memory.search(self.encoder.encode_queries(questions), k)
        return [
            [
                Retrieved(int(row), passage, float(score), float(score) / contrast)
                for row, score, passage in zip(rows, scores, passages, strict=True)
            ]
            for rows, scores, passages in zip(found.rows, found.scores, found.passages, strict=True)
        ]


def attend(
    model: MemoryDecoder, prompt: Prompt, found: Sequence[Sequence[Retrieved]], memory: Memory | None = None
) -> AttendedMemory:
    """Let the model attend to the entries found for each question.

    Args:
        memory: where the entries' states are stored; None to compute them, or take them from the model's cache.
    """
    scores = [[entry.standardised for entry in of_question] for of_question in found]
    if memory is not None and memory.states is not None and memory.manifest.states is not None:
        from memgpt_rag.model.stored import load_states

        states = memory.states, memory.manifest.states
        return model.attend_states(
            [load_states(model, *states, [entry.row for entry in of_question]) for of_question in found], scores
        )
    return model.attend([[prompt.entry_ids(entry.passage) for entry in of_question] for of_question in found], scores)
