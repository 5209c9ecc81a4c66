"""Confidence as arithmetic: the signals, the two logistic models that are fitted to them, and how these are kept."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest

from memgpt_rag.answering.confidence import (
    FITTED,
    GENERAL,
    GENERAL_READER,
    ConfidenceModel,
    FeatureWeight,
    LogisticModel,
    best_threshold,
    fit_logistic_model,
    load_confidence,
    precision_recall,
    read_confidence,
    save_confidence,
)
from memgpt_rag.answering.signals import BEFORE_ANSWER, UNKNOWN, Signals, overlap, search_signals
from memgpt_rag.errors import ModelError
from memgpt_rag.training.fit_confidence import (
    SUPPORTED,
    Observation,
    fit,
)

COME = read_confidence(FITTED)


def observations(rng, count=60):
    """Two signals that tell, one that does not, and one that is not always known."""
    made = []
    for number in range(count):
        yes = bool(number % 2)
        noise = rng.normal(size=4)
        signals = Signals(lead=0.3 * yes + 0.2 * noise[0], log_prob=-1 + yes + noise[1], mass=50 * noise[2])
        signals = replace(signals, overlap=UNKNOWN if number % 5 == 0 else 0.5 * yes + noise[3])
        made.append(Observation(signals, yes, ("file", f"record {number // 2 % 7}")))
    return made


def test_the_logistic_applied_equals_sklearns_probability(rng):
    from sklearn.linear_model import LogisticRegression

    made, names = observations(rng), ("lead", "log_prob", "mass")
    rows, labels = [one.signals for one in made], [one.yes for one in made]
    ours = fit_logistic_model(rows, labels, names)
    table = np.array([[getattr(row, name) for name in names] for row in rows])
    table = (table - table.mean(0)) / table.std(0)
    theirs = LogisticRegression().fit(table, labels).predict_proba(table)[:, 1]
    assert [ours(row) for row in rows] == pytest.approx(theirs, abs=1e-3)
    assert ours.weights["lead"].weight > 0.5
    assert abs(ours.weights["mass"].weight) < ours.weights["lead"].weight


def test_what_is_not_known_counts_as_typical(rng):
    made = observations(rng)
    fitted = fit_logistic_model([one.signals for one in made], [one.yes for one in made], ("lead", "overlap"))
    known = [one.signals.overlap for one in made if not math.isnan(one.signals.overlap)]
    assert fitted.weights["overlap"].typical == pytest.approx(np.mean(known), abs=1e-4)
    typical = fitted(Signals(lead=0.2, overlap=fitted.weights["overlap"].typical))
    assert fitted(Signals(lead=0.2, overlap=UNKNOWN)) == fitted(Signals(lead=0.2)) == pytest.approx(typical)


def test_a_signal_moves_the_probability_the_way_of_its_weight():
    for decisions, name in product(COME.values(), ("needed", "supported")):
        decision = decisions[name]
        for signal, item in decision.weights.items():
            low, high = (decision(Signals(**{signal: item.typical + step * item.scale})) for step in (-1, 1))
            assert np.sign(high - low) == np.sign(item.weight)


def test_what_speaks_for_an_answer_has_a_weight_above_0():
    for decisions in COME.values():
        weights = {name: item.weight for name, item in decisions["supported"].weights.items()}
        assert all(
            weights[name] > 0 for name in weights.keys() & {"lead", "share", "log_prob", "overlap", "rare_overlap"}
        )
        assert weights["lead"] > 0 > weights.get("declining", -1)
        assert decisions["needed"].weights["lead"].weight > 0
    for decision in COME[GENERAL].values():
        assert not {"score", "mass", "question_mass"} & set(decision.weights)


def test_extreme_signals_give_0_or_1_and_no_overflow():
    decision = LogisticModel({"lead": FeatureWeight(1.0, 0.0, 1e-6)}, 0.0, 0.5)
    assert decision(Signals(lead=-1.0)) == 0.0
    assert decision(Signals(lead=1.0)) == 1.0


def test_what_cannot_need_the_memory_does_not_need_it_at_any_mass(rng):
    unread = 0
    for come in COME.values():
        model = ConfidenceModel(**come)
        for score, lead, shared in rng.uniform((3, 0, 0), (8, 0.6, 1), (200, 3)):
            signals = Signals(score=score, lead=lead, overlap=shared)
            needs = [model.needs_memory(replace(signals, question_mass=mass)) for mass in np.linspace(0, 1, 11)]
            assert model.may_need_memory(signals) == any(needs)
            unread += not any(needs)
    assert unread > 0


def known(signals):
    return {name: value for name, value in asdict(signals).items() if not math.isnan(value)}


def test_signals_of_a_search_by_hand():
    texts = ["Rowing boats are rented there.", "Kites fly.", "Boats sink."]
    signals = search_signals("Where are rowing boats rented?", [5.0, 4.0, 3.0], texts)
    assert known(signals) == {"score": 5.0, "lead": 1.5, "overlap": 0.75, "overlap_lead": pytest.approx(0.75 - 0.125)}
    assert known(search_signals("Who?", [5.0], ["You."])) == {"score": 5.0}
    assert known(search_signals("Who?", [], [])) == {}
    eight, more = [9.0, 8, 7, 6, 5, 4, 3, 2], ["Kites."] * 8
    cut = search_signals("A kite?", eight, more)
    assert known(search_signals("A kite?", [*eight, -100.0], [*more, "None."])) == known(cut)


def test_entries_in_another_language_are_not_compared_by_their_words():
    signals = search_signals("Rowing boats?", [3.0, 2.0, 1.0], ["Rowing boats.", "划船很好。", "Boats."])
    assert (signals.overlap, signals.overlap_lead) == (1.0, 0.5)


def test_signals_of_an_answer_by_hand():
    assert known(Signals(lead=0.5).with_answer([0.1, 0.3], [-1.0, -2.0, -0.3])) == {
        "lead": 0.5,
        "mass": pytest.approx(0.4),
        "share": pytest.approx(0.75),
        "entropy": pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75)),
        "log_prob": pytest.approx(-1.1),
        "min_log_prob": -2.0,
        "first_log_prob": -1.0,
    }
    assert known(Signals().with_answer([0.2, 0.0], [])) == {"mass": 0.2, "share": 1, "entropy": 0}
    assert known(Signals().with_answer([0.0], [])) == {"mass": 0.0}


@pytest.mark.parametrize(
    "question, answer, cited, cited_overlap, repeated, words",
    [
        ("How much is a boat?", "40 yuan a boat", "Boats cost 40 yuan.", 2 / 4, 2 / 4, 4),
        ("How much is a boat?", "40, 40, 40", "Boats cost 40 yuan.", 1, 0, 1),
        ("划船多少钱？", "四十元", "划船每小时四十元。", 1, 0, 2),
        ("划船多少钱？", "划船五元", "划船每小时四十元。", 1 / 3, 1 / 3, 3),
        ("How much is a boat?", "40 yuan", "划船每小时40元。", UNKNOWN, 0, 2),
        ("How much is a boat?", "…", "Boats cost 40 yuan.", UNKNOWN, UNKNOWN, 0),
    ],
)
def test_signals_of_an_answer_text_by_hand(question, answer, cited, cited_overlap, repeated, words):
    signals = Signals(lead=0.5).with_text(question, answer, cited)
    assert signals.cited_overlap == pytest.approx(cited_overlap, nan_ok=True)
    assert signals.repeated == pytest.approx(repeated, nan_ok=True)
    assert math.expm1(signals.length) == pytest.approx(words)
    assert signals.lead == 0.5


@pytest.mark.parametrize(
    "question, text, share",
    [
        ("Who borrowed the kite?", "A kite was borrowed.", 2 / 2),
        ("What happened in 1998?", "In 1998 nothing did.", 1 / 3),
        ("划船多少钱？", "划船每小时四十元。", 1 / 4),
        ("狗?", "狗很好。", UNKNOWN),
        ("划船多少钱？", "Rowing boats cost 40 yuan.", UNKNOWN),
    ],
)
def test_overlap_counts_words_or_pairs_of_characters_of_one_language(question, text, share):
    assert overlap(question, text) == pytest.approx(share, nan_ok=True)


def test_the_threshold_is_the_best_of_all():
    assert best_threshold([0.1, 0.2, 0.8, 0.9], [False, False, True, True]) == 0.5
    probabilities = [0.1, 0.3, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9]
    labels = [False, False, True, False, True, False, True, True]

    def lower_one(threshold):
        return min(precision_recall([one < threshold for one in probabilities], [not label for label in labels]))

    best = best_threshold(probabilities, labels)
    assert lower_one(best) == max(map(lower_one, np.linspace(0, 1, 101))) == 0.75
    # Each no three times: they count as much as before.
    again = [*probabilities, *(2 * [one for one, label in zip(probabilities, labels, strict=True) if not label])]
    assert best_threshold(again, labels + [False] * (len(again) - len(labels))) == best


def test_precision_and_recall_by_hand():
    assert precision_recall([True, True, True, False], [True, False, True, False]) == (2 / 3, 1.0)
    assert precision_recall([False, False], [True, False]) == (0.0, 0.0)


def test_each_document_is_judged_by_weights_fitted_to_others(rng):
    # Every document's signals say the opposite of all others': by the others' weights, all is judged wrong.
    made = [
        Observation(
            Signals(lead=float(yes) + rng.normal() / 100, score=float(yes == (document == 0))),
            yes,
            ("file", f"{document}"),
        )
        for document in range(4)
        for yes in (True, False)
        for _ in range(5)
    ]
    fair = fit(made, ("lead",))
    assert (fair.precision, fair.recall) == (1, 1)
    assert fair.observations == 40
    assert fit(made, ("score",)).precision < 1
    assert set(fair.decision.weights) == {"lead"}


def test_labels_must_differ():
    with pytest.raises(ValueError, match="All 2 examples have the same label; give some of both"):
        fit_logistic_model([Signals(lead=1.0), Signals(lead=2.0)], [True, True], ("lead",))


def test_what_a_user_fitted_counts_and_the_rest_holds_as_it_comes(tmp_path):
    file, key = tmp_path / "confidence.json", next(key for key in COME if key != GENERAL)
    own = LogisticModel({"lead": FeatureWeight(2.0, 0.1, 0.5)}, -0.5, 0.4)
    save_confidence(file, key, supported=own)
    save_confidence(file, "another model", needed=own)
    assert read_confidence(file) == {key: {"supported": own}, "another model": {"needed": own}}
    chosen = load_confidence(key, file)
    assert chosen == ConfidenceModel(needed=COME[key]["needed"], supported=own)
    assert load_confidence("unheard of", file) == ConfidenceModel(**COME[GENERAL])
    assert load_confidence(key, tmp_path / "none") == ConfidenceModel(**COME[key])
    assert [path.name for path in tmp_path.iterdir()] == ["confidence.json"]


@pytest.mark.parametrize(
    "content, why",
    [
        ("{", "Expecting property name"),
        ("[]", "no attribute 'items'"),
        ('{"a b": {"supported": {"bias": 0}}}', "'figures'"),
        (
            '{"a b": {"supported": {"figures": {"lead": {"weight": 1}}, "bias": 0, "threshold": 0.5}}}',
            "'typical'",
        ),
        (
            '{"a b": {"supported": {"figures": {"lead": {"weight": 1, "typical": 0, "scale": 0}}, "bias": 0, "threshold": 0.5}}}',
            "scale of lead is 0, not a number from 1e-06",
        ),
        ('{"a b": {"supposed": {"figures": {}, "bias": 0, "threshold": 0.5}}}', "there is no model supposed"),
        ('{"a b": {"supported": {"figures": {}, "bias": "x", "threshold": 0.5}}}', "bias is 'x', not a number"),
        ('{"a b": {"supported": {"figures": {}, "bias": "0", "threshold": 0.5}}}', "bias is '0', not a number"),
        ('{"a b": {"supported": {"figures": {}, "bias": true, "threshold": 0.5}}}', "bias is True, not a number"),
        ('{"a b": {"supported": {"figures": {}, "bias": NaN, "threshold": 0.5}}}', "NaN where a number is expected"),
        ('{"a b": {"supported": {"figures": {}, "bias": 1e308, "threshold": 0.5}}}', r"bias is 1e\+308, not a number"),
        ('{"a b": {"supported": {"figures": {}, "bias": 1e999, "threshold": 0.5}}}', "a number that is too large"),
        (
            '{"a b": {"supported": {"figures": {}, "bias": ' + "9" * 5000 + ', "threshold": 0}}}',
            "a number of 5,000 digits",
        ),
        (
            '{"a b": {"supported": {"figures": {}, "bias": 0, "threshold": 1.5}}}',
            "threshold is 1.5, not a number from 0 to 1",
        ),
        ('{"a b": {"supported": {"figures": {"leed": {}}, "bias": 0, "threshold": 0.5}}}', "there is no signal leed"),
        (
            '{"a b": {"supported": {"figures": {"lead": {"weight": 1, "typical": 0, "scale": 1e-300}}, "bias": 0, "threshold": 0.5}}}',
            "scale of lead is 1e-300, not a number from 1e-06",
        ),
        ("[" * 200_000, "nested more than 64 levels deep"),
    ],
)
def test_damaged_weights_are_refused_with_a_sentence(tmp_path, content, why):
    file = tmp_path / "memory_decisions.json"
    file.write_text(content)
    with pytest.raises(
        ModelError, match=f"memory_decisions.json does not hold weights of confidence models .*{why}.*fit them again"
    ):
        read_confidence(file)


def test_what_comes_uses_only_signals_that_there_are():
    for decisions in COME.values():
        weighed = set(decisions["supported"].weights)
        assert weighed <= set(SUPPORTED) or "declining" in weighed <= set(BEFORE_ANSWER)
        assert set(decisions["needed"].weights) <= {"score", "lead", "overlap", "overlap_lead", "question_mass"}
        assert set(decisions) == {"needed", "supported"}
    assert json.loads(FITTED.read_text())[GENERAL]


def test_a_reader_may_decline_only_where_support_is_far_less_likely_than_the_threshold():
    """In between, an answer is not supported, and its words and its quote are shown."""
    bias = {"declining": FeatureWeight(-1.0, 0.0, 1.0)}
    for threshold in (0.2, 0.5, 0.8):
        model = ConfidenceModel(COME[GENERAL]["needed"], LogisticModel(bias, 0.0, threshold))
        at_threshold = -math.log(threshold / (1 - threshold))
        for times, may in ((1.0, False), (2.0, False), (49.0, False), (51.0, True)):
            signals = Signals(declining=at_threshold + math.log(times) + 1e-6)
            assert model.supported(signals) < threshold
            assert model.may_decline(signals) is may


def test_a_reader_may_not_decline_where_the_memory_supports_an_answer(tmp_path):
    key = next(
        key for key, decisions in COME.items() if {"declining", "score"} <= decisions["supported"].weights.keys()
    )
    fitted, general = ConfidenceModel(**COME[key]), ConfidenceModel(**COME[GENERAL])
    typical = {name: item.typical for name, item in fitted.supported.weights.items()}
    sure = Signals(**{**typical, "declining": -6.0})
    unsure = Signals(**{**typical, "declining": 20.0})
    assert (fitted.may_decline(sure), fitted.may_decline(unsure)) == (False, True)
    assert not fitted.may_decline(replace(unsure, score=99.0)), "the search knows better"
    assert general.may_decline(sure), "nothing was fitted to what the reader says"
    declining = load_confidence("unheard of", tmp_path / "none", declines=True)
    assert declining == ConfidenceModel(**COME[GENERAL_READER])
    assert (declining.may_decline(sure), declining.may_decline(unsure)) == (False, True)
    assert not declining.supported.weights.keys() & {"score", "mass", "question_mass"}, "they depend on the models"
    later = replace(fitted.supported, weights={**fitted.supported.weights, "log_prob": FeatureWeight(1.0, 0.0, 1.0)})
    assert replace(fitted, supported=later).may_decline(sure), "not known yet"
