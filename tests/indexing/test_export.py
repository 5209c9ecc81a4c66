"""Entries that are exported are those of the memory."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from benches import build

from indexing.jobs.export_memory import export_memory
from memgpt_rag.errors import (
    SourceError,
)
from memgpt_rag.memory import Memory


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_what_is_exported_is_what_is_there(sources, tmp_path, kind):
    build(sources, tmp_path / "memory")
    memory, file = Memory.open(tmp_path / "memory"), tmp_path / f"out.{kind}"
    assert export_memory(memory, file, where="year < 1905", keys=True) == 5
    rows = (
        pq.read_table(file).to_pylist()
        if kind == "parquet"
        else [json.loads(line) for line in file.read_text().splitlines()]
    )
    wanted = memory.rows("year < 1905")
    assert [row["text"] for row in rows] == [passage.text for passage in memory.passages(wanted)]
    assert [row["year"] for row in rows] == [1900, 1901, 1902, 1903, 1904]
    np.testing.assert_allclose([row["key"] for row in rows], memory.keys(wanted), atol=1e-7)
    with pytest.raises(SourceError, match="is there already; name another file"):
        export_memory(memory, file)
    with pytest.raises(SourceError, match=r"is neither \.jsonl nor \.parquet"):
        export_memory(memory, tmp_path / "out.txt")
