"""Fits a confidence model to questions: to the signals of supported answers, and of answers without their supporting entries.

No weight of a language model changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from memgpt_rag.answering.answer_match import holds_answer
from memgpt_rag.answering.confidence import (
    LogisticModel,
    best_threshold,
    fit_logistic_model,
    precision_recall,
)
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.signals import BEFORE_ANSWER, SCORED_CANDIDATES, Signals
from memgpt_rag.choices import DEFAULT_K
from memgpt_rag.model.reader_files import learned_to_decline
from memgpt_rag.passage import Passage
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.training.answer_likelihood import document_folds

SUPPORTED = ("score", "lead", "mass", "share", "log_prob", "overlap", "overlap_lead")
FOLDS = 4


@dataclass(frozen=True)
class Observation:
    """Signals of an answer, the correct decision, and the document that it is about."""

    signals: Signals
    yes: bool
    document: tuple[str, str]


@dataclass(frozen=True)
class Fit:
    """A fitted decision, with cross-validated figures.

    Attributes:
        decision: weights fitted to all observations, and the threshold.
        precision: precision of "no", on held-out documents, or questions where there are too few. The threshold was chosen on them, too.
        recall: recall of "no", likewise.
        observations: number of observations.
    """

    decision: LogisticModel
    precision: float
    recall: float
    observations: int


def fit_confidence(
    rag: RAG,
    pairs: Sequence[tuple[str, str]],
    *,
    k: int = DEFAULT_K,
    on_answers: Callable[[int], object] = lambda count: None,
) -> Fit:
    """Fit the model of `Answer.confidence` to a memory.

    Each question is answered twice: from the entries found, and from the same entries without those that contain the known
    answer. Questions whose answer is in none of the first k entries are left out.

    Args:
        pairs: questions and their answers, as literally contained in the memory.
        k: number of entries per question.
        on_answers: called with the number of answers generated in each batch.

    Raises:
        ValueError: fewer than eight questions remain.
    """

    def supports(answer: str, passage: Passage) -> bool:
        return holds_answer(passage.titled_text, answer)

    observations = observe_support(rag, pairs, supports, k=k, on_answers=on_answers)
    if len(observations) < 16:
        raise ValueError(
            f"Of {len(pairs)} questions, {len(observations) // 2} have an answer that is in one of the {k} "
            "entries found, with others left to read; give at least 8 such questions."
        )
    return fit(observations, BEFORE_ANSWER if learned_to_decline(rag.model.reader) else SUPPORTED)


def observe_support(
    rag: RAG,
    pairs: Sequence[tuple[str, str]],
    supports: Callable[[str, Passage], bool],
    *,
    k: int = DEFAULT_K,
    batch_size: int = 8,
    on_answers: Callable[[int], object] = lambda count: None,
) -> list[Observation]:
    """Answer questions with and without the entries that support them; two observations a question.

    Args:
        pairs: questions, each with the text that `supports` gets to recognize its entries.
    """
    asked: list[tuple[str, list[Retrieved], bool, tuple[str, str]]] = []
    # Many entries may support an answer: enough are retrieved that k remain without them.
    for (question, known), found in zip(
        pairs, rag.retriever.retrieve([question for question, _ in pairs], 4 * (k + SCORED_CANDIDATES)), strict=True
    ):
        left = [entry for entry in found if not supports(known, entry.passage)]
        if left and any(supports(known, entry.passage) for entry in found[:k]):
            document = found[0].passage.document
            asked += [(question, found, True, document), (question, left, False, document)]
    observations = []
    for start in range(0, len(asked), batch_size):
        batch = asked[start : start + batch_size]
        answers = rag.answer_from([Draft(question, found) for question, found, *_ in batch], AskOptions(k=k))
        observations += [
            Observation(answer.signals, yes, document)
            for answer, (_, _, yes, document) in zip(answers, batch, strict=True)
        ]
        on_answers(len(batch))
    return observations


def fit(observations: Sequence[Observation], names: Sequence[str]) -> Fit:
    """Fit a decision to observations by logistic regression.

    The threshold is chosen on cross-validated probabilities: each quarter of the documents gets those of weights fitted to
    the rest. Where the documents are too few, see `document_folds`, the folds are every fourth observation.

    Args:
        names: the signals to use.

    Raises:
        ValueError: too few observations, or all with the same decision.
    """
    turns = document_folds([one.document for one in observations], FOLDS, alike=2)
    probabilities = [0.0] * len(observations)
    for fold in set(turns):
        weights = _weights([one for one, turn in zip(observations, turns, strict=True) if turn != fold], names)
        for number, (one, turn) in enumerate(zip(observations, turns, strict=True)):
            if turn == fold:
                probabilities[number] = weights(one.signals)
    labels = [one.yes for one in observations]
    threshold = best_threshold(probabilities, labels)
    precision, recall = precision_recall([one < threshold for one in probabilities], [not yes for yes in labels])
    return Fit(replace(_weights(observations, names), threshold=threshold), precision, recall, len(observations))


def _weights(observations: Sequence[Observation], names: Sequence[str]) -> LogisticModel:
    return fit_logistic_model([one.signals for one in observations], [one.yes for one in observations], names)
