"""Measures systems on a retrieval dataset: quality of the rankings with intervals, speed, memory and cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from memgpt_rag.evaluation.data.dataset import RetrievalDataset
from memgpt_rag.evaluation.data.trec import Run
from memgpt_rag.evaluation.document_memory import Costs
from memgpt_rag.evaluation.machine import forget_peak, peak_bytes, percentiles_ms
from memgpt_rag.evaluation.metrics.retrieval_measures import (
    DEFAULT_MEASURES,
    deepest_cutoff,
    parse_measures,
    per_query,
    recall_curve,
)
from memgpt_rag.evaluation.metrics.significance import (
    Comparison,
    compare,
    holm,
    interval,
)
from memgpt_rag.evaluation.systems import Ranking, System
from memgpt_rag.limits import MOST_RETRIEVED, require_between

_BATCH = 64
_WARM_UP = 3
_DEPTHS = (1, 2, 3, 5, 10, 20, 30, 50, 70, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Speed:
    """Speed of a system, including the encoding of queries.

    Attributes:
        latency_ms: latency of single queries by percentile: "p50", "p95", "p99".
        timed: number of single queries that were timed.
        queries_per_second: throughput in batches of 64.
        peak_memory_bytes: largest resident set of the process during the measurement, including models and mapped files.
    """

    latency_ms: dict[str, float]
    timed: int
    queries_per_second: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class SystemFigures:
    """Results of one system.

    Attributes:
        run: its ranking of each measured query.
        values: name of a measure → query id → value.
        means: name of a measure → mean, low and high end of its 95 % interval.
        recall: cutoff k → mean recall of relevant documents.
        speed: None for a run from a file.
        costs: None where its memory was not built for the evaluation.
    """

    name: str
    about: Mapping[str, Any]
    run: Run
    values: dict[str, dict[str, float]]
    means: dict[str, tuple[float, float, float]]
    recall: dict[int, float]
    speed: Speed | None
    costs: Costs | None


@dataclass(frozen=True)
class SystemComparison:
    """One measure of two systems; p values are corrected for all comparisons of the report."""

    system: str
    against: str
    measure: str
    figures: Comparison


@dataclass(frozen=True)
class Evaluation:
    """Results of an evaluation.

    Attributes:
        k: number of documents retrieved per query.
        comparisons: each later system compared with the first one, by each measure.
        missing_documents: number of relevant documents that the searched memory does not contain.
    """

    judged: RetrievalDataset
    measures: tuple[str, ...]
    k: int
    systems: tuple[SystemFigures, ...]
    comparisons: tuple[SystemComparison, ...]
    missing_documents: int = 0


def evaluate_retrieval(
    judged: RetrievalDataset,
    systems: Iterable[System] = (),
    *,
    runs: Mapping[str, Run] | None = None,
    measures: Sequence[str] = DEFAULT_MEASURES,
    k: int = 100,
    latency_queries: int = 200,
    missing_documents: int = 0,
    on_system: Callable[[SystemFigures], object] = lambda figures: None,
) -> Evaluation:
    """Measure systems, and runs of other programs, on the queries of a dataset that have a relevant document.

    Args:
        systems: measured one after the other; an iterator may create each when it is needed.
        runs: name for the report → run.
        measures: names such as "nDCG@10".
        k: number of documents to retrieve; more if a measure has a larger cutoff.
        latency_queries: number of single queries to time, spread over the dataset; all if there are fewer.
        missing_documents: the count of `restrict_documents`, for the report.
        on_system: called with the results of each system.

    Raises:
        ValueError: an unknown measure, k or a number of queries below 1, no system and no run, two systems of one name,
            or an invalid ranking: with unknown documents, with one twice, or with increasing scores.
    """
    runs = runs or {}
    measures = tuple(parse_measures(measures))  # each once
    if latency_queries < 1:
        raise ValueError(f"latency_queries is {latency_queries}; expected 1 or more.")
    require_between("k", k, 1, MOST_RETRIEVED)
    k = max(k, deepest_cutoff(measures))
    require_between("The deepest cutoff", k, 1, MOST_RETRIEVED)
    found: list[SystemFigures] = []

    def keep(figures: SystemFigures) -> None:
        found.append(figures)
        on_system(figures)

    for system in systems:
        _require_new(system.name, found)
        run, speed = _ask(system, judged, k, latency_queries)
        keep(_figures(judged, measures, k, system.name, run, speed, system))
        del system  # frees its memory before the next one is created
    for name, rankings in runs.items():
        _require_new(name, found)
        cut = {query: list(rankings.get(query, ()))[:k] for query in judged.judged}
        keep(_figures(judged, measures, k, name, cut, None, None))
    if not found:
        raise ValueError("There is no system to measure; give at least one.")
    compared = _against_first(found, measures)
    return Evaluation(judged, measures, k, tuple(found), compared, missing_documents)


def compare_systems(
    pairs: Sequence[tuple[str, str, str, Mapping[str, float], Mapping[str, float]]],
) -> tuple[SystemComparison, ...]:
    """Compare pairs of systems by each measure, paired by query, with Holm's correction over all comparisons.

    Args:
        pairs: name of a system, name of its baseline, name of the measure, and the values of both by query id.
    """
    compared = [
        SystemComparison(system, against, measure, compare(mine, theirs))
        for system, against, measure, mine, theirs in pairs
    ]
    corrected = holm([one.figures.p for one in compared])
    return tuple(
        replace(one, figures=replace(one.figures, p_holm=p)) for one, p in zip(compared, corrected, strict=True)
    )


def _against_first(found: Sequence[SystemFigures], measures: Sequence[str]) -> tuple[SystemComparison, ...]:
    first, *others = found
    return compare_systems(
        [
            (other.name, first.name, name, other.values[name], first.values[name])
            for other in others
            for name in measures
        ]
    )


def _require_new(name: str, found: Sequence[SystemFigures]) -> None:
    if any(figures.name == name for figures in found):
        raise ValueError(f"Two systems are called {name!r}; give each a name of its own.")


def _ask(system: System, judged: RetrievalDataset, k: int, latency_queries: int) -> tuple[dict[str, Ranking], Speed]:
    """Return the rankings of all measured queries, and the system's speed."""
    ids, texts = list(judged.judged), list(judged.judged.values())
    for text in texts[:_WARM_UP]:  # the first queries include the time of lazy loading
        system([text], k)
    forget_peak()
    run: dict[str, Ranking] = {}
    began = time.perf_counter()
    for start in range(0, len(ids), _BATCH):
        rankings = system(texts[start : start + _BATCH], k)
        run.update(zip(ids[start : start + _BATCH], rankings, strict=True))
    per_second = len(ids) / (time.perf_counter() - began)
    places = np.unique(np.linspace(0, len(ids) - 1, min(latency_queries, len(ids))).round().astype(int)).tolist()
    seconds = []
    for place in places:
        began = time.perf_counter()
        system([texts[place]], k)
        seconds.append(time.perf_counter() - began)
    return run, Speed(percentiles_ms(seconds), len(places), per_second, peak_bytes())


def _figures(
    judged: RetrievalDataset,
    measures: Sequence[str],
    k: int,
    name: str,
    run: Run,
    speed: Speed | None,
    system: System | None,
) -> SystemFigures:
    for query, ranking in run.items():
        if any(later > sooner for (_, sooner), (_, later) in pairwise(ranking)):
            raise ValueError(f"Scores of {name} for the query {query!r} increase; a ranking is best first.")
    values = per_query(judged, run, measures)
    means = {measure: interval(list(by_query.values())) for measure, by_query in values.items()}
    depths = [depth for depth in _DEPTHS if depth < k] + [k]
    about = dict(getattr(system, "about", {}))
    return SystemFigures(
        name, about, run, values, means, recall_curve(judged, run, depths), speed, getattr(system, "costs", None)
    )
