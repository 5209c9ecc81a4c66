"""Rankings as scores: query id → document id → score, the form of ranx, ir_measures and pytrec_eval, and of their JSON files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from memgpt_rag.errors import SourceError
from memgpt_rag.evaluation.data.text_source import read_text
from memgpt_rag.evaluation.data.trec import Run, distinct_scores, read_run
from memgpt_rag.io.json_file import parse_json

Scores = Mapping[str, Mapping[str, float]]
_EXPECTED = 'an object such as {"q1": {"d1": 9.5, "d2": 8.1}}'


def to_scores(run: Run) -> dict[str, dict[str, float]]:
    """Return a run as scores from which every tool reads its order, also where it holds equal ones.

    Raises:
        ValueError: a score above the one before it, or one that is not finite.
    """
    return {query: dict(distinct_scores(query, found)) for query, found in run.items()}


def from_scores(scores: Scores) -> dict[str, list[tuple[str, float]]]:
    """Return the rankings that trec_eval makes of scores: best first in 32 bits, equal ones by id, the last id first.

    Raises:
        ValueError: a score that is no finite number.
    """
    run = {}
    for query, found in scores.items():
        for document, score in found.items():
            if isinstance(score, bool) or not isinstance(score, Real) or not math.isfinite(score):
                raise ValueError(
                    f"The document {document!r} of the query {query!r} has the score {score!r}; expected a finite number."
                )
        ranked = sorted(found.items(), key=lambda one: (np.float32(one[1]), one[0]), reverse=True)
        # Numbers of 64 bits that are one in 32 may stand in either order here.
        run[query] = [(document, float(np.float32(score))) for document, score in ranked]
    return run


def read_ranking(path: Path) -> tuple[str, dict[str, list[tuple[str, float]]]]:
    """Read a run and its tag: the scores of a .json file, which is called as its file is, or else a run of TREC.

    Raises:
        SourceError: the file is not valid in its form; the message says where.
    """
    if path.suffix != ".json":
        return read_run(path)
    try:
        value: Any = parse_json(read_text(path))
        if not isinstance(value, dict) or not value or not all(isinstance(found, dict) for found in value.values()):
            raise ValueError("no query with documents")
        return path.stem, from_scores(value)
    except ValueError as error:
        raise SourceError(f"{path.name}: {str(error).rstrip('.')}; expected {_EXPECTED}.") from error
