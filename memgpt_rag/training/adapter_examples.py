"""Training examples of a reader: questions with their gold passage among others on the same topic, and unanswerable
questions without it, whose target is the answer that it is not in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from memgpt_rag.answering.answer_match import holds_answer
from memgpt_rag.model.prompt import NOT_IN_MEMORY, detect_language
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.training.answer_likelihood import Example


@dataclass(frozen=True)
class AdapterExample:
    """A question with the entries that it attends to.

    Attributes:
        example: the question, the target answer, and the entries, best first.
        gold: the entry that contains the answer; None for an unanswerable question.
    """

    example: Example
    gold: Retrieved | None


def teach_to_decline(examples: Sequence[AdapterExample]) -> bool:
    """Return whether some of the questions are unanswerable, so that a reader learns from them to decline."""
    return any(one.gold is None for one in examples)


def holds(entry: Retrieved, answer: str) -> bool:
    """Return whether an entry's text or title contains an answer."""
    return holds_answer(entry.passage.titled_text, answer)


def make_adapter_examples(
    examples: Sequence[Example], k: int, *, unanswerable: float = 0.18, seed: int = 0
) -> list[AdapterExample]:
    """Select k entries to attend to for each question; questions whose answer no entry contains are left out.

    The gold passage of a question is the best entry found that contains its answer. The others are the best remaining ones,
    on the same topic, since the same search found them. For unanswerable questions, every entry that contains the answer is
    replaced by the next best ones, so that the number of entries reveals nothing; a question without as many others stays answerable.

    Args:
        examples: questions with more than k entries, so that there are replacements.
        k: number of entries of a question.
        unanswerable: share of the questions whose gold entries are removed.
        seed: seed of the choice of these questions.

    Raises:
        ValueError: a share below 0, or of 1 or more.
    """
    if not 0 <= unanswerable < 1:
        raise ValueError(f"unanswerable is {unanswerable}; expected a share from 0 up to, not including, 1.")
    supported = [example for example in examples if any(holds(entry, example.answer) for entry in example.found)]
    # Not torch's permutation of this seed: the Trainer uses that one to shuffle the examples.
    order = np.random.default_rng(seed).permutation(len(supported)).tolist()
    replaceable = [place for place in order if len(_others(supported[place])) >= min(k, len(supported[place].found))]
    taken = set(replaceable[: round(unanswerable * len(supported))])
    return [_without(one, k) if place in taken else _with(one, k) for place, one in enumerate(supported)]


def _with(example: Example, k: int) -> AdapterExample:
    gold = next(entry for entry in example.found if holds(entry, example.answer))
    others = [entry.row for entry in example.found if entry is not gold][: k - 1]
    return AdapterExample(
        replace(example, found=[entry for entry in example.found if entry is gold or entry.row in others]), gold
    )


def _without(example: Example, k: int) -> AdapterExample:
    answer = NOT_IN_MEMORY[detect_language(example.question)]
    return AdapterExample(replace(example, answer=answer, found=_others(example)[:k]), None)


def _others(example: Example) -> list[Retrieved]:
    """The entries found that do not contain the answer."""
    return [entry for entry in example.found if not holds(entry, example.answer)]
