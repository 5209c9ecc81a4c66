"""Judges a generated answer: its citations, how likely the memory supports it, and whether to abstain."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace

from memgpt_rag.answering.answer import Answer, Citation
from memgpt_rag.answering.attention_trace import AttentionTrace
from memgpt_rag.answering.confidence import ConfidenceModel
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.quote import Quote, answer_helps, quote
from memgpt_rag.errors import first_line
from memgpt_rag.model.prompt import NOT_IN_MEMORY, detect_language
from memgpt_rag.retrieval.retriever import Retrieved

# Where the quote leads, the entry is quoted whose share × e^(4 · log-likelihood of the question's tokens, their mean) is the largest. Of 72 such
# quotes (50 for how-to questions, 22 on XQuAD in two languages) 29 were usable by the share alone, and 37, 38, 39 and 39 with 2, 3, 4 and 5
# as the weight; of 55 for how-to questions after reranking, 23, then 26, 27, 27 and 30 (`benchmarks/lead_quotes.py`).
_LIKELIHOOD_WEIGHT = 4.0
_MOST_RATED = 8  # entries with the largest shares
# A second entry is quoted, too, if it has at least this part of the first one's figure: of the 55, one of two is usable for 35.
_SECOND = 0.3

_log = logging.getLogger(__name__)


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
    citations, trace, entries = _cite(draft, total if reads else None)
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
    timings = draft.timings
    # Where the reader found no answer, and search and attention point to one entry, the quote may hold it.
    abstains = abstain and not supported
    if citations and not abstains and not (declined and likely < confidence.supported.threshold):
        leads = not answer_helps(draft.question, text, supported)
        rated = _rated(draft, entries) if leads else None
        if rated is not None:
            timings = replace(timings, complete=time.perf_counter() - draft.began)
        places = _places_to_quote(citations, rated) if leads else [0]
        best, *others = [_quoted(draft, citations, trace, place, leads=leads) for place in places]
        # The same text may stand in two memories.
        second = next((one for one in others if best and one and one.text != best.text), None)
    if abstains:
        text, trace = NOT_IN_MEMORY[detect_language(draft.question)], None
        citations = [replace(citation, spans=()) for citation in citations]
    return Answer(
        draft.question,
        text,
        draft.route,
        citations,
        total,
        timings,
        probability,
        supported,
        signals,
        nothing_found=draft.nothing_found,
        trace=trace,
        quote=best,
        second_quote=second,
    )


def _rated(draft: Draft, entries: Sequence[Retrieved]) -> Sequence[float] | None:
    """Return how likely each of the first entries makes the question; None where that is not known, and shares alone decide."""
    if draft.rate is None or len(entries) < 2:
        return None
    try:
        return draft.rate(entries[:_MOST_RATED])
    except (RuntimeError, OSError) as error:  # out of memory, or unreadable states: the answer is there
        _log.warning(
            "The entries of an answer could not be rated (%s); its quote goes by attention.", first_line(error)
        )
        return None


def _places_to_quote(citations: Sequence[Citation], rated: Sequence[float] | None) -> list[int]:
    """Return the place of the entry to quote where the quote leads, and that of a second one which comes near it.

    Args:
        rated: how likely each of the first entries makes the question; None for shares alone.
    """
    figures = [(one.share or 0.0) if one.passage.text.strip() else 0.0 for one in citations]
    if rated is not None:
        weights = [math.exp(_LIKELIHOOD_WEIGHT * (one - max(rated))) for one in rated]
        figures = [share * weight for share, weight in zip(figures, weights, strict=False)]
    first, *others = sorted(range(len(figures)), key=lambda place: -figures[place])
    return [first, *(place for place in others[:1] if 0 < figures[place] >= _SECOND * figures[first])]


def _quoted(
    draft: Draft, citations: Sequence[Citation], trace: AttentionTrace | None, place: int, *, leads: bool
) -> Quote | None:
    attended = None if trace is None else trace.entries[place]
    return quote(draft.question, draft.text, citations[place].passage, attended, leads=leads)


def declines(text: str) -> bool:
    """Whether an answer says that it is not in memory, as a reader has learned to."""
    return text.casefold().strip(" .。") in NOT_IN_MEMORY.values()


def _cite(draft: Draft, total: float | None) -> tuple[list[Citation], AttentionTrace | None, list[Retrieved]]:
    """Return the citations, the one with the largest share first, and the trace and the entries in the same order.

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
        Citation(
            entry.passage, entry.score, shares[place], tuple(trace.entry_spans(rank)) if trace else (), entry.joined_ids
        )
        for rank, (place, entry) in enumerate(zip(order, entries, strict=True))
    ]
    return citations, trace, entries
