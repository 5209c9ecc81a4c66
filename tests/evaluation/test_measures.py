"""Measures against their formulas on a case worked by hand, and how sure means and differences are."""

from __future__ import annotations

import importlib
import math
import sys

import numpy as np
import pytest

from memgpt_rag.errors import MissingPackageError
from memgpt_rag.evaluation.data.dataset import Document, RetrievalDataset
from memgpt_rag.evaluation.metrics.retrieval_measures import (
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
    randomisation_p,
)

# Five documents; "boat" has two relevant ones of which the better is worth 2, "kite" one, "dog" is not judged.
JUDGED = RetrievalDataset(
    "park",
    {name: Document("", name) for name in "abcde"},
    {"boat": "boat?", "kite": "kite?", "dog": "dog?"},
    {"boat": {"a": 2, "b": 1, "c": 0, "d": -1}, "kite": {"e": 1}, "dog": {"a": 0}},
)
RUN = {"boat": [("c", 0.9), ("b", 0.9), ("d", 0.9), ("a", 0.9)], "dog": [("a", 1.0)]}


def test_ndcg_is_that_of_the_formula():
    dcg = 1 / math.log2(2 + 1) + 2 / math.log2(4 + 1)  # b with grade 1 at rank 2, a with grade 2 at rank 4
    ideal = 2 / math.log2(1 + 1) + 1 / math.log2(2 + 1)
    values = per_query(JUDGED, RUN, ["nDCG@10", "nDCG@2"])
    assert values["nDCG@10"]["boat"] == pytest.approx(dcg / ideal)
    assert values["nDCG@2"]["boat"] == pytest.approx((1 / math.log2(3)) / ideal)


def test_the_other_measures_are_those_of_their_formulas():
    values = {
        name: item["boat"]
        for name, item in per_query(JUDGED, RUN, ["R@2", "R@4", "RR@10", "RR@1", "AP", "P@4", "Success@1"]).items()
    }
    expected = {
        "R@2": 1 / 2,
        "R@4": 2 / 2,
        "RR@10": 1 / 2,
        "RR@1": 0.0,
        "AP": (1 / 2 + 2 / 4) / 2,
        "P@4": 2 / 4,
        "Success@1": 0.0,
    }
    assert values == pytest.approx(expected)


def test_a_query_without_results_counts_as_zero_and_one_that_is_not_judged_does_not_count():
    for run in (RUN, {"boat": RUN["boat"], "kite": []}):
        assert list(per_query(JUDGED, run, ["AP"])["AP"]) == ["boat", "kite"]
        assert per_query(JUDGED, run, ["AP"])["AP"]["kite"] == 0.0
    assert per_query(JUDGED, {}, ["AP", "R@1"]) == {"AP": {"boat": 0.0, "kite": 0.0}, "R@1": {"boat": 0.0, "kite": 0.0}}


def test_the_order_given_decides_among_equal_scores():
    turned = {"kite": [("a", 0.5), ("e", 0.5)]}, {"kite": [("e", 0.5), ("a", 0.5)]}
    assert [per_query(JUDGED, run, ["RR@10"])["RR@10"]["kite"] for run in turned] == [0.5, 1.0]


def test_the_recall_curve_agrees_with_the_measure():
    curve = recall_curve(JUDGED, RUN, [1, 2, 3, 4, 100])
    for depth, value in curve.items():
        recalls = per_query(JUDGED, RUN, [f"R@{depth}"])[f"R@{depth}"]
        assert value == pytest.approx(np.mean(list(recalls.values())))
    assert curve[1] == 0 < curve[2] < curve[4] == curve[100]


@pytest.mark.parametrize("name", ["nDGC@10", "nDCG@0", "nDCG@x", "nDCG@", "R", "P", "AP(rel=2)", "", "nDCG@١", "R@010"])
def test_a_measure_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match=r"No measure '.*'; expected one of nDCG, R, RR, AP, P, Success with a cutoff"):
        parse_measures(["AP", name])
    with pytest.raises(ValueError, match=r"No measure; expected some such as nDCG@10"):
        parse_measures([])


def test_the_deepest_cutoff_says_how_far_to_search():
    assert deepest_cutoff(["nDCG@10", "R@100", "AP"]) == 100
    assert deepest_cutoff(["AP", "RR"]) == 0


@pytest.mark.parametrize(
    "run, sentence",
    [
        ({"cat": [("a", 1.0)]}, "A ranking is for the query 'cat', which is none of park"),
        ({"boat": [("z", 1.0)]}, "The query 'boat' found the document 'z', which is none of park"),
        ({"boat": [("a", 1.0), ("b", 0.5), ("a", 0.2)]}, "The query 'boat' found the document 'a' twice"),
    ],
)
def test_a_ranking_of_something_else_is_refused(run, sentence):
    with pytest.raises(ValueError, match=sentence):
        per_query(JUDGED, run, ["AP"])


def test_without_its_package_the_error_is_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(
        MissingPackageError, match=r"needs the package ir-measures.*pip install 'memgpt_rag\[measure\]'"
    ):
        parse_measures(["AP"])


def test_an_interval_is_about_two_standard_errors_to_each_side(rng):
    values = rng.normal(3, 2, 400)
    mean, low, high = interval(values.tolist())
    error = values.std() / math.sqrt(len(values))
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    assert interval([0.5]) == (0.5, 0.5, 0.5)
    assert interval(values.tolist(), resamples=1300) == interval(values.tolist(), resamples=1300)
    with pytest.raises(ValueError, match="No value to take the mean of"):
        interval([])


def test_the_randomisation_test_of_few_queries_counts_every_flip():
    # All three differences are positive: of 8 flips only the one observed and its mirror are as far from zero.
    assert randomisation_p(np.array([0.1, 0.2, 0.3])) == 2 / 8
    # +3 -1 sums to 2; so do, in size, its mirror and the flips that sum to 4: all of four.
    assert randomisation_p(np.array([3.0, -1.0])) == 1.0
    assert randomisation_p(np.zeros(5)) == 1.0


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_the_randomisation_test_of_many_queries_agrees_with_the_t_test(shift, rng):
    stats = importlib.import_module("scipy.stats")
    differences = rng.normal(shift, 1, 200)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert randomisation_p(differences) == pytest.approx(expected, abs=0.015)


def test_two_systems_are_compared_on_the_queries_of_both():
    mine, theirs = {"p": 0.5, "q": 1.0, "r": 0.2, "s": 0.9}, {"q": 0.4, "r": 0.2, "s": 1.0, "t": 0.0}
    compared = compare(mine, theirs)
    assert compared.difference == pytest.approx((0.6 + 0.0 - 0.1) / 3)
    assert (compared.better, compared.equal, compared.worse) == (1, 1, 1)
    assert compared.low <= compared.difference <= compared.high
    assert compared.p == compared.p_holm == 1.0
    assert compare(mine, mine) == Comparison(0.0, 0.0, 0.0, 1.0, 1.0, 0, 4, 0)
    with pytest.raises(ValueError, match="measured on no query in common"):
        compare(mine, {"t": 1.0})


def test_holms_correction_is_that_of_the_paper():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([3 * 0.01, 2 * 0.03, 2 * 0.03])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
