"""Runs of ranx and ir_measures: ours scored by them and theirs scored by us have the same figures."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from conftest import ROOT

from memgpt_rag.errors import MissingPackageError, SourceError
from memgpt_rag.evaluation.data.beir import read_beir
from memgpt_rag.evaluation.data.scores import from_scores, read_ranking, to_scores
from memgpt_rag.evaluation.metrics.retrieval_measures import per_query
from memgpt_rag.integrations import runs

LIBRARY = read_beir(ROOT / "examples" / "beir")
MEASURES = ["nDCG@10", "R@10", "RR@10", "AP", "P@5"]


@pytest.fixture(scope="module")
def run():
    """Rankings of 30 documents a query by chance, with many equal scores; one query found nothing."""
    rng = np.random.default_rng(7)
    found = {}
    for query in LIBRARY.judged:
        names = rng.permutation(list(LIBRARY.documents))[:30].tolist()
        scores = np.sort(rng.normal(size=30).round(1))[::-1].tolist()
        found[query] = list(zip(names, scores, strict=True))
    return found | {next(iter(found)): []}


def means(run) -> dict[str, float]:
    return {name: float(np.mean(list(values.values()))) for name, values in per_query(LIBRARY, run, MEASURES).items()}


def test_ir_measures_scores_our_run_as_we_do(run):
    ir_measures = pytest.importorskip("ir_measures", reason="ir-measures is not installed")
    asked = [ir_measures.parse_measure(name) for name in MEASURES]
    theirs = ir_measures.calc_aggregate(asked, runs.ir_qrels(LIBRARY), runs.to_ir_measures(run))
    assert {str(measure): value for measure, value in theirs.items()} == pytest.approx(means(run), abs=1e-9)


@pytest.mark.parametrize("digits", [15, 1], ids=["distinct", "equal scores"])
def test_we_score_a_run_of_ir_measures_as_it_does(run, digits):
    ir_measures = pytest.importorskip("ir_measures", reason="ir-measures is not installed")
    rng = np.random.default_rng(8)
    theirs = [
        ir_measures.ScoredDoc(query, name, round(float(rng.normal()), digits))
        for query in run
        for name in LIBRARY.documents
    ]
    theirs = [theirs[at] for at in rng.permutation(len(theirs))]
    # Of equal scores, what computes RR@10 for ir_measures ranks the first one given higher, and trec_eval the last id.
    names = MEASURES if digits > 1 else [name for name in MEASURES if name != "RR@10"]
    asked = [ir_measures.parse_measure(name) for name in names]
    figures = ir_measures.calc_aggregate(asked, runs.ir_qrels(LIBRARY), theirs)
    ours = means(runs.from_ir_measures(theirs))
    assert {name: ours[name] for name in names} == pytest.approx(
        {str(measure): value for measure, value in figures.items()}, abs=1e-9
    )
    assert runs.from_ir_measures(iter(theirs)) == runs.from_ir_measures(theirs)
    with pytest.raises(ValueError, match="has the document '.*' twice; keep its better score"):
        runs.from_ir_measures([*theirs, theirs[0]])


@pytest.mark.slow  # numba compiles ranx
@pytest.mark.filterwarnings("ignore:.*unsafe cast")
def test_ranx_scores_our_run_as_we_do_and_we_score_its_run_as_it_does(run):
    ranx = pytest.importorskip("ranx", reason="ranx is not installed")
    asked = {"ndcg@10": "nDCG@10", "recall@10": "R@10", "mrr@10": "RR@10", "map": "AP", "precision@5": "P@5"}
    theirs = runs.to_ranx(run, "ours")
    figures = ranx.evaluate(runs.ranx_qrels(LIBRARY), theirs, list(asked), make_comparable=True)
    assert {asked[name]: value for name, value in figures.items()} == pytest.approx(means(run), abs=1e-9)
    assert means(runs.from_ranx(theirs)) == pytest.approx(means(run), abs=1e-9)

    rng = np.random.default_rng(9)
    scores = {query: {name: float(rng.normal()) for name in LIBRARY.documents} for query in LIBRARY.judged}
    other = ranx.Run(scores, name="other")
    figures = ranx.evaluate(runs.ranx_qrels(LIBRARY), other, list(asked))
    assert means(runs.from_ranx(other)) == pytest.approx({asked[name]: one for name, one in figures.items()}, abs=1e-9)


def test_a_file_of_scores_is_read_as_trec_eval_would_order_them(tmp_path, run):
    file = tmp_path / "other.json"
    file.write_text(json.dumps({"q1": {"a": 0.5, "c": 0.5, "b": 2}}), encoding="utf-8")
    assert read_ranking(file) == ("other", {"q1": [("b", 2.0), ("c", 0.5), ("a", 0.5)]})
    file.write_text(json.dumps(to_scores(run)), encoding="utf-8")
    assert means(read_ranking(file)[1]) == means(run)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "other.json: no query with documents; expected an object such as"),
        ('{"q1": ["d1"]}', "other.json: no query with documents; expected an object such as"),
        ('{"q1": {"d1": "9"}}', "other.json: The document 'd1' of the query 'q1' has the score '9'; expected a finite"),
        ('{"q1": {"d1": NaN}}', "other.json: NaN where a number is expected; expected an object such as"),
    ],
)
def test_a_file_that_holds_no_scores_is_refused(tmp_path, text, says):
    (tmp_path / "other.json").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=says):
        read_ranking(tmp_path / "other.json")


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(
        ValueError, match="The document 'd' of the query 'q' has the score nan; expected a finite number"
    ):
        from_scores({"q": {"d": float("nan")}})


@pytest.mark.parametrize(
    ("package", "call", "says"),
    [
        ("ranx", lambda: runs.to_ranx({}, "r"), r"A run of ranx needs the package ranx.*'memgpt_rag\[ranx\]'"),
        ("ir_measures", lambda: runs.to_ir_measures({}), r"needs the package ir-measures.*'memgpt_rag\[measure\]'"),
    ],
)
def test_a_missing_package_is_named_with_its_command(monkeypatch, package, call, says):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=says):
        call()
