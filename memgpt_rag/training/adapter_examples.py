"""What a reader learns from: questions with the passage that holds the answer among others on the same topic, and some
without it, whose answer is that it is not in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from memgpt_rag.answering.answer_match import holds_answer
from memgpt_rag.model.prompt import NOT_IN_MEMORY, language_of
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.training.answer_likelihood import Example


@dataclass(frozen=True)
class AdapterExample:
    """A question with the entries that it attends to.

    Attributes:
        example: the question, what is to be answered, and the entries, best first.
        gold: the one of them that holds the answer; None where none does.
    """

    example: Example
    gold: Retrieved | None


def holds(entry: Retrieved, answer: str) -> bool:
    """Whether an entry's text or title holds an answer."""
    return holds_answer(entry.passage.titled_text, answer)


def adapter_examples_of(
    examples: Sequence[Example], k: int, *, unanswerable: float = 0.18, seed: int = 0
) -> list[AdapterExample]:
    """Give each question k entries to attend to; those whose answer no entry holds are left out.

    The passage of a question is the best entry found that contains its answer. It stands among the best others, which
    are on the same topic, since the same search found them. Of the unanswerable questions, every entry that contains
    the answer is taken away and the next best ones take its place, so that their number tells nothing.

    Args:
        examples: questions with more entries than k, so that there are next best ones.
        k: entries of a question.
        unanswerable: share of the questions whose passage is taken away.
        seed: of the choice of these questions.

    Raises:
        ValueError: a share below 0, or of 1 or more.
    """
    if not 0 <= unanswerable < 1:
        raise ValueError(f"unanswerable is {unanswerable}; expected a share from 0 up to, not including, 1.")
    supported = [example for example in examples if any(holds(entry, example.answer) for entry in example.found)]
    # Not torch's permutation of this seed: that is the order in which the Trainer goes through the examples.
    order = np.random.default_rng(seed).permutation(len(supported)).tolist()
    taken = set(order[: round(unanswerable * len(supported))])
    return [_without(one, k) if place in taken else _with(one, k) for place, one in enumerate(supported)]


def _with(example: Example, k: int) -> AdapterExample:
    gold = next(entry for entry in example.found if holds(entry, example.answer))
    others = [entry.row for entry in example.found if entry is not gold][: k - 1]
    return AdapterExample(
        replace(example, found=[entry for entry in example.found if entry is gold or entry.row in others]), gold
    )


def _without(example: Example, k: int) -> AdapterExample:
    others = [entry for entry in example.found if not holds(entry, example.answer)][:k]
    answer = NOT_IN_MEMORY[language_of(example.question)]
    return AdapterExample(replace(example, answer=answer, found=others), None)
