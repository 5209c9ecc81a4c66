"""Rankings and judgements as objects of ranx and ir_measures, and theirs as ours.

Our rankings have the same figures on both sides: scores are handed over such that equal ones keep their order. Theirs have, too, unless they
hold equal scores, which each of their measures orders in its own way; here they are ordered as by trec_eval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memgpt_rag.errors import MissingPackageError
from memgpt_rag.evaluation.data.dataset import RetrievalDataset
from memgpt_rag.evaluation.data.scores import from_scores, to_scores
from memgpt_rag.evaluation.data.trec import Run

if TYPE_CHECKING:
    import ir_measures
    import ranx


def to_ranx(run: Run, name: str) -> ranx.Run:
    """Return a run of ranx; queries without documents, which it cannot hold, are left to its `make_comparable`.

    Raises:
        MissingPackageError: ranx is not installed.
        ValueError: a score above the one before it, or one that is not finite.

    Example:
        >>> ranx.evaluate(ranx_qrels(judged), to_ranx(run, "hybrid"), ["ndcg@10", "mrr@10"], make_comparable=True)
    """
    scores = {query: found for query, found in to_scores(run).items() if found}
    return _ranx().Run(scores, name=name) if scores else _ranx().Run(name=name)


def from_ranx(run: ranx.Run) -> dict[str, list[tuple[str, float]]]:
    """Return a run of ranx as a run for `evaluate_retrieval`; equal scores go by id, as in trec_eval."""
    return from_scores(run.to_dict())


def ranx_qrels(judged: RetrievalDataset) -> ranx.Qrels:
    """Return the judgements of the measured queries for ranx.

    Raises:
        MissingPackageError: ranx is not installed.
    """
    return _ranx().Qrels(ir_qrels(judged), name=judged.name)


def to_ir_measures(run: Run) -> list[ir_measures.ScoredDoc]:
    """Return a run for ir_measures.

    Raises:
        MissingPackageError: ir-measures is not installed.
        ValueError: a score above the one before it, or one that is not finite.

    Example:
        >>> ir_measures.calc_aggregate([nDCG @ 10], ir_qrels(judged), to_ir_measures(run))
    """
    document = _ir_measures().ScoredDoc
    return [document(query, name, score) for query, found in to_scores(run).items() for name, score in found.items()]


def from_ir_measures(run: Any) -> dict[str, list[tuple[str, float]]]:
    """Return a run of ir_measures (scored documents, a data frame, or a dictionary) as a run for `evaluate_retrieval`.

    Raises:
        MissingPackageError: ir-measures is not installed.
        ValueError: it is in none of these forms, or holds a document of a query twice.
    """
    scores: dict[str, dict[str, float]] = {}
    for one in _ir_measures().util.RunConverter(run).as_namedtuple_iter():
        found = scores.setdefault(one.query_id, {})
        if one.doc_id in found:
            raise ValueError(
                f"The query {one.query_id!r} has the document {one.doc_id!r} twice; keep its better score."
            )
        found[one.doc_id] = one.score
    return from_scores(scores)


def ir_qrels(judged: RetrievalDataset) -> dict[str, dict[str, int]]:
    """Return the judgements of the measured queries: query id → relevant document → grade."""
    return {query: judged.relevant_grades(query) for query in judged.judged}


def _ranx() -> Any:
    try:
        import ranx
    except ImportError as error:
        raise MissingPackageError("ranx", "A run of ranx", "pip install 'memgpt_rag[ranx]'") from error
    return ranx


def _ir_measures() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise MissingPackageError("ir-measures", "A run of ir_measures", "pip install 'memgpt_rag[measure]'") from error
    return ir_measures
