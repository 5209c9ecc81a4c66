"""Measures of translations, against values worked out by hand."""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec

import pytest

from memgpt_rag.errors import MissingPackageError
from memgpt_rag.evaluation.metrics.translation_measures import corpus_scores, translation_measures

needs_sacrebleu = pytest.mark.skipif(find_spec("sacrebleu") is None, reason="sacrebleu measures translations")


@needs_sacrebleu
def test_a_right_translation_has_100_and_one_without_a_common_character_0():
    scores = corpus_scores(["船是红的", "湖"], [["船是红的"], ["山"]], "zh")
    assert scores["chrF"][1] == [100, 0]
    assert scores["BLEU"][1][0] == pytest.approx(100)
    assert 0 < scores["chrF"][0] < 100


@needs_sacrebleu
def test_bleu_of_a_sentence_is_that_of_papineni():
    """All words are right, and one is missing: every precision is 1, and the brevity penalty is exp(1 - 5/4)."""
    (_, each) = corpus_scores(["the boat is red"], [["the boat is red today"]], "en")["BLEU"]
    assert each == [pytest.approx(100 * math.exp(1 - 5 / 4), abs=0.01)]


@needs_sacrebleu
def test_any_reference_counts_and_texts_may_have_different_numbers():
    scores = corpus_scores(["红船", "湖"], [["舟", "小船", "红船"], ["湖"]], "zh")
    assert scores["chrF"] == (100, [100, 100])


@needs_sacrebleu
def test_each_translation_needs_a_reference():
    for translations, references in (([], []), (["a"], []), (["a"], [[]])):
        with pytest.raises(ValueError, match=r"There are \d translations and \d of references; expected some of each"):
            corpus_scores(translations, references, "en")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(
        MissingPackageError, match=r"Measuring translations needs the package sacrebleu.*memgpt_rag\[measure\]"
    ):
        translation_measures("zh")
