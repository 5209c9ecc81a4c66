"""Search by sparse vectors: dot products over what a memory holds now, whatever its history, equal to brute force."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hashing import HashEncoder, LetterEncoder, passage

from indexing.jobs.verify_memory import verify_memory
from memgpt_rag.errors import MemoryFormatError, MismatchError
from memgpt_rag.memory import Memory, MemoryWriter, Shards, SparseQueries, add_sparse_vectors, roll_back
from memgpt_rag.memory.changes import compact, delete_entries
from memgpt_rag.memory.lexical.postings import WEIGHTS, InvertedIndex, write_sparse_index
from memgpt_rag.memory.storage import layout

ENCODER = HashEncoder()
TEXTS = ["ferry to the island", "boats for rent", "", "the island has a lighthouse", "a ferry, a ferry", "kites"]
LATER = ["the boats of the island", "nothing of all that"]
QUERIES = [{"102": 0.5, "105": 2.0}, {"97": 1.5}, {"9": 1.0}, {}]
LETTERS = LetterEncoder(0.37)
SPARSE = LETTERS.fingerprint


def vector(text):
    return LETTERS.encode_passages([text])[0]


def vectors(passages):
    return LETTERS.encode_passages([one.titled_text for one in passages])


def write(folder, texts, *, first=0):
    with MemoryWriter(folder) as writer:
        writer.add_values([replace(passage(number, text), title="") for number, text in enumerate(texts, first)])
        for block in writer.value_blocks(3):
            writer.add_keys(ENCODER.encode_passages([one.titled_text for one in block]))
        writer.commit(ENCODER.fingerprint, splitting={"tokenizer": "hash", "max_tokens": 160}, job={"name": "build"})
    return Memory.open(folder)


def add(folder):
    add_sparse_vectors(Memory.open(folder), SPARSE, vectors)
    return Memory.open(folder)


@pytest.fixture
def memory(tmp_path):
    """Two segments with sparse vectors, of which the first lost a row before and both lose one afterwards."""
    folder = tmp_path / "memory"
    delete_entries(folder, np.array([1]), write(folder, TEXTS).manifest)
    add(folder)
    write(folder, LATER, first=len(TEXTS))
    opened = add(folder)
    delete_entries(folder, np.array([4, 7]), opened.manifest)
    return Memory.open(folder)


def oracle(memory, query):
    """The dot product of every row, 0 for deleted ones."""
    scores = np.zeros(memory.num_rows)
    for row in memory.rows().tolist():
        shown = vector(memory.passages([row])[0].titled_text)
        scores[row] = sum(weight * shown.get(component, 0) for component, weight in query.items())
    return scores


def candidates(memory, k, encoder=SPARSE, **settings):
    return memory.candidates(None, None, k, sparse=SparseQueries(encoder, QUERIES), **settings)


def assert_equals_brute_force(memory):
    for query, found in zip(QUERIES, candidates(memory, 20), strict=True):
        expected = oracle(memory, query)
        assert found.rows.tolist() == np.flatnonzero(expected).tolist()
        np.testing.assert_allclose(found.sparse_scores, expected[found.rows], rtol=1e-5)


def test_scores_equal_brute_force_over_the_entries_that_are_left(memory):
    assert memory.rows().tolist() == [0, 2, 3, 5, 6]
    assert [len(found.rows) for found in candidates(memory, 20)] == [5, 4, 0, 0]
    assert_equals_brute_force(memory)
    assert verify_memory(memory.path) == []


def test_compacting_keeps_every_vector(memory):
    compact(memory.path)
    compacted = Memory.open(memory.path)
    assert len(compacted.segments) == 1 and compacted.manifest.sparse == SPARSE
    for row, one in enumerate(compacted.passages(compacted.rows())):
        assert compacted.sparse_vector(row) == pytest.approx(vector(one.titled_text))
    assert_equals_brute_force(compacted)
    assert verify_memory(memory.path) == []


@pytest.mark.parametrize("k", [1, 2])
def test_the_best_k_of_each_search_are_proposed(memory, k):
    keys = ENCODER.encode_queries(["the island"] * len(QUERIES))
    near = set(memory.search(keys[:1], k).rows[0].tolist())
    found = memory.candidates(keys, None, k, sparse=SparseQueries(SPARSE, QUERIES))
    for query, proposed in zip(QUERIES, found, strict=True):
        scores = oracle(memory, query)
        best = {row for row in np.argsort(-scores, kind="stable")[:k].tolist() if scores[row] > 0}
        assert set(proposed.rows.tolist()) == near | best
        np.testing.assert_allclose(proposed.scores, memory.keys(proposed.rows) @ keys[0], atol=1e-6)
    for proposed in candidates(memory, 9, where="first >= 3 and first < 6"):
        assert set(proposed.rows.tolist()) <= {3, 5}


def test_shards_find_what_one_memory_finds(tmp_path):
    write(tmp_path / "whole", TEXTS)
    write(tmp_path / "a", TEXTS[:3])
    write(tmp_path / "b", TEXTS[3:], first=3)
    whole, *parts = (add(tmp_path / name) for name in ("whole", "a", "b"))
    for k in (1, 3, 9):
        for one, other in zip(candidates(whole, k), candidates(Shards(parts), k), strict=True):
            for item in (one, other):
                assert (np.diff(item.rows) > 0).all()
            best, found = ({**dict(zip(item.rows.tolist(), item.sparse_scores, strict=True))} for item in (one, other))
            assert best.items() <= found.items(), "the best of each shard are among them"
            assert sorted(found, key=lambda row: -found[row])[: len(best)] == sorted(best, key=lambda row: -best[row])


def test_what_has_no_sparse_vectors_is_refused_with_the_command_that_adds_them(memory, tmp_path):
    write(memory.path, ["one more"], first=8)
    with pytest.raises(
        MemoryFormatError, match=r"1 entry of \S+ came after its sparse vectors and cannot be found by them; add"
    ):
        candidates(Memory.open(memory.path), 3)
    assert_equals_brute_force(add(memory.path))
    bare = write(tmp_path / "bare", TEXTS)
    with pytest.raises(MemoryFormatError, match="no sparse vectors; add them with: memgpt-index sparse .* letters"):
        candidates(bare, 3)
    with pytest.raises(MemoryFormatError, match="no sparse vectors"):
        candidates(Shards([Memory.open(memory.path), bare]), 3)
    with pytest.raises(MemoryFormatError, match="sparse vectors of 'letters', and no sparse encoder was named"):
        candidates(Memory.open(memory.path), 3, encoder=None)


def test_vectors_of_another_sparse_encoder_never_meet(memory):
    with pytest.raises(MismatchError, match="searched with 'other': dimension 1114112 against 30522"):
        candidates(memory, 3, replace(SPARSE, name="other", dimension=30522))
    with pytest.raises(MismatchError, match="the same text gives other weights .they differ by 200%"):
        candidates(
            memory, 3, replace(SPARSE, query_probe={name: -weight for name, weight in SPARSE.query_probe.items()})
        )
    assert candidates(memory, 3, replace(SPARSE, name="moved", passage_probe={**SPARSE.passage_probe, "97": 0.371}))
    other = replace(SPARSE, passage_probe={"7": 0.5})
    add_sparse_vectors(memory, other, lambda passages: [{"7": 2.0}] * len(passages))
    again = Memory.open(memory.path)
    assert again.manifest.sparse == other and again.sparse_vector(6) == {"7": 2.0}


def test_only_what_is_missing_is_computed(memory):
    asked = []

    def counting(passages):
        asked.extend(passages)
        return vectors(passages)

    assert add_sparse_vectors(memory, SPARSE, counting) == memory.manifest and not asked
    write(memory.path, ["one more"], first=8)
    add_sparse_vectors(Memory.open(memory.path), SPARSE, counting)
    assert [one.text for one in asked] == ["one more"]


def test_a_damaged_file_is_refused_and_made_again(memory):
    segment = memory.segments[0]
    path = segment.folder / segment.described.file("sparse")
    path.write_bytes(path.read_bytes()[:-1] + b"~")
    with pytest.raises(MemoryFormatError, match="not the file that was committed .* memgpt-index sparse"):
        candidates(Memory.open(memory.path), 3)
    assert_equals_brute_force(add(memory.path))


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    write_sparse_index(tmp_path / "index", [[{"1": 0.5}, {"1": math.nan}]])
    with pytest.raises(MemoryFormatError, match="index does not hold the weights of 2 entries"):
        InvertedIndex.open(tmp_path / "index", 2, WEIGHTS)
    with pytest.raises(MemoryFormatError, match="index does not hold the counts of 2 entries"):
        InvertedIndex.open(tmp_path / "index", 2)


def test_no_version_loses_its_vectors_to_a_later_one(memory):
    """After a rollback, other digits of the same encoder go into a file of another name."""
    before = memory.manifest.commit
    roll_back(memory.path, 2)
    add_sparse_vectors(
        Memory.open(memory.path), SPARSE, lambda passages: [{"97": 1.0 + 1e-6 * one.first} for one in passages]
    )
    assert_equals_brute_force(Memory.open(memory.path, version=before))
    assert verify_memory(memory.path) == []


def test_compacting_a_memory_with_missing_vectors_drops_the_others(memory):
    write(memory.path, ["one more"], first=8)
    compact(memory.path)
    compacted = Memory.open(memory.path)
    assert compacted.manifest.sparse is None and compacted.sparse_vector(0) is None
    assert_equals_brute_force(add(memory.path))


def test_a_memory_that_was_emptied_is_compacted(memory):
    delete_entries(memory.path, memory.rows(), memory.manifest, may_empty=True)
    compact(memory.path)
    write(memory.path, TEXTS)
    assert_equals_brute_force(add(memory.path))


def test_only_a_memory_with_sparse_vectors_asks_for_this_release(memory, tmp_path):
    assert memory.manifest.to_json()["version"] == layout.VERSION == 6
    assert write(tmp_path / "bare", TEXTS).manifest.to_json()["version"] == 4
    path = memory.path / layout.MANIFEST
    manifest = path.read_text()
    path.write_text(manifest.replace('"score_scale": 1.5', '"score_scale": 0.0'))
    with pytest.raises(
        MemoryFormatError, match="sparse encoder has missing, unknown or impossible fields: score_scale"
    ):
        Memory.open(memory.path)
    path.write_text(manifest.replace('"97": 0.37', '"a": 0.37', 1))
    with pytest.raises(MemoryFormatError, match="impossible fields: query_probe"):
        Memory.open(memory.path)
