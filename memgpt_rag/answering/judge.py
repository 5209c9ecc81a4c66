"""Judges a generated answer: its citations, how likely the memory supports it, and whether to abstain."""

from __future__ import annotations

from memgpt_rag.answering.answer import Answer, Citation
from memgpt_rag.answering.confidence import ConfidenceModel
from memgpt_rag.answering.draft import Draft
from memgpt_rag.model.prompt import NOT_IN_MEMORY, language_of


def judge(draft: Draft, text: str, confidence: ConfidenceModel, *, abstain: bool) -> Answer:
    """Return the answer with its citations and its confidence.

    An entry's share is the part of all attention to memory that went to its tokens while the answer was generated. What was
    generated although no entry was found is supported by nothing, and so is an answer that says nothing.

    Args:
        text: of the answer that was generated.
        abstain: answer "not in memory" where the memory does not support the text.
    """
    assert draft.timings is not None, "generate comes before judge"
    total = sum(draft.mass)
    reads = draft.route == "memory"
    shares = [mass / total for mass in draft.mass] if reads else [None] * len(draft.entries)
    citations = [
        Citation(entry.passage, entry.score, share) for entry, share in zip(draft.entries, shares, strict=True)
    ]
    citations.sort(key=lambda citation: -(citation.share or 0.0))
    if not (reads and draft.mass) and not draft.nothing_found:
        return Answer(draft.question, text, draft.route, citations, total, draft.timings)
    signals = draft.signals.with_answer(draft.mass, draft.log_probs)
    if text and citations:
        signals = signals.with_text(draft.question, text, citations[0].passage.titled_text)
    probability = 0.0 if draft.nothing_found or not text else confidence.supported(signals)
    says_so = text.casefold().strip(" .。") in NOT_IN_MEMORY.values()  # a model may have learned to
    supported = 0 < probability >= confidence.supported.threshold and not says_so
    if abstain and not supported:
        text = NOT_IN_MEMORY[language_of(draft.question)]
    return Answer(
        draft.question,
        text,
        draft.route,
        citations,
        total,
        draft.timings,
        probability,
        supported,
        signals,
        nothing_found=draft.nothing_found,
    )
