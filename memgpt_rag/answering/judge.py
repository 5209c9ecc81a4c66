"""Judges a generated answer: its citations, how likely the memory supports it, and whether to abstain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memgpt_rag.answering.answer import Answer, Citation
from memgpt_rag.answering.attention_trace import AttentionTrace
from memgpt_rag.answering.confidence import ConfidenceModel
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.quote import Quote, answer_helps, quote
from memgpt_rag.model.prompt import NOT_IN_MEMORY, detect_language

# A second entry is quoted, too, if its share is at least this part of the first one's. Of 52 how-to questions whose quote led, a usable quote
# was shown for 25 with the first one alone, for 33 with a second one always, for 33 with this limit, for 31 with a half.
_SECOND_SHARE = 0.3


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
    best = second = None
    # Where the reader found no answer, and search and attention point to one entry, the quote may hold it.
    if citations and not (declined and likely < confidence.supported.threshold):
        leads = not answer_helps(draft.question, text, supported)
        best = _quoted(draft, citations, trace, 0, leads=leads)
        if leads and _is_near(citations):
            second = _quoted(draft, citations, trace, 1, leads=leads)
        if best is None or (second is not None and second.text == best.text):  # as of one text in two memories
            second = None
    if abstain and not supported:
        best = second = None
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
        second_quote=second,
    )


def _is_near(citations: Sequence[Citation]) -> bool:
    """Whether the entry cited second got enough attention, beside the first one, to be quoted, too."""
    shares = [one.share or 0.0 for one in citations[:2]]
    return len(shares) > 1 and 0 < shares[1] >= _SECOND_SHARE * shares[0]


def _quoted(
    draft: Draft, citations: Sequence[Citation], trace: AttentionTrace | None, place: int, *, leads: bool
) -> Quote | None:
    attended = None if trace is None else trace.entries[place]
    return quote(draft.question, draft.text, citations[place].passage, attended, leads=leads)


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
