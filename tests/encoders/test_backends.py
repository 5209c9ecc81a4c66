"""Encoders at speed: batches, backends and precisions, shortened vectors; each beside the slow way that it must agree with."""

from __future__ import annotations

import importlib.util
import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
from hashing import HashEncoder

from memgpt_rag.encoders import token_counts
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.batching import in_batches
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder, load_memory_encoder
from memgpt_rag.encoders.probe_texts import CALIBRATION, JUDGED_PASSAGES, JUDGED_QUERIES
from memgpt_rag.encoders.quantization_loss import Loss, cache_loss, cached_loss
from memgpt_rag.encoders.token_counts import WordCounts, counter
from memgpt_rag.encoders.truncated import TruncatedEncoder
from memgpt_rag.errors import (
    MemoryFormatError,
    MismatchError,
    MissingPackageError,
    ModelError,
)
from memgpt_rag.fingerprint import EncoderFingerprint
from memgpt_rag.hub.bundled import ENCODERS
from memgpt_rag.io.cache_folder import CacheWarning

MINILM = "all-MiniLM-L6-v2"
TEXTS = [*JUDGED_QUERIES, *JUDGED_PASSAGES, "", "word " * 400, "公园" * 300, JUDGED_QUERIES[0]]
WAYS = [
    pytest.param("torch", "bf16", marks=pytest.mark.slow),
    ("torch", "int8"),
    pytest.param("openvino", "fp32", marks=pytest.mark.slow),
    pytest.param("openvino", "bf16", marks=pytest.mark.slow),
    pytest.param("openvino", "int8", marks=pytest.mark.slow),
    ("onnx", "fp32"),
    ("onnx", "int8"),
]


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return load_encoder(MINILM)


def test_batches_hold_texts_of_like_length_once_and_vectors_come_back_in_order():
    encoder, batches = HashEncoder(), []

    def encode(texts: list[str]) -> np.ndarray:
        batches.append(texts)
        return encoder.encode_passages(texts)

    texts = [f"text {'word ' * (number % 37)}{number % 90}" for number in range(300)]
    random.Random(1).shuffle(texts)
    vectors = in_batches(encode, texts, encoder.count_tokens, budget_tokens=120)
    np.testing.assert_array_equal(vectors, encoder.encode_passages(texts))
    assert sorted(text for batch in batches for text in batch) == sorted(set(texts))
    lengths = [[encoder.count_tokens(text) for text in batch] for batch in batches]
    assert all(max(batch) * len(batch) <= 120 for batch in lengths)
    assert [length for batch in lengths for length in batch] == sorted(
        (n for item in lengths for n in item), reverse=True
    )


def test_a_text_that_is_longer_than_a_batch_is_one_and_none_is_an_error():
    encoder, sizes = HashEncoder(), []
    texts = ["short", "long " * 50, "longer " * 60]
    vectors = in_batches(
        lambda batch: sizes.append(len(batch)) or encoder.encode_passages(batch),
        texts,
        encoder.count_tokens,
        budget_tokens=20,
    )
    assert sizes == [1, 1, 1]
    np.testing.assert_array_equal(vectors, encoder.encode_passages(texts))
    with pytest.raises(ValueError, match="There are no texts to encode; give at least one"):
        in_batches(encoder.encode_passages, [], encoder.count_tokens)


@pytest.mark.offline_models
def test_batches_change_no_vector_and_the_same_texts_give_the_same_bits(minilm):
    vectors = minilm.encode_passages(TEXTS)
    one_by_one = np.concatenate([minilm.encode_passages([text]) for text in TEXTS])
    np.testing.assert_allclose(vectors, one_by_one, atol=2e-6)
    np.testing.assert_array_equal(vectors, minilm.encode_passages(TEXTS))


@pytest.mark.offline_models
@pytest.mark.parametrize("name", ENCODERS)
def test_tokens_counted_by_words_are_those_of_the_tokenizer(name, monkeypatch):
    from transformers import AutoTokenizer

    from memgpt_rag.hub.bundled import encoder_folder
    from memgpt_rag.plain_text import plain_tokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder_folder(name))
    count = counter(tokenizer)
    assert isinstance(count, WordCounts)
    rng = random.Random(0)
    odd = [
        "\u3000",
        "\xa0",
        "\x1c",
        "\u200b",
        "\u2028",
        "\r\n",
        "\t\t",
        "[SEP]",
        "</s>",
        "～",
        "\ufdfa",
        "é",
        "e\u0301",
        "ﬁ",
        "don't",
        "公",
        "x" * 120,
    ]
    texts = [*TEXTS, *("".join(rng.choices([*odd, " ", " ", "word", "Words,"], k=40)) for _ in range(300))]
    plain = plain_tokenizer(tokenizer)
    expected = [len(plain.encode(text, add_special_tokens=False).ids) for text in texts]
    for text, tokens in zip(texts, expected, strict=True):
        assert count(text) == tokens, repr(text)
    monkeypatch.setattr(token_counts, "_PART", 60)
    assert [count(" ".join(text.split())) for text in JUDGED_QUERIES] == expected[: len(JUDGED_QUERIES)]


