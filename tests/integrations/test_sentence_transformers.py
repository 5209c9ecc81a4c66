"""Rerankers answer to `predict` and `rank` as a CrossEncoder of sentence-transformers does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from tiny import tiny_bert
from transformers import AutoModelForSequenceClassification

from memgpt_rag.integrations.sentence_transformers import MemGPTCrossEncoder

QUESTION, OTHER = "Where does the ferry go?", "What do bees eat?"
TEXTS = ["Bees live on heather.", "The ferry goes to Moss Island.", "渡轮开往苔藓岛。", "The ferry costs two coins."]
PAIRS = [(question, text) for question in (QUESTION, OTHER) for text in TEXTS]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Ours and theirs, of the same random weights."""
    folder = tiny_bert(tmp_path_factory.mktemp("reranker") / "model", AutoModelForSequenceClassification)
    theirs = CrossEncoder(str(folder), activation_fn=torch.nn.Identity())
    return MemGPTCrossEncoder.load(str(folder)), theirs


def test_scores_are_those_of_the_cross_encoder(models):
    ours, theirs = models
    expected = theirs.predict(PAIRS, show_progress_bar=False)
    mixed = [PAIRS[at] for at in (0, 4, 1, 5, 2, 6, 3, 7)]  # questions in turns
    np.testing.assert_allclose(ours.predict(PAIRS, batch_size=2, show_progress_bar=False), expected, atol=1e-5)
    np.testing.assert_allclose(ours.predict(mixed)[::2], expected[:4], atol=1e-5)
    assert ours.predict(PAIRS[1]) == pytest.approx(theirs.predict(PAIRS[1]), abs=1e-5)
    sigmoid = torch.nn.Sigmoid()
    np.testing.assert_allclose(
        ours.predict(PAIRS, activation_fn=sigmoid), theirs.predict(PAIRS, activation_fn=sigmoid), atol=1e-5
    )
    assert isinstance(ours.predict(PAIRS, convert_to_tensor=True), torch.Tensor)
    assert [one.shape for one in ours.predict(PAIRS[:2], convert_to_numpy=False)] == [(), ()]
    assert ours.predict([]).shape == (0,)


@pytest.mark.parametrize("settings", [{}, {"top_k": 2}, {"top_k": 9, "return_documents": True}])
def test_documents_are_ranked_as_by_the_cross_encoder(models, settings):
    ours, theirs = (model.rank(QUESTION, TEXTS, **settings) for model in models)
    assert [{**one, "score": 0} for one in ours] == [{**one, "score": 0} for one in theirs]
    assert [one["score"] for one in ours] == pytest.approx([one["score"] for one in theirs], abs=1e-5)


def test_the_evaluator_of_sentence_transformers_measures_both_alike(models):
    samples = [
        {"query": QUESTION, "positive": [TEXTS[1]], "negative": [TEXTS[0], TEXTS[3]]},
        {"query": OTHER, "positive": [TEXTS[0]], "negative": TEXTS[1:]},
    ]
    ours, theirs = (CrossEncoderRerankingEvaluator(samples, write_csv=False)(model) for model in models)
    assert ours == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("inputs", "settings", "says"),
    [
        ([(QUESTION, TEXTS[0]), (QUESTION,)], {}, "The input 1 is .*; expected a question and a text"),
        ([QUESTION, *TEXTS], {}, "The input 0 is 'Where does the ferry go"),
        (PAIRS, {"prompt_name": "query"}, "prompt_name is 'query'; a reranker has no prompts, give None"),
    ],
)
def test_what_are_no_pairs_is_refused(models, inputs, settings, says):
    with pytest.raises(ValueError, match=says):
        models[0].predict(inputs, **settings)
