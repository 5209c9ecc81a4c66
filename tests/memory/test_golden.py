"""Memories that earlier versions wrote, kept as files: every later version must open them and find the same entries.

A folder here is never written anew. Each holds five entries under 16 numbers; from version 2 with states of 4 + row tokens.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bm25_oracle import bm25s_scores
from hashing import HashEncoder, passage
from PIL import Image

from indexing.jobs.verify_memory import verify_memory
from memgpt_rag.memory import Memory, SparseQueries, list_versions
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.storage.files import describe
from memgpt_rag.memory.storage.manifest import read_manifest
from memgpt_rag.state_codes import decode

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_memory_of_an_earlier_version_opens_and_pairs(version):
    encoder = HashEncoder(dimension=16)
    memory = Memory.open(GOLDEN / version, encoder=encoder.fingerprint)
    assert memory.passages(range(5)) == [passage(number) for number in range(5)]
    keys = encoder.encode_passages([passage(number).titled_text for number in range(5)])
    np.testing.assert_array_equal(memory.keys(), keys)
    scores = keys @ keys.T
    found = memory.search(keys, 5)
    np.testing.assert_allclose(np.take_along_axis(scores, found.rows, axis=1), found.scores, atol=1e-6)
    np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1), atol=1e-6)
    assert [[one.id for one in row] for row in found.passages] == [[f"doc#{n}" for n in row] for row in found.rows]


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "v4", "v5", "v6"])
def test_the_golden_files_are_as_their_manifest_says(version):
    for segment in read_manifest(GOLDEN / version).segments:
        for name, file in segment.files.items():
            assert describe(layout.segment_dir(GOLDEN / version, segment.name) / name) == file


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_deletions_metadata_and_history_are_read(version):
    encoder = HashEncoder(dimension=16)
    memory = Memory.open(GOLDEN / version, encoder=encoder.fingerprint)
    numbers = [0, 2, 3, 4, 5]
    assert memory.rows().tolist() == numbers
    expected = [
        replace(passage(number), metadata={"year": 2000 + number} | ({"lang": "zh"} if number % 2 else {}))
        for number in numbers
    ]
    assert memory.passages(numbers) == expected
    keys = encoder.encode_passages([one.titled_text for one in expected])
    np.testing.assert_array_equal(memory.keys(), keys)
    assert memory.search(keys, 1).rows[:, 0].tolist() == numbers
    assert memory.search(keys[:1], 9, where='lang == "zh" and year < 2005').rows.tolist() == [[3]]
    for row in (0, 2, 3):
        states = np.random.default_rng(row).normal(size=(4 + row, 2, 2, 1, 8))
        np.testing.assert_allclose(decode(*memory.states(row)), states, atol=0.02)
    assert memory.states(4) is None, "it came after the states"
    earliest = min(one.commit for one in list_versions(GOLDEN / version))
    assert Memory.open(GOLDEN / version, version=earliest).rows().tolist() == [0, 1, 2, 3]


def test_words_an_index_and_a_precision_of_version_4_are_read():
    memory = Memory.open(GOLDEN / "v4")
    found = memory.candidates(None, ["the fact of number 4"], 9)[0]
    texts = [one.titled_text for one in memory.passages(memory.rows())]
    first = memory.manifest.words
    assert first == "english-snowball+han-1-2-grams-1"
    scores = bm25s_scores(texts, "the fact of number 4", first)
    assert len(texts) == len(found.rows) == 5
    np.testing.assert_allclose(sorted(found.bm25_scores), sorted(scores), rtol=1e-5)
    assert memory.segments[0].index is not None and memory.segments[1].index is None
    assert (memory.manifest.encoder.backend, memory.manifest.encoder.precision) == ("openvino", "int8")
    assert Memory.open(GOLDEN / "v3").manifest.encoder.precision == "fp32", "which it does not say"
    assert verify_memory(GOLDEN / "v4") == []


def test_pictures_of_version_5_are_read():
    """A text, two pictures of which one is deleted, and one more, 3 × 2 pixels each; the keys are of the words."""
    encoder = HashEncoder(dimension=16)
    memory = Memory.open(GOLDEN / "v5", encoder=encoder.fingerprint)
    assert memory.passages(memory.rows()) == [passage(number) for number in (0, 1, 3)]
    none, first, second = memory.pictures(memory.rows())
    seen = [Image.open(io.BytesIO(picture)) for picture in (first, second)]
    assert none is None and [(one.size, one.getpixel((0, 0))) for one in seen] == [
        ((3, 2), (255, 0, 0)),
        ((3, 2), (0, 0, 255)),
    ]
    keys = encoder.encode_passages([passage(number).titled_text for number in (0, 1, 3)])
    np.testing.assert_array_equal(memory.keys(), keys)
    assert Memory.open(GOLDEN / "v5", version=1).manifest.to_json()["version"] == 4, "it had no picture yet"
    assert verify_memory(GOLDEN / "v5") == []


def test_sparse_vectors_of_version_6_are_read():
    """Of four entries, of which one is deleted; the fifth came later."""
    memory = Memory.open(GOLDEN / "v6")
    assert memory.rows().tolist() == [0, 1, 3, 4]
    shown = [memory.sparse_vector(row) for row in memory.rows()]
    assert shown == [{}, {"3": 0.5, "11": 1.25}, {"3": 1.5, "13": 1.25}, None]
    sparse, before = memory.manifest.sparse, Memory.open(GOLDEN / "v6", version=3)
    (found,) = before.candidates(None, None, 9, sparse=SparseQueries(sparse, [{"3": 2.0, "12": 1.0}]))
    assert dict(zip(found.rows.tolist(), found.sparse_scores.tolist(), strict=True)) == {1: 1.0, 2: 3.25, 3: 3.0}
    assert (sparse.dimension, sparse.score_scale, sparse.query_probe) == (100, 2.5, {"3": 1.0, "7": 0.5})
    assert Memory.open(GOLDEN / "v6", version=2).manifest.to_json()["version"] == 4, "it had no sparse vectors yet"
    assert verify_memory(GOLDEN / "v6") == []


def test_states_of_version_2_are_read():
    memory = Memory.open(GOLDEN / "v2")
    assert memory.manifest.states.layers == (0, 2)
    for row in range(5):
        states = np.random.default_rng(row).normal(size=(4 + row, 2, 2, 1, 8))
        np.testing.assert_allclose(decode(*memory.states(row)), states, atol=0.02)
    assert Memory.open(GOLDEN / "v1").states(0) is None


def test_this_version_has_a_golden_folder():
    assert (GOLDEN / f"v{layout.VERSION}").is_dir()