@pytest.mark.offline_models
@pytest.mark.parametrize("backend, precision", WAYS)
def test_every_backend_at_every_precision_gives_nearly_the_vectors_of_fp32(minilm, backend, precision):
    if backend != "torch":
        pytest.importorskip("nncf" if backend == "openvino" else "onnx")
    encoder = load_encoder(EncoderConfig(MINILM, backend=backend, precision=precision))
    # What says nothing, or one word again and again, is unlike anything that int8 was calibrated with.
    texts = [*JUDGED_QUERIES, *JUDGED_PASSAGES] if precision == "int8" else TEXTS
    cosines = (minilm.encode_passages(texts) * encoder.encode_passages(texts)).sum(axis=1)
    least = {"fp32": 0.99999, "bf16": 0.9995, "int8": 0.98}[precision]
    assert cosines.min() > least
    if precision != "bf16":  # in which a processor that has none of it computes nothing
        assert (precision == "fp32") == (cosines.min() > 0.999999)
    assert (encoder.fingerprint.backend, encoder.fingerprint.precision) == (backend, precision)
    encoder.fingerprint.require_match(minilm.fingerprint)
    np.testing.assert_array_equal(encoder.encode_passages(TEXTS[:9]), encoder.encode_passages(TEXTS[:9]))


@pytest.mark.offline_models
def test_int8_of_torch_does_not_depend_on_what_else_is_in_a_batch():
    encoder = load_encoder(EncoderConfig(MINILM, precision="int8"))
    alone = np.concatenate([encoder.encode_passages([text]) for text in JUDGED_QUERIES])
    np.testing.assert_allclose((alone * encoder.encode_passages(JUDGED_QUERIES)).sum(axis=1), 1, atol=2e-3)


def test_a_rounding_that_loses_much_is_refused_with_what_it_loses():
    Loss(0.004, 0.02).require_small("mine", "int8 on torch")
    with pytest.raises(
        ModelError,
        match=r"'mine' loses too much in int8 on torch: .* are 0\.0200 from those in fp32 .* at most 0\.01 is",
    ):
        Loss(0.02, 0.1).require_small("mine", "int8 on torch")
    with pytest.raises(ModelError, match="loses too much"):
        Loss(float("nan"), 0.1).require_small("mine", "int8 on torch")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"mean": NaN, "worst": 0}', '{"mean": -5, "worst": 0}', '{"mean": "0"}']
)
def test_a_loss_that_was_kept_and_is_damaged_is_measured_again(content, tmp_path):
    cache_loss(tmp_path, "key", Loss(0.004, 0.02))
    assert cached_loss(tmp_path, "key") == Loss(0.004, 0.02)
    (kept,) = tmp_path.iterdir()
    kept.write_text(content)
    assert cached_loss(tmp_path, "key") is None


@pytest.mark.offline_models
def test_a_loss_is_measured_once_for_a_network_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_encoder(EncoderConfig(MINILM, precision="int8"))
    (kept,) = tmp_path.rglob("*.json")
    kept.write_text('{"mean": 0.5, "worst": 0.9}')
    with pytest.raises(ModelError, match="loses too much in int8 on torch: its vectors of known texts are 0.5000"):
        load_encoder(EncoderConfig(MINILM, precision="int8"))
    kept.write_text("{")
    load_encoder(EncoderConfig(MINILM, precision="int8"))
    assert json.loads(kept.read_text())["mean"] < 0.01


def test_texts_that_judge_a_rounding_do_not_calibrate_it():
    calibrating = {text for batch in CALIBRATION for text in batch}
    assert not calibrating & {*JUDGED_QUERIES, *JUDGED_PASSAGES}
    assert not any(judged in text for judged in JUDGED_QUERIES for text in calibrating)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"backend": "jax"}, "backend is 'jax'; expected one of torch, openvino, onnx"),
        ({"precision": "int4"}, "precision is 'int4'; the backend torch computes in fp32, bf16, int8"),
        ({"backend": "onnx", "precision": "bf16"}, "precision is 'bf16'; the backend onnx computes in fp32, int8"),
    ],
)
def test_a_backend_or_precision_that_is_none_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        load_encoder(EncoderConfig(MINILM, **settings))


@pytest.mark.offline_models
@pytest.mark.parametrize("backend, package", [("openvino", "nncf"), ("onnx", "onnxruntime")])
def test_a_backend_that_is_not_installed_says_how_to_install_it(backend, package, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else found(name, *rest)
    )
    with pytest.raises(
        MissingPackageError, match=rf"needs the package {package}, .* pip install 'memgpt_rag\[{backend}\]'"
    ):
        load_encoder(EncoderConfig(MINILM, backend=backend, precision="int8"))


@pytest.mark.offline_models
def test_a_network_that_is_no_transformer_is_refused(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer, models

    static = modules.StaticEmbedding(
        Tokenizer(models.WordLevel({"[UNK]": 0}, "[UNK]")), embedding_weights=np.ones((1, 8), np.float32)
    )
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path))
    with pytest.raises(ModelError, match="begins with StaticEmbedding, not with a Transformer"):
        load_encoder(EncoderConfig(str(tmp_path), precision="int8"))


