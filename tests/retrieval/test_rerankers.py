"""Rerankers: the language model itself against the same text in its prompt, a cross-encoder against plain transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hashing import passage
from tiny import tiny_bert, tiny_decoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.small_decoders import small_decoder
from memgpt_rag.encoders.base import PAIRS
from memgpt_rag.errors import ModelError
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.retrieval import rerankers
from memgpt_rag.retrieval.rerankers import (
    CrossEncoderReranker,
    LikelihoodReranker,
    Reranker,
    load_reranker,
)

QUESTION = "Where does the ferry go?"
PASSAGES = [
    passage(1, "The ferry goes to Moss Island."),
    passage(2, "Bees live on heather."),
    passage(3, "渡轮开往苔藓岛。"),
]


def cross_encoder(folder, labels=1, seed=0):
    return tiny_bert(folder, AutoModelForSequenceClassification, labels, seed)


@pytest.mark.parametrize("most_logits", [None, 1])
def test_the_likelihood_of_a_question_is_that_after_the_passage_in_a_prompt(most_logits, monkeypatch):
    """Also where the logits of two passages would be too many at once."""
    if most_logits is not None:
        monkeypatch.setattr(rerankers, "_MOST_LOGITS", most_logits)
    tokenizer = byte_tokenizer()
    decoder = tiny_decoder("qwen3", len(tokenizer))
    model, prompt = MemoryDecoder(decoder, tokenizer, config=MemoryAttentionConfig()), Prompt(tokenizer)
    model.prefix_ids = prompt.prefix_ids[-20:]
    rated = LikelihoodReranker(model, prompt, batch_size=2).rate(QUESTION, PASSAGES)
    plain = tiny_decoder("qwen3", len(tokenizer))
    before, asked = prompt.asked_ids(QUESTION)
    for one, likelihood in zip(PASSAGES, rated, strict=True):
        ids = torch.tensor([[*model.prefix_ids, *prompt.entry_ids(one), *before, *asked]])
        with torch.inference_mode():
            shown = plain(ids).logits[0, -len(asked) - 1 : -1].log_softmax(-1)
        assert likelihood == pytest.approx(float(shown[range(len(asked)), list(asked)].mean()), abs=1e-4)
    assert len(set(rated.tolist())) == 3


@pytest.mark.parametrize("kind", ["trocr", "whisper", "mamba", "llama4_text"])
def test_the_likelihood_is_that_of_other_decoders_too(kind):
    """Some compute the logits of all tokens, whatever is asked for; some have layers without attention."""
    tokenizer = byte_tokenizer()
    model, prompt = MemoryDecoder(small_decoder(kind, vocab_size=len(tokenizer)), tokenizer), Prompt(tokenizer)
    model.prefix_ids = prompt.prefix_ids[-20:]
    rated = LikelihoodReranker(model, prompt).rate(QUESTION, PASSAGES)
    before, asked = prompt.asked_ids(QUESTION)
    ids = torch.tensor([[*before, *asked]])
    for one, likelihood in zip(PASSAGES, rated, strict=True):
        with torch.inference_mode():
            logits = model(ids, torch.ones_like(ids), memory=model.make_memory([[prompt.entry_ids(one)]])).logits
        shown = logits[0, -len(asked) - 1 : -1].float().log_softmax(-1)
        assert likelihood == pytest.approx(float(shown[range(len(asked)), list(asked)].mean()), abs=1e-4)


def test_what_stands_before_a_question_and_the_question_make_the_prompt():
    prompt = Prompt(byte_tokenizer())
    for question in (QUESTION, " 渡轮开往哪里？ "):
        before, asked = prompt.asked_ids(question)
        assert prompt.question_ids(question)[: len(before) + len(asked)] == (*before, *asked)


def test_a_cross_encoder_rates_as_plain_transformers_do(tmp_path):
    folder = cross_encoder(tmp_path / "reranker")
    reranker = CrossEncoderReranker(str(folder))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    for one, rated in zip(PASSAGES, reranker.rate(QUESTION, PASSAGES), strict=True):
        with torch.inference_mode():
            logits = model(**tokenizer(QUESTION, one.titled_text, return_tensors="pt")).logits
        assert rated == pytest.approx(float(logits[0, 0]), abs=1e-4)


def test_scores_are_in_units_of_the_contrast():
    class Overlap(Reranker):
        name = "overlap"

        def rate(self, question, passages):
            return np.array([100.0 * len(set(question) & set(one.text)) for one in passages])

    reranker = Overlap()
    rated = {
        language: np.array([[100.0 * len(set(q) & set(text)) for _, text in pairs] for q, _ in pairs])
        for language, pairs in PAIRS.items()
    }
    own = np.eye(4, dtype=bool)
    assert reranker.score_scale == pytest.approx(max(item[own].mean() - item[~own].mean() for item in rated.values()))
    np.testing.assert_allclose(
        reranker.scores(QUESTION, PASSAGES), reranker.rate(QUESTION, PASSAGES) / reranker.score_scale
    )


def test_a_model_that_is_no_reranker_is_refused(tmp_path):
    with pytest.raises(ModelError, match="No reranker 'nobody/none': it is no folder here"):
        CrossEncoderReranker("nobody/none")
    folder = cross_encoder(tmp_path / "classifier", labels=3)
    with pytest.raises(ModelError, match="gives 3 numbers for a pair of texts; a reranker gives one"):
        CrossEncoderReranker(str(folder))

    class Contrary(Reranker):
        name = "contrary"

        def rate(self, question, passages):
            return np.array(
                [-1.0 * len(set(question.lower().split()) & set(one.text.lower().split())) for one in passages]
            )

    with pytest.raises(ModelError, match="The reranker 'contrary' rates wrong passages higher than right ones"):
        Contrary().scores(QUESTION, PASSAGES)


@pytest.mark.offline_models
def test_tokens_are_compared_as_colbert_does(tmp_path):
    from sentence_transformers import SentenceTransformer

    from memgpt_rag.hub.bundled import encoder_folder

    reranker = load_reranker("tokens:all-MiniLM-L6-v2")
    plain = SentenceTransformer(str(encoder_folder("all-MiniLM-L6-v2")))
    texts = [QUESTION, *(one.titled_text for one in PASSAGES)]
    asked, *shown = [
        torch.nn.functional.normalize(item, dim=-1)
        for item in plain.encode(texts, output_value="token_embeddings", show_progress_bar=False)
    ]
    expected = [float((asked @ item.T).max(dim=1).values.mean()) for item in shown]
    for _ in range(2):  # the second time from what was kept
        np.testing.assert_allclose(reranker.rate(QUESTION, PASSAGES), expected, atol=1e-4)
    assert int(np.argmax(expected)) == 0 and reranker.score_scale > 0.1
    with pytest.raises(ModelError, match="No reranker 'nobody/none': it is no folder here"):
        load_reranker("tokens:nobody/none")


def test_a_multi_vector_encoder_rates_as_its_own_similarity_does(tmp_path):
    from sentence_transformers import MultiVectorEncoder

    bert, folder = tiny_bert(tmp_path / "bert"), tmp_path / "colbert"
    prompts = {"query": "[Q] ", "document": "[D] "}
    MultiVectorEncoder(str(bert), prompts=prompts, similarity_fn_name="meanmaxsim").save(str(folder))
    reranker, plain = load_reranker(f"tokens:{folder}"), MultiVectorEncoder(str(folder))
    shown = [plain.encode_document(one.titled_text, show_progress_bar=False) for one in PASSAGES]
    expected = plain.similarity([plain.encode_query(QUESTION, show_progress_bar=False)], shown)[0]
    np.testing.assert_allclose(reranker.rate(QUESTION, PASSAGES), expected, atol=1e-5)
    without_prompts = MultiVectorEncoder(str(folder), prompts={"query": "", "document": ""})
    other = without_prompts.similarity([without_prompts.encode_query(QUESTION, show_progress_bar=False)], shown)[0]
    assert not np.allclose(other, expected, atol=1e-3), "the prompts make a difference"


@pytest.mark.offline_models
def test_gemma_rates_a_questions_own_passage_highest(gemma):
    prompt, before = Prompt(gemma.tokenizer), gemma.prefix_ids
    gemma.prefix_ids = prompt.prefix_ids
    reranker = LikelihoodReranker(gemma, prompt)
    try:
        assert reranker.score_scale > 1
        for question, rated in ((QUESTION, 0), ("渡轮开往哪里？", 2)):
            assert int(np.argmax(reranker.scores(question, PASSAGES))) == rated
    finally:
        gemma.prefix_ids = before
