"""Fusion of dense, lexical and sparse search into one ranking.

scores    (1 − w) · cosine / score_scale + w · 2 · BM25 / limit     convex combination (Bruch, Gai and Ingber 2023, An
          Analysis of Fusion Functions for Hybrid Retrieval); cosines are divided by the encoder's score scale, so that
          one weight fits encoders with narrow and wide ranges of cosines; BM25 is divided by its upper bound for the
          question, so that it has little weight where few terms are shared, as between languages
ranks     1 / (60 + rank by key) + 1 / (60 + rank by words)      reciprocal rank fusion (Cormack et al. 2009)

With sparse vectors, scores become (1 − s) · scores + s · dot product / score scale of the sparse encoder, and ranks the mean of three.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memgpt_rag.choices import Fusion
from memgpt_rag.memory import Candidates

_K = 60
# An entry that answers a question has a BM25 of about this share of the upper bound.
_SHARE = 0.5
# Scales rank fusion so that the first and the hundredth rank differ by about 1, as right and wrong entries do by cosine.
_RANKS_UNIT = 1 / (_K + 1)


def fuse(candidates: Candidates, fusion: Fusion, score_scale: float, lexical_weight: float) -> Float[np.ndarray, " n"]:
    """Fuse both scores of each candidate into one, in units in which right and wrong entries differ by about 1.

    Args:
        score_scale: score scale of the encoder, see `EncoderFingerprint.score_scale`.
        lexical_weight: w above; not used for ranks, which have equal weights.
    """
    if fusion == "ranks":
        by_key = 1 / (_K + _ranks(candidates.scores))
        fused: Float[np.ndarray, " n"] = (by_key + _reciprocal_ranks(candidates.bm25_scores)) / 2 / _RANKS_UNIT
        return fused
    return (1 - lexical_weight) * candidates.scores / score_scale + lexical_weight * lexical_share(candidates)


def with_sparse(
    fused: Float[np.ndarray, " n"], candidates: Candidates, fusion: Fusion, score_scale: float, sparse_weight: float
) -> Float[np.ndarray, " n"]:
    """Fuse what `fuse` returned for each candidate with its sparse score.

    Args:
        score_scale: score scale of the sparse encoder.
        sparse_weight: s above; not used for ranks.
    """
    if fusion == "ranks":
        return (2 * fused + _reciprocal_ranks(candidates.sparse_scores) / _RANKS_UNIT) / 3
    return (1 - sparse_weight) * fused + sparse_weight * candidates.sparse_scores / score_scale


def lexical_share(candidates: Candidates) -> Float[np.ndarray, " n"]:
    """Scale BM25 to units in which right and wrong entries differ by about 1."""
    return candidates.bm25_scores / (_SHARE * max(candidates.word_limit, 1e-9))


def _reciprocal_ranks(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return 1 / (60 + rank) of each score, and 0 where the score is 0: such an entry was not found."""
    return np.where(scores > 0, 1 / (_K + _ranks(scores)), 0)


def _ranks(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the rank of each score, from 1; ties in the order given."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return ranks