@pytest.mark.offline_models
def test_a_shorter_vector_is_the_beginning_of_the_whole_one_at_unit_length(minilm):
    short = load_encoder(EncoderConfig(MINILM, dimension=128))
    first = minilm.encode_passages(TEXTS[:9])[:, :128]
    np.testing.assert_allclose(
        short.encode_passages(TEXTS[:9]), first / np.linalg.norm(first, axis=1, keepdims=True), atol=1e-6
    )
    assert short.fingerprint.dimension == 128
    assert load_encoder(EncoderConfig(MINILM, dimension=384)).fingerprint == minilm.fingerprint
    with pytest.raises(ValueError, match="dimension is 500; vectors of all-MiniLM-L6-v2 have 384 numbers"):
        load_encoder(EncoderConfig(MINILM, dimension=500))
    with pytest.raises(MismatchError, match="dimension 128 against 384"):
        short.fingerprint.require_match(minilm.fingerprint)


def test_raw_vectors_are_shortened_without_a_change_of_their_numbers():
    whole = HashEncoder(normalized=False)
    np.testing.assert_array_equal(
        TruncatedEncoder(whole, 8).encode_passages(TEXTS), whole.encode_passages(TEXTS)[:, :8]
    )


@pytest.mark.offline_models
def test_who_asks_a_memory_gets_its_dimension_and_fp32_whatever_embedded_it(minilm):
    embedded = load_encoder(EncoderConfig(MINILM, precision="int8", dimension=256)).fingerprint
    asking = load_memory_encoder(embedded)
    assert (asking.backend, asking.precision, asking.fingerprint.dimension) == ("torch", "fp32", 256)
    embedded.require_match(asking.fingerprint)


def test_fingerprints_say_what_is_unusual_and_those_of_old_memories_are_read():
    usual = HashEncoder().fingerprint
    fields = usual.to_json()
    assert not {"backend", "precision"} & set(fields)
    assert EncoderFingerprint.from_json(fields) == usual
    rounded = EncoderFingerprint.from_json({**fields, "backend": "openvino", "precision": "int8"})
    assert EncoderFingerprint.from_json(rounded.to_json()) == rounded != usual
    with pytest.raises(MemoryFormatError, match="impossible fields: precision"):
        EncoderFingerprint.from_json({**fields, "precision": 8})


def test_a_loss_is_kept_as_finite_numbers_or_measured_again(tmp_path):
    cache_loss(tmp_path, "mine", Loss(0.004, 0.02))
    assert cached_loss(tmp_path, "mine") == Loss(0.004, 0.02)
    assert cached_loss(tmp_path, "other") is None
    (file,) = tmp_path.iterdir()
    for content in ("", "{", "[1]", '{"mean": NaN, "worst": 1}', '{"mean": 0, "worst": 1e999}', "[" * 100_000):
        file.write_text(content)
        assert cached_loss(tmp_path, "mine") is None, content[:30]
    cache_loss(tmp_path, "mine", Loss(0.004, 0.02))
    (tmp_path / "file").write_text("in place of a folder")
    with pytest.warns(CacheWarning, match="file cannot be used as a cache .File exists"):
        cache_loss(tmp_path / "file", "mine", Loss(0.004, 0.02))
    assert cached_loss(tmp_path / "file", "mine") is None


@pytest.mark.offline_models
@pytest.mark.parametrize("backend, program", [("openvino", "openvino"), ("onnx", "onnx")])
@pytest.mark.slow
def test_a_network_whose_file_changed_is_exported_again(tmp_path, monkeypatch, backend, program):
    pytest.importorskip(program)
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    from memgpt_rag.encoders.exported import exported
    from memgpt_rag.hub.bundled import encoder_folder

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("memgpt_rag.io.cache_folder._TEMPORARY", {})
    torch.manual_seed(0)
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    module = SimpleNamespace(model=BertModel(config, add_pooling_layer=False).eval(), max_seq_length=32)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder(MINILM))
    tokens = tokenizer(["A text of some words."], return_tensors="pt")

    def vectors() -> np.ndarray:
        with torch.inference_mode():
            network = exported(module, tokenizer, backend, "fp32", "key")
            return network(**tokens)["last_hidden_state"].numpy()

    first, folder = vectors(), tmp_path / "memgpt_rag" / "networks" / "key"
    made = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    np.testing.assert_array_equal(vectors(), first)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == made, "taken as it was"
    largest = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    whole = largest.read_bytes()
    changed = bytearray(whole)
    for place in range(len(changed) // 2, len(changed) // 2 + 100_000, 4):
        changed[place + 3] ^= 0x40  # an exponent
    for content in (bytes(changed), whole[:-1000]):
        largest.write_bytes(content)
        with pytest.warns(CacheWarning, match="key is not as it was made; it is made anew"):
            np.testing.assert_array_equal(vectors(), first)
    (tmp_path / "file").write_text("in place of a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(CacheWarning, match="cannot be used as a cache .*, and work goes on without it") as shown:
        for _ in range(2):
            np.testing.assert_array_equal(vectors(), first)
    assert len(shown) == 1
