"""Values of received memories: nothing is unpacked, and the rows are those that the manifest says."""

from __future__ import annotations

import pyarrow as pa
import pytest

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.storage.arrow_file import require_plain_batches
from memgpt_rag.memory.storage.values import StoredValues, ValuesWriter

SCHEMA = layout.values_schema({"year": "integer"})


def batch(rows: int, text: str = "x") -> pa.RecordBatch:
    texts = pa.array([text] * rows)
    numbers = pa.array([1] * rows, pa.int64())
    return pa.RecordBatch.from_arrays(
        [texts if pa.types.is_string(field.type) else numbers for field in SCHEMA], schema=SCHEMA
    )


def write(path, batches, **options):
    with (
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_file(file, SCHEMA, options=pa.ipc.IpcWriteOptions(**options)) as writer,
    ):
        for one in batches:
            writer.write_batch(one)
    return path


@pytest.mark.parametrize("sizes", [[], [1], [3, 1, 1024], [0, 2, 0]])
def test_plain_batches_are_read(sizes, tmp_path):
    path = write(tmp_path / "values", [batch(size) for size in sizes])
    require_plain_batches(path, sum(sizes))
    values = StoredValues.open(path, SCHEMA, sum(sizes))
    assert [passage.text for block in values.blocks(100) for passage in block] == ["x"] * sum(sizes)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_batches_are_refused_before_anything_is_unpacked(codec, tmp_path):
    path = write(tmp_path / "values", [batch(1, "0" * 2**24)], compression=codec)
    assert path.stat().st_size < 2**20
    before = pa.total_allocated_bytes()
    with pytest.raises(
        MemoryFormatError, match="not an Arrow file .compressed batches, which no memory has.; build the memory again"
    ):
        StoredValues.open(path, SCHEMA, 1)
    assert pa.total_allocated_bytes() == before


def test_more_batches_than_rows_can_fill_are_refused(tmp_path):
    path = write(tmp_path / "values", [batch(1), *[batch(0)] * 1024])
    assert StoredValues.open(path, SCHEMA, 1).passage(0).text == "x"
    write(path, [batch(1), *[batch(0)] * 1025])
    with pytest.raises(MemoryFormatError, match="1,026 batches for 1 rows"):
        StoredValues.open(path, SCHEMA, 1)


def test_rows_must_be_as_many_as_the_manifest_says(tmp_path):
    path = write(tmp_path / "values", [batch(2)])
    with pytest.raises(MemoryFormatError, match="holds 2 values; the manifest says 3"):
        StoredValues.open(path, SCHEMA, 3)


def test_dictionaries_and_damaged_tables_are_refused(tmp_path):
    schema = pa.schema([pa.field("id", pa.dictionary(pa.int32(), pa.string()))])
    path = tmp_path / "values"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([pa.array(["a"]).dictionary_encode()], schema=schema))
    with pytest.raises(MemoryFormatError, match="it has dictionaries, which no memory has"):
        require_plain_batches(path, 1)
    content = write(path, [batch(2)]).read_bytes()
    for size in (0, 6, 9, 12, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(MemoryFormatError, match="is not an Arrow file"):
            require_plain_batches(path, 2)
    for place in range(len(content) - 600, len(content)):  # the footer: no byte of it leads anywhere else
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x80]) + content[place + 1 :])
        try:
            require_plain_batches(path, 2)
        except MemoryFormatError as error:
            assert str(path) in str(error)


def test_what_the_writer_writes_is_plain(tmp_path):
    from hashing import passage

    writer = ValuesWriter(tmp_path / "values", layout.values_schema({}))
    for start in range(0, 50, 10):
        writer.add([passage(number) for number in range(start, start + 10)])
    writer.close()
    require_plain_batches(tmp_path / "values", 50)
