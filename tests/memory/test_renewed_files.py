"""Files that are made again after damage, files of versions that are gone, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
from hashing import passage
from mutations import ENCODER, STATES, make_memory

from indexing.jobs.verify_memory import verify_memory
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory import Memory, add_states, expire, roll_back
from memgpt_rag.memory.changes import compact, delete_entries, put_entries
from memgpt_rag.memory.storage import layout
from memgpt_rag.state_codes import encode


@pytest.fixture
def memory(tmp_path):
    return make_memory(tmp_path / "memory", "IVF2,Flat")


def codes(row):
    return encode(np.random.default_rng(row).normal(size=(2, 1, 2, 1, 4)), "int8")


def states(memory):
    return add_states(
        Memory.open(memory), STATES, lambda rows: [2] * len(rows), lambda rows: (codes(row) for row in rows)
    )


def damage(memory, kind):
    """Change the last byte of a segment's file; returns its path."""
    segment = Memory.open(memory).segments[0]
    path = segment.folder / segment.described.file(kind)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return path


def require_states(memory):
    """The states of the first segment are those that were computed last; the second one has kept its own."""
    opened = Memory.open(memory)
    for row in opened.rows()[: -len(opened.segments[1])].tolist():
        for found, expected in zip(opened.states(row), codes(row), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_damaged_states_are_computed_again(memory):
    path = damage(memory, "states")
    assert verify_memory(memory) == [f"{path} is not as it was committed: its digest differs."]
    expire(memory, 1)
    states(memory)
    expire(memory, 1)
    assert verify_memory(memory) == []
    assert states(memory).commit > 1 and verify_memory(memory) == [], "intact ones are kept"


def test_a_file_of_an_earlier_version_is_taken_only_if_it_is_intact(memory):
    last = Memory.open(memory).manifest.commit
    without = max(
        one for one in layout.commits(memory) if one < last and not Memory.open(memory, version=one).manifest.states
    )
    roll_back(memory, without)
    states(memory)
    files = [Memory.open(memory, version=one).segments[0].described.files for one in (None, last)]
    name = next(name for name in files[0] if name.startswith("states"))
    assert files[0][name] == files[1][name], "it is the same file"
    damage(memory, "states")
    roll_back(memory, without)
    states(memory)
    require_states(memory)


def test_a_damaged_bitmap_of_an_earlier_version_is_not_taken_over(memory):
    opened = Memory.open(memory)
    before, gone = opened.manifest.commit, opened.rows()[:2]
    delete_entries(memory, gone, opened.manifest)
    path = damage(memory, "deleted")
    roll_back(memory, before)
    delete_entries(memory, gone, Memory.open(memory).manifest)
    assert not set(Memory.open(memory).rows()) & set(gone) and verify_memory(memory) == []
    assert path.exists()


def test_a_memory_with_states_that_was_emptied_is_compacted(memory):
    opened = Memory.open(memory)
    delete_entries(memory, opened.rows(), opened.manifest, may_empty=True)
    compact(memory)
    put_entries(memory, [passage(3)], ENCODER)
    assert len(Memory.open(memory)) == 1 and verify_memory(memory) == []


def test_a_reader_whose_version_is_gone_says_so_where_it_cannot_go_on(memory):
    held, asked = Memory.open(memory), ENCODER.encode_queries(["Fact number 3."])
    expected = held.search(asked, 2, exact=True).passages
    put_entries(memory, [passage(50)], ENCODER)
    compact(memory)
    expire(memory, 1)
    assert held.search(asked, 2, exact=True).passages == expected
    with pytest.raises(MemoryFormatError, match=r"is gone: a job has removed the version .*; open the memory again\.$"):
        held.search(asked, 2)
    assert Memory.open(memory).search(asked, 2).passages
