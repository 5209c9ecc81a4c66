"""Entries that are deleted and compacted: the rest keep their keys, and every version can come back."""

from __future__ import annotations

import numpy as np
import pytest
from benches import build, entries, require_pairs
from hashing import HashEncoder, passage

from memgpt_rag.errors import (
    MemoryFormatError,
    MismatchError,
)
from memgpt_rag.memory import Memory, expire, roll_back
from memgpt_rag.memory.changes import compact, delete_entries, put_entries
from memgpt_rag.memory.storage import layout


def test_entries_are_deleted_and_come_back(sources, tmp_path):
    memory = tmp_path / "memory"
    build(sources, memory)
    opened = Memory.open(memory)
    rows = opened.rows('year < 1910 and lang == "zh"')
    assert [passage.record for passage in opened.passages(rows)] == ["r0", "r2", "r4", "r6", "r8"]
    delete_entries(memory, rows, opened.manifest)
    assert len(Memory.open(memory)) == 37
    require_pairs(memory)
    with pytest.raises(MemoryFormatError, match="has changed since the entries were chosen; choose them again"):
        delete_entries(memory, rows, opened.manifest)
    now = Memory.open(memory)
    with pytest.raises(MemoryFormatError, match="hold no entry; they may be deleted already"):
        delete_entries(memory, rows, now.manifest)
    with pytest.raises(MemoryFormatError, match=r"All 37 entries of .* would be deleted; remove the folder"):
        delete_entries(memory, now.rows(), now.manifest)
    assert build(sources, memory).embedded == 5, "what is deleted has no key any more"
    require_pairs(memory)
    assert roll_back(memory, 2).commit == 4
    assert entries(memory) == entries(memory, version=2)
    with pytest.raises(MemoryFormatError, match="has no version 9; it has 1, 2, 3, 4"):
        Memory.open(memory, version=9)
    with pytest.raises(MemoryFormatError, match="is at version 4 already; name an earlier one"):
        roll_back(memory, 4)


def test_compaction_leaves_the_entries_and_expiry_frees_the_rest(sources, tmp_path):
    memory = tmp_path / "memory"
    build(sources, memory)
    opened = Memory.open(memory)
    delete_entries(memory, opened.rows("year < 1920"), opened.manifest)
    (sources / "kite.md").write_text("# Kites\n\nChildren under twelve can borrow a kite.\n")
    build(sources, memory)
    before, held = entries(memory), Memory.open(memory)
    texts = held.passages(held.rows())
    assert len(compact(memory).segments) == 1
    assert entries(memory) == before
    assert Memory.open(memory).num_rows == len(before)
    require_pairs(memory)
    assert expire(memory, 1) == [1, 2, 3]
    assert len(list((memory / layout.SEGMENTS).iterdir())) == 1
    assert held.passages(held.rows()) == texts, "a reader keeps what it opened"
    require_pairs(memory)


def test_entries_are_replaced_by_their_ids_in_one_version(tmp_path):
    encoder, folder = HashEncoder(), tmp_path / "m"
    Memory.create(folder, [passage(1), passage(2), passage(3)], encoder)
    changed = passage(2, "Fact number two, as we know it now.")
    assert put_entries(folder, [changed, passage(3), passage(4)], encoder).job == {
        "name": "put",
        "added": 2,
        "replaced": 1,
    }
    memory = Memory.open(folder)
    found = memory.passages(memory.rows())
    assert found == [passage(1), passage(3), changed, passage(4)]
    np.testing.assert_allclose(memory.keys(), encoder.encode_passages([one.titled_text for one in found]), atol=1e-6)
    assert put_entries(folder, found, encoder) == memory.manifest, "what is there already is no new version"
    assert Memory.open(folder, version=1).passages([1]) == [passage(2)]


def test_keys_that_are_known_are_written_as_they_are(tmp_path):
    encoder, folder = HashEncoder(), tmp_path / "m"
    Memory.create(folder, [passage(1)], encoder)
    put = [passage(1), passage(2), passage(3)]
    keys = encoder.encode_passages([one.titled_text for one in put])
    calls = encoder.calls
    put_entries(folder, put, encoder, keys=keys)
    assert encoder.calls == calls
    memory = Memory.open(folder)
    assert memory.passages(memory.rows()) == put
    np.testing.assert_allclose(memory.keys(), keys, atol=1e-6)


def test_what_cannot_be_put_changes_nothing(tmp_path):
    folder = tmp_path / "m"
    before = Memory.create(folder, [passage(1)], HashEncoder()).manifest
    with pytest.raises(ValueError, match="1 ids are given more than once, such as 'doc#2'"):
        put_entries(folder, [passage(2), passage(2, "Other.")], HashEncoder())
    with pytest.raises(MismatchError, match="was embedded with 'hash' and is asked with 'other'"):
        put_entries(folder, [passage(2)], HashEncoder(name="other", salt=1))
    with pytest.raises(ValueError, match="Found 2 passages and 1 keys"):
        put_entries(folder, [passage(2), passage(3)], HashEncoder(), keys=np.eye(64, dtype=np.float32)[:1])
    assert Memory.open(folder).manifest == before


def test_a_version_without_entries_is_searched_and_filled_again(tmp_path):
    encoder, folder = HashEncoder(), tmp_path / "m"
    memory = Memory.create(folder, [passage(1), passage(2)], encoder)
    delete_entries(folder, memory.rows(), memory.manifest, may_empty=True)
    empty = Memory.open(folder)
    assert (len(empty), empty.num_rows, empty.search(encoder.encode_queries(["Fact"]), 3).passages) == (0, 0, [[]])
    put_entries(folder, [passage(3)], encoder)
    assert [len(found) for found in Memory.open(folder).search(encoder.encode_queries(["Fact"]), 3).passages] == [1]
