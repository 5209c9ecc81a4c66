"""How searches by key and by words become one ranking.

scores    (1 − w) · cosine / score_scale + w · 2 · BM25 / limit     convex combination (Bruch, Gai and Ingber 2023, An
          Analysis of Fusion Functions for Hybrid Retrieval); cosines count in units of the encoder's score scale, so that
          one weight serves encoders whose cosines lie close together and others; BM25 as a share of what a question's
          terms can give at most, so that words count little where few are shared, as between languages
ranks     1 / (60 + rank by key) + 1 / (60 + rank by words)      reciprocal rank fusion (Cormack et al. 2009)
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memgpt_rag.choices import Fusion
from memgpt_rag.memory import Candidates

_K = 60
# An entry that answers a question holds about half of the weight of its terms.
_SHARE = 0.5
# The difference between the first and the hundredth place is about one unit, as between a right and a wrong cosine.
_RANKS_UNIT = 1 / (_K + 1)


def fuse(candidates: Candidates, fusion: Fusion, score_scale: float, lexical_weight: float) -> Float[np.ndarray, " n"]:
    """One score for each candidate, in units in which right and wrong entries are about 1 apart.

    Args:
        score_scale: of the encoder, see `EncoderFingerprint.score_scale`.
        lexical_weight: w above; ranks weigh alike.
    """
    if fusion == "ranks":
        by_key, by_words = _ranks(candidates.scores), _ranks(candidates.bm25_scores)
        worded = np.where(candidates.bm25_scores > 0, 1 / (_K + by_words), 0)
        return (1 / (_K + by_key) + worded) / 2 / _RANKS_UNIT
    return (1 - lexical_weight) * candidates.scores / score_scale + lexical_weight * lexical_share(candidates)


def lexical_share(candidates: Candidates) -> Float[np.ndarray, " n"]:
    """BM25 in units in which right and wrong entries are about 1 apart."""
    return candidates.bm25_scores / (_SHARE * max(candidates.word_limit, 1e-9))


def _ranks(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Rank of each, from 1; equals in the order given."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return ranks
