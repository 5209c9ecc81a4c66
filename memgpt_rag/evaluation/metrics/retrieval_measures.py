"""Retrieval measures of rankings, query by query, as defined by trec_eval (ir-measures, MacAvaney et al. 2022).

nDCG is that of Järvelin & Kekäläinen 2002 with gain = grade and discount log2(rank + 1); the ideal ranking is over all
judged documents, also those that were not retrieved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from memgpt_rag.errors import MissingPackageError
from memgpt_rag.evaluation.data.dataset import RetrievalDataset
from memgpt_rag.evaluation.data.trec import Run

DEFAULT_MEASURES = ("nDCG@10", "R@10", "R@100", "RR@10", "AP")
NAMES = ("nDCG", "R", "RR", "AP", "P", "Success")


def parse_measures(names: Sequence[str]) -> dict[str, Any]:
    """Parse names of measures: nDCG@10, R@100, RR@10, AP, P@5, Success@1.

    Raises:
        ValueError: no name, an unknown one, or a missing or non-positive cutoff.
        MissingPackageError: ir-measures is not installed.
    """
    try:
        import ir_measures
    except ModuleNotFoundError as error:
        raise MissingPackageError("ir-measures", "Measuring retrieval", "pip install 'memgpt_rag[measure]'") from error
    if not names:
        raise ValueError(f"No measure; expected some such as {', '.join(DEFAULT_MEASURES)}.")
    parsed = {}
    for name in names:
        base, at, cutoff = name.partition("@")
        whole = re.fullmatch(r"[1-9][0-9]{0,5}", cutoff) is not None
        if base not in NAMES or (at and not whole) or (not at and base in ("R", "P", "Success")):
            raise ValueError(
                f"No measure {name!r}; expected one of {', '.join(NAMES)} with a cutoff, such as {', '.join(DEFAULT_MEASURES)}."
            )
        parsed[name] = ir_measures.parse_measure(name)
    return parsed


def deepest_cutoff(names: Sequence[str]) -> int:
    """Return the largest cutoff of the measures; 0 where none has a cutoff."""
    return max((int(name.partition("@")[2] or 0) for name in names), default=0)


def per_query(judged: RetrievalDataset, run: Run, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Compute each measure for each measured query; a query without results gets 0.

    Args:
        run: query id → ranking, best first. The order counts, not the scores: trec_eval would break ties by document id,
            which is not part of the system's ranking.

    Returns:
        Name of the measure → query id → value, queries in the order of the dataset.

    Raises:
        ValueError: as `parse_measures`; a ranking of an unknown query or document, or with a document twice.
    """
    measures = parse_measures(names)
    require_known(judged, run)
    import ir_measures

    ranks = {
        query: {document: float(-rank) for rank, (document, _) in enumerate(found)} for query, found in run.items()
    }
    relevant = {query: judged.relevant_grades(query) for query in judged.judged}
    wanted = {query: ranking for query, ranking in ranks.items() if query in relevant}
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(judged.judged, 0.0) for name in measures}
    by_measure = {str(measure): name for name, measure in measures.items()}
    # An empty run is not passed to ir-measures.
    for measured in ir_measures.iter_calc(list(measures.values()), relevant, wanted) if any(wanted.values()) else ():
        values[by_measure[str(measured.measure)]][measured.query_id] = float(measured.value)
    return values


def recall_curve(judged: RetrievalDataset, run: Run, depths: Sequence[int]) -> dict[int, float]:
    """Return the mean recall of relevant documents at several cutoffs k."""
    curve = dict.fromkeys(depths, 0.0)
    for query in judged.judged:
        relevant = set(judged.relevant(query))
        found = [document in relevant for document, _ in run.get(query, ())]
        for depth in depths:
            curve[depth] += sum(found[:depth]) / len(relevant) / len(judged.judged)
    return curve


def require_known(judged: RetrievalDataset, run: Mapping[str, Sequence[tuple[str, float]]]) -> None:
    """Check the ids in a run; raises ValueError for an unknown query or document, or a document that occurs twice."""
    for query, found in run.items():
        if query not in judged.queries:
            raise ValueError(f"A ranking is for the query {query!r}, which is none of {judged.name}.")
        names = [document for document, _ in found]
        for document in names:
            if document not in judged.documents:
                raise ValueError(
                    f"The query {query!r} found the document {document!r}, which is none of {judged.name}."
                )
        if len(set(names)) < len(names):
            twice = next(name for place, name in enumerate(names) if name in names[:place])
            raise ValueError(f"The query {query!r} found the document {twice!r} twice; each document has one rank.")
