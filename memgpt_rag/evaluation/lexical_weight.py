"""Fits the lexical weight of a hybrid search on the queries of a retrieval dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.evaluation.data.dataset import RetrievalDataset
from memgpt_rag.evaluation.metrics.retrieval_measures import per_query
from memgpt_rag.evaluation.metrics.significance import Comparison, compare
from memgpt_rag.memory import Candidates, Searchable
from memgpt_rag.retrieval.fusion import fuse
from memgpt_rag.retrieval.retriever import PROPOSED

WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))


@dataclass(frozen=True)
class FittedWeight:
    """Quality of the fused ranking for each lexical weight, with two-fold cross-validation.

    Attributes:
        means: weight → mean of the measure over all queries; 0 is dense search alone, 1 lexical search alone.
        best: the weight with the highest mean.
        halves: the best weight on each half of the queries.
        held_out: value of each query with the best weight of the other half.
        against: the held-out values compared with the better one of dense and lexical search.
    """

    means: dict[float, float]
    best: float
    halves: tuple[float, float]
    held_out: dict[str, float]
    against: Comparison


def fit_lexical_weight(
    judged: RetrievalDataset, memory: Searchable, encoder: Encoder, *, measure: str = "nDCG@10"
) -> FittedWeight:
    """Fit the lexical weight on the queries of a dataset, and measure it on held-out queries.

    Args:
        memory: memory with the documents of the dataset, in one or more entries each, and a lexical index.
        measure: name of the measure to maximize, see `memgpt_rag.evaluation.metrics.retrieval_measures`.

    Raises:
        MemoryFormatError: the memory has no lexical index.
        MismatchError: the memory was embedded by another encoder.
    """
    memory.manifest.encoder.require_match(encoder.fingerprint)
    ids, texts = list(judged.judged), list(judged.judged.values())
    proposed = memory.candidates(encoder.encode_queries(texts), texts, PROPOSED)
    documents = [[passage.document_id for passage in memory.passages(candidates.rows)] for candidates in proposed]
    score_scale = memory.manifest.encoder.score_scale
    values: dict[float, dict[str, float]] = {}
    for weight in WEIGHTS:
        run = {
            query: _ranking(candidates, names, score_scale, weight)
            for query, candidates, names in zip(ids, proposed, documents, strict=True)
        }
        values[weight] = per_query(judged, run, [measure])[measure]
    first, second = ids[0::2], ids[1::2]
    halves = _best(values, first), _best(values, second)
    held_out = {query: values[halves[query in set(first)]][query] for query in ids}
    alone = max((0.0, 1.0), key=lambda weight: _mean(values[weight], ids))
    return FittedWeight(
        {weight: _mean(by_query, ids) for weight, by_query in values.items()},
        _best(values, ids),
        halves,
        held_out,
        compare(held_out, values[alone]),
    )


def _ranking(
    candidates: Candidates, names: Sequence[str], score_scale: float, weight: float
) -> list[tuple[str, float]]:
    """Rank documents by their best entry; with weight 1, documents that share no term are left out, as in lexical search."""
    fused = fuse(candidates, "scores", score_scale, weight)
    best: dict[str, float] = {}
    for place in np.argsort(-fused, kind="stable"):
        if weight < 1 or candidates.bm25_scores[place] > 0:
            best.setdefault(names[place], float(fused[place]))
    return list(best.items())


def _best(values: Mapping[float, Mapping[str, float]], queries: Sequence[str]) -> float:
    """Return the weight with the highest mean; among ties, the middle one."""
    means = [_mean(by_query, queries) for by_query in values.values()]
    best = np.flatnonzero(np.isclose(means, max(means), rtol=0, atol=1e-9))
    return list(values)[int(best[len(best) // 2])]


def _mean(values: Mapping[str, float], queries: Sequence[str]) -> float:
    return float(np.mean([values[query] for query in queries])) if queries else 0.0
