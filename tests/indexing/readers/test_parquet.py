"""Parquet: columns, cells that cannot be converted, and memory."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from record_files import contradict, items, pq_file, texts

from indexing.job_log import Reject
from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.records.parquet import batch_rows
from memgpt_rag.errors import SourceError


def test_two_columns_of_parquet_with_one_name_are_an_error(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array([None], pa.string())], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"^a.parquet: several columns are called 'text'; rename them"):
        items(tmp_path / "a.parquet")


def test_a_description_of_a_column_that_contradicts_the_schema_is_a_sentence(tmp_path):
    """pyarrow ends the process that asks for the sizes of such a column (found by fuzzing, 11004160)."""
    contradict(pq_file(tmp_path / "a.parquet", {"text": ["Open."], "at": [1]}))
    with pytest.raises(
        SourceError, match=r"^a.parquet cannot be read as Parquet: Definition level histogram size mismatch"
    ):
        items(tmp_path / "a.parquet", metadata={"at": "integer"})


def test_rows_of_a_file_that_does_not_tell_their_size_are_few_at_once():
    group = SimpleNamespace(num_rows=5000, total_byte_size=0)
    metadata = SimpleNamespace(num_row_groups=1, row_group=lambda number: group)
    file = SimpleNamespace(schema_arrow=pa.schema([("text", pa.string())]), metadata=metadata)
    assert batch_rows(file, ["text"]) == 16
    group.total_byte_size = 5000 * 2**17
    assert batch_rows(file, ["text"]) == 2**24 // 2**17
    group.total_byte_size = 5000 * 2**30
    assert batch_rows(file, ["text"]) == 1


def test_columns_that_are_not_needed_are_not_converted(tmp_path):
    columns = {
        "text": ["Open."],
        "far": pa.array([2**60], pa.timestamp("us")),
        "zone": pa.array([0], pa.timestamp("us", "Mars/Olympus")),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert texts(items(tmp_path / "a.parquet")) == [("row-1", "", "Open.")]


def test_a_cell_that_cannot_be_converted_is_reported_with_its_row(tmp_path):
    columns = {"text": ["Open.", "Shut."], "day": pa.array([datetime(2024, 5, 1), None], pa.timestamp("us"))}
    table = pa.table(columns)
    far = pa.array([None, 2**60], pa.timestamp("us"))
    pq.write_table(pa.concat_tables([table, table.set_column(1, "day", far)]), tmp_path / "a.parquet")
    rejects: list[Reject] = []
    documents = items(tmp_path / "a.parquet", on_reject=rejects.append, metadata={"day": "date"})
    assert [(one.record, str(one.metadata.get("day"))) for one in documents] == [
        ("row-1", "2024-05-01"),
        ("row-2", "None"),
        ("row-3", "None"),
    ]
    assert [one.position for one in rejects] == ["row 4"]
    assert rejects[0].reason.startswith("its day cannot be converted (")


def test_invalid_utf8_in_parquet_is_reported_with_its_row(tmp_path):
    buffer = pa.array([b"fine", b"caf\xe9"], pa.binary())
    broken = pa.StringArray.from_buffers(2, buffer.buffers()[1], buffer.buffers()[2])
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    with pytest.raises(
        SourceError, match=r"a.parquet, row 2: its text cannot be converted \('utf-8' codec can't decode"
    ):
        items(tmp_path / "a.parquet")


def test_lists_of_texts_in_parquet_are_paragraphs_and_other_types_are_named(tmp_path):
    pq.write_table(pa.table({"text": [["One.", "Two."]]}), tmp_path / "a.parquet")
    assert texts(items(tmp_path / "a.parquet")) == [("row-1", "", "One.\nTwo.")]
    for values, kind in (([{"a": "x"}], "object"), ([b"x"], "binary data"), ([3], "number"), ([[{"a": 1}]], "object")):
        pq.write_table(pa.table({"text": values}), tmp_path / "a.parquet")
        with pytest.raises(
            SourceError, match=f"a.parquet, row 1: its text is {kind}, expected text or a list of texts"
        ):
            items(tmp_path / "a.parquet")


def test_a_value_of_many_rows_is_in_memory_once(tmp_path):
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 120, pa.int32()), pa.array(["x" * 2**20]))
    pq.write_table(pa.table({"text": values.cast(pa.string())}), tmp_path / "a.parquet", use_dictionary=True)
    before = pa.total_allocated_bytes()
    peak = 0
    for number, document in enumerate(read_path(tmp_path / "a.parquet", "a.parquet", ReadOptions()), 1):
        peak = max(peak, pa.total_allocated_bytes() - before)
        assert document.blocks[0].last == number
    assert number == 120
    assert peak < 40 * 2**20
