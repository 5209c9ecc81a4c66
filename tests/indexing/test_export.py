"""Entries that are exported are those of the memory."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benches import build
from hashing import HashEncoder
from imported import bring

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
    with pytest.raises(
        SourceError,
        match=r"ends in none of the suffixes of an export; .* \.jsonl, \.parquet, \.lance, \.dataset, \.faiss\.",
    ):
        export_memory(memory, tmp_path / "out.txt")


def test_a_faiss_index_and_its_arrow_file_have_the_same_rows(sources, tmp_path):
    import faiss

    build(sources, tmp_path / "memory")
    memory, file = Memory.open(tmp_path / "memory"), tmp_path / "out.faiss"
    assert export_memory(memory, file, where="year < 1905") == 5
    wanted = memory.rows("year < 1905")
    rows = pa.ipc.open_file(file.with_suffix(".arrow")).read_all().to_pylist()
    assert [row["text"] for row in rows] == [passage.text for passage in memory.passages(wanted)]
    index = faiss.read_index(str(file))
    np.testing.assert_array_equal(index.reconstruct_n(0, 5), memory.keys(wanted))
    queries = memory.keys(wanted[:2])
    scores, found = index.search(queries, 3)
    exact = memory.search(queries, 3, where="year < 1905")
    np.testing.assert_array_equal(wanted[found], exact.rows)
    np.testing.assert_allclose(scores, exact.scores, atol=1e-6)
    file.unlink()
    with pytest.raises(SourceError, match=r"out\.arrow is there already; name another file"):
        export_memory(memory, file)


def test_a_table_of_lancedb_holds_the_entries_and_is_searched_alike(sources, tmp_path):
    lancedb = pytest.importorskip("lancedb", reason="lancedb is not installed; see CONTRIBUTING.md")
    build(sources, tmp_path / "memory")
    memory, file = Memory.open(tmp_path / "memory"), tmp_path / "benches.lance"
    assert export_memory(memory, file) == len(memory)
    opened = lancedb.connect(str(tmp_path)).open_table("benches")
    found = opened.search(memory.keys([7])[0]).distance_type("cosine").limit(5).to_list()
    exact = memory.search(memory.keys([7]), 5)
    np.testing.assert_allclose([1 - row["_distance"] for row in found], exact.scores[0], atol=1e-6)
    assert found[0]["id"] == memory.passages([7])[0].id
    rows = opened.to_arrow().to_pylist()
    assert [row["text"] for row in rows] == [passage.text for passage in memory.passages(memory.rows())]
    np.testing.assert_array_equal([row["vector"] for row in rows], memory.keys())


@pytest.mark.parametrize("kind", ["parquet", "lancedb"])
def test_what_was_exported_can_be_imported_with_its_keys(sources, tmp_path, kind):
    if kind == "lancedb":
        pytest.importorskip("lancedb", reason="lancedb is not installed; see CONTRIBUTING.md")
    build(sources, tmp_path / "memory")
    memory, file = Memory.open(tmp_path / "memory"), tmp_path / ("out.parquet" if kind == "parquet" else "out.lance")
    export_memory(memory, file, keys=True)
    titled = bring(kind, file, tmp_path / "again", HashEncoder(256), title="title")
    assert titled.embedded == 0
    again = Memory.open(tmp_path / "again")
    np.testing.assert_allclose(again.keys(), memory.keys(), atol=1e-6)
    assert [one.titled_text for one in again.passages(again.rows())] == [
        one.titled_text for one in memory.passages(memory.rows())
    ]


def test_an_export_that_fails_leaves_nothing(sources, tmp_path, monkeypatch):
    build(sources, tmp_path / "memory")
    memory = Memory.open(tmp_path / "memory")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("indexing.jobs.export_memory.write_flat_index", full)
    with pytest.raises(OSError, match="No space left"):
        export_memory(memory, tmp_path / "out.faiss")
    assert not list(tmp_path.glob("out.*"))
