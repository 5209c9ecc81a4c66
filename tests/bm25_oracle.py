"""BM25 by bm25s, which tests compare a memory's search by words with."""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import numpy as np
from jaxtyping import Float

from memgpt_rag.memory.lexical.analysis import ANALYSIS, terms


def bm25s_scores(texts: Sequence[str], question: str, analysis: str = ANALYSIS) -> Float[np.ndarray, " texts"]:
    """Return the score of each text; 0 where the question has no terms, or no text has, for which bm25s has no mean length."""
    analyzed, asked = [terms(text, analysis) for text in texts], terms(question, analysis)
    if not asked or not any(analyzed):
        return np.zeros(len(texts), np.float32)
    index = bm25s.BM25()
    index.index(analyzed, show_progress=False)
    return index.get_scores(asked)
