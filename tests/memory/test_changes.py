"""Entries that are deleted and compacted: the rest keep their keys, and every version can come back."""

from __future__ import annotations

import pytest
from benches import build, entries, require_pairs

from memgpt_rag.errors import (
    MemoryFormatError,
)
from memgpt_rag.memory import Memory, expire, roll_back
from memgpt_rag.memory.changes import compact, delete_entries
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
