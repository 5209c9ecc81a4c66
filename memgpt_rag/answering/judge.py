"""Judges a generated answer: its citations, how likely the memory supports it, and whether to abstain."""

from __future__ import annotations

from dataclasses import replace

from memgpt_rag.answering.answer import Answer, Citation
from memgpt_rag.answering.attention_trace import AttentionTrace
from memgpt_rag.answering.confidence import ConfidenceModel
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.quote import answer_helps, quote
from memgpt_rag.model.prompt import NOT_IN_MEMORY, detect_language


def judge(draft: Draft, confidence: ConfidenceModel, *, abstain: bool) -> Answer:
    """Return the answer with its citations and its confidence.

    An entry's share is the part of all attention to memory that went to its tokens while the answer was generated. What was
    generated although no entry was found is supported by nothing, and so is an answer that says nothing.

    Args:
        abstain: answer "not in memory" where the memory does not support the text.
    """
    assert draft.timings is not None, "generate comes before judge"
    total, text = sum(draft.mass), draft.text
    reads = draft.route == "memory"
    citations, trace = _cite(draft, total if reads else None)
    if not (reads and draft.mass) and not draft.nothing_found:
        return Answer(draft.question, text, draft.route, citations, total, draft.timings)
    signals = draft.signals.with_answer(draft.mass, draft.log_probs)
    if text and citations:
        signals = signals.with_text(draft.question, text, citations[0].passage.titled_text)
    declined = declines(text)
    likely = confidence.supported(signals)
    probability = 0.0 if draft.nothing_found or not text or declined else likely
    supported = 0 < probability >= confidence.supported.threshold
    best = None
    # Where the reader found no answer, and search and attention point to one entry, the quote may hold it.
    if citations and not (declined and likely < confidence.supported.threshold):
        attended = None if trace is None else trace.entries[0]
        leads = not answer_helps(draft.question, text, supported)
        best = quote(draft.question, text, citations[0].passage, attended, leads=leads)
    if abstain and not supported:
        best = None
        text, trace = NOT_IN_MEMORY[detect_language(draft.question)], None
        citations = [replace(citation, spans=()) for citation in citations]
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
        trace=trace,
        quote=best,
    )


def declines(text: str) -> bool:
    """Whether an answer says that it is not in memory, as a reader has learned to."""
    return text.casefold().strip(" .。") in NOT_IN_MEMORY.values()


def _cite(draft: Draft, total: float | None) -> tuple[list[Citation], AttentionTrace | None]:
    """Return the entries that were read, the one with the largest share first, and the trace in the same order.

    Args:
        total: attention mass of all entries; None where they were not attended to.
    """
    shares = [
        None if total is None else mass / total if total else 0.0 for mass in draft.mass or [0.0] * len(draft.entries)
    ]
    order = sorted(range(len(draft.entries)), key=lambda place: -(shares[place] or 0.0))
    entries = [draft.entries[place] for place in order]
    trace = draft.trace and replace(draft.trace, entries=tuple(draft.trace.entries[place] for place in order))
    citations = [
        Citation(entry.passage, entry.score, shares[place], tuple(trace.entry_spans(rank)) if trace else ())
        for rank, (place, entry) in enumerate(zip(order, entries, strict=True))
    ]
    return citations, trace
