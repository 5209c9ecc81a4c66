"""Several memories searched as one find what one memory with all their entries finds."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hashing import HashEncoder, passage

from memgpt_rag.errors import ClusterError, MemoryFormatError, MismatchError
from memgpt_rag.fingerprint import StatesFingerprint
from memgpt_rag.memory import Memory, MemoryWriter, Shards, add_lexical_index, add_states
from memgpt_rag.memory.ray_shards import RayShard, cluster, ray_shards
from memgpt_rag.state_codes import decode, encode

ENCODER = HashEncoder(dimension=64)
STATES = StatesFingerprint("tiny", (0,), 1, 4, "int8", (1,), (5, 6), "ADwAPA==")
PARTS = [range(40), range(40, 43), range(43, 90)]


def write(folder: Path, numbers, encoder: HashEncoder = ENCODER, gone=(), **settings) -> Path:
    with MemoryWriter(folder, metadata={"year": "integer"}, **settings) as writer:
        writer.add_values([replace(passage(number), metadata={"year": 1900 + number % 7}) for number in numbers])
        for block in writer.value_blocks(9):
            writer.add_keys(encoder.encode_passages([one.titled_text for one in block]))
        writer.delete(list(gone))
        writer.commit(encoder.fingerprint, splitting={"tokenizer": "hash", "max_tokens": 9}, job={"name": "test"})
    return folder


@pytest.fixture
def parts(tmp_path) -> list[Path]:
    parts = [write(tmp_path / f"part{number}", numbers) for number, numbers in enumerate(PARTS)]
    for part in parts:
        add_lexical_index(Memory.open(part))
    return parts


@pytest.fixture
def whole(tmp_path) -> Memory:
    folder = write(tmp_path / "whole", range(90))
    add_lexical_index(Memory.open(folder))
    return Memory.open(folder)


QUESTIONS = [f"Fact number {number}." for number in (3, 41, 77, 12)]


def require_same(shards: Shards, whole: Memory) -> None:
    queries = ENCODER.encode_queries(QUESTIONS)
    for k, where in [(1, None), (5, None), (7, "year == 1903"), (500, None), (9, "year < 1900")]:
        found, expected = shards.search(queries, k, where=where), whole.search(queries, k, where=where)
        # Which of two that are equally near comes first is a matter of the last bit.
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(queries @ whole.keys().T, found.rows, 1), found.scores, atol=1e-6)
        assert all(len(set(rows)) == len(rows) for rows in found.rows.tolist())
        assert found.passages == [whole.passages(rows) for rows in found.rows]
    proposed = [item.candidates(queries, QUESTIONS, 4, where="year < 1905") for item in (shards, whole)]
    for found, expected in zip(*proposed, strict=True):
        assert len(found.rows) >= 4
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_allclose(found.bm25_scores, expected.bm25_scores, rtol=1e-6)
    assert (len(shards), shards.num_rows) == (len(whole), whole.num_rows)
    np.testing.assert_array_equal(shards.rows("year == 1903"), whole.rows("year == 1903"))
    rows = [89, 0, 40, 39, 42, 43, 0]
    assert shards.passages(rows) == whole.passages(rows)
    np.testing.assert_array_equal(shards.keys(rows), whole.keys(rows))


def test_shards_find_what_one_memory_finds(parts, whole):
    shards = Shards([Memory.open(part) for part in parts])
    require_same(shards, whole)
    with pytest.raises(IndexError, match="Row 90 was asked for; these memories have rows 0 to 89"):
        shards.passages([90])


def test_shards_of_different_kinds_are_refused(parts, tmp_path):
    other = write(tmp_path / "other", range(3), HashEncoder(dimension=64, name="other", salt=5))
    with pytest.raises(MismatchError, match="the same text gives other vectors"):
        Shards([Memory.open(parts[0]), Memory.open(other)])
    euclidean = write(tmp_path / "euclidean", range(3), metric="euclidean")
    with pytest.raises(MismatchError, match="One memory measures cosine and another one euclidean"):
        Shards([Memory.open(parts[0]), Memory.open(euclidean)])
    with pytest.raises(ValueError, match="There are no memories to search"):
        Shards([])


def test_shards_have_the_states_that_all_of_them_have(parts):
    def states(folder: Path) -> None:
        memory = Memory.open(folder)

        def codes(rows):
            numbers = [float(one.first) + 1 for one in memory.passages(rows)]
            return [encode(np.full((1, 1, 2, 1, 4), number), "int8") for number in numbers]

        add_states(memory, STATES, lambda rows: [1] * len(rows), codes)

    for part in parts[:2]:
        states(part)
    shards = Shards([Memory.open(part) for part in parts])
    assert shards.manifest.states is None
    assert shards.states(60) is None
    states(parts[2])
    shards = Shards([Memory.open(part) for part in parts])
    assert shards.manifest.states == STATES
    for row in (0, 39, 40, 89):
        np.testing.assert_allclose(decode(*shards.states(row)), row + 1.0, rtol=0.01)


@pytest.mark.slow
def test_shards_with_actors_find_the_same(parts, whole, tmp_path):
    pytest.importorskip("ray")
    with cluster():
        shards = ray_shards(parts)
        require_same(shards, whole)
        assert shards.states(0) is None
        with pytest.raises(ClusterError, match="k is 0; expected 1 or more"):
            shards.search(ENCODER.encode_queries(["a"]), 0)
        with pytest.raises(ClusterError, match="gone does not exist; build a memory there"):
            RayShard(tmp_path / "gone")
        import ray

        ray.kill(shards.shards[1]._actor)
        with pytest.raises(ClusterError, match="A shard's actor was lost: The actor .*; open the shards again"):
            for _ in range(300):  # on a busy machine it takes Ray a while
                shards.passages([41])
                time.sleep(0.1)
    with (
        pytest.raises(ClusterError, match="No Ray cluster at 127.0.0.1:9 .*refused.*ray start --head"),
        cluster("127.0.0.1:9"),
    ):
        pass
    with pytest.raises(MemoryFormatError, match="gone does not exist"):
        Memory.open(tmp_path / "gone")
