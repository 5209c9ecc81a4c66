"""What each token of an answer attended to, in JSON: the field `memory.trace`, where a request asks for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from memgpt_rag.answering.attention_trace import EntryTrace, Span
from memgpt_rag.answering.choice import Choice

# Of the attention that an answer token gave to memory. An answer token has at most 1 / 0.005 places above it.
LEAST_SHARE = 0.005
_DIGITS = 3


def trace_fields(choice: Choice) -> dict[str, Any] | None:
    """Return what each token of an answer attended to; None where that is not known.

    `tokens` has the range of each token in the answer's text, as [start, end]. `shares` has, for each token, the part of
    its attention to memory that went to each entry, in the order of `entries`; they add up to 1. `entries` has, for each
    entry and each token, the places in the entry's text that it looked at, as [start, end, share]; those with a share below
    `least_share` are left out. Ranges count code points.
    """
    trace = choice.answer.trace
    if trace is None or choice.abstained:
        return None
    length = len(choice.text)  # a stop may have cut it
    kept = [place for place, (start, end) in enumerate(trace.spans) if start < min(end, length)]
    total = sum((entry.mass for entry in trace.entries), start=np.zeros(len(trace.spans)))
    return {
        "least_share": LEAST_SHARE,
        "tokens": [[trace.spans[place][0], min(trace.spans[place][1], length)] for place in kept],
        "shares": np.round(trace.shares[kept].astype(float), _DIGITS).tolist(),
        "entries": [[_places(entry, place, float(total[place])) for place in kept] for entry in trace.entries],
    }


def _places(entry: EntryTrace, token: int, total: float) -> list[list[float]]:
    """Return what one answer token looked at in one entry."""
    shares = entry.weights[token] / (total or 1.0)
    found: list[tuple[Span, float]] = []
    for place in np.flatnonzero(shares >= LEAST_SHARE):
        start, end = entry.spans[place]
        if start < end:
            found.append(((start, end), round(float(shares[place]), _DIGITS)))
    return [[*span, share] for span, share in found]
