"""Checks the footer and batch headers of an Arrow file before Arrow reads it, so that opening one allocates nothing.

Batches of a memory are mapped, not read. A compressed batch would be decompressed at once, to any size that its sender chose;
a file of countless empty batches would slow every search down. Both are visible in the file's footer and in the header of each
batch, small FlatBuffers tables (Arrow columnar format, "IPC File Format", with Message.fbs and File.fbs). Arrow itself checks
that columns lie inside their batch.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory.storage.files import reading

_MAGIC = b"ARROW1"
_CONTINUES = 0xFFFFFFFF
_BLOCK = struct.Struct("<qi4xq")  # where a batch begins, bytes of its head, bytes of its body
# Numbers of fields in Footer, Message and RecordBatch.
_DICTIONARIES, _BATCHES = 2, 3
_HEADER_TYPE, _HEADER = 1, 2
_ROWS, _COMPRESSION, _VARIADIC = 0, 3, 4
_RECORD_BATCH = 3
_SPARE_BATCHES = 1024

_u8, _u16 = struct.Struct("<B").unpack_from, struct.Struct("<H").unpack_from
_u32, _i32, _i64 = struct.Struct("<I").unpack_from, struct.Struct("<i").unpack_from, struct.Struct("<q").unpack_from


def require_plain_batches(path: Path, rows: int) -> None:
    """Check that a file holds `rows` rows in batches that can be mapped as they are.

    Raises:
        MemoryFormatError: it is no Arrow file; its batches are compressed, dictionary-encoded, outside the file or too many
            for its rows; or it has another number of rows.
    """
    try:
        with reading(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _rows(data, rows)
    except (struct.error, ValueError, OverflowError) as error:
        raise MemoryFormatError(f"{path} is not an Arrow file ({error}); build the memory again.") from error
    if found != rows:
        raise MemoryFormatError(f"{path} holds {found} values; the manifest says {rows}; build the memory again.")


def _rows(data: mmap.mmap, expected: int) -> int:
    size = len(data)
    if size < 10 or data[-6:] != _MAGIC:
        raise ValueError("it does not end as one")
    (length,) = _i32(data, size - 10)
    start = size - 10 - length
    if length <= 0 or start < 0:
        raise ValueError(f"a footer of {length} bytes")
    footer = start + _u32(data, start)[0]
    if _vector(data, footer, _DICTIONARIES)[1]:
        raise ValueError("it has dictionaries, which no memory has")
    place, count = _vector(data, footer, _BATCHES)
    if count > expected + _SPARE_BATCHES:
        raise ValueError(f"{count:,} batches for {expected:,} rows")
    return sum(_batch_rows(data, *block) for block in _BLOCK.iter_unpack(data[place : place + count * _BLOCK.size]))


def _batch_rows(data: mmap.mmap, begin: int, head: int, body: int) -> int:
    if begin < 0 or head < 8 or body < 0 or begin + head + body > len(data):
        raise ValueError("a batch outside the file")
    start = begin + (8 if _u32(data, begin)[0] == _CONTINUES else 4)
    message = start + _u32(data, start)[0]
    kind, header = _field(data, message, _HEADER_TYPE), _field(data, message, _HEADER)
    if not kind or not header or _u8(data, kind)[0] != _RECORD_BATCH:
        raise ValueError("something that is no batch among its batches")
    batch = header + _u32(data, header)[0]
    if _field(data, batch, _COMPRESSION):
        raise ValueError("compressed batches, which no memory has")
    if _field(data, batch, _VARIADIC):
        raise ValueError("views of texts, which no memory has")
    rows: int = _i64(data, place)[0] if (place := _field(data, batch, _ROWS)) else 0
    if rows < 0:
        raise ValueError(f"a batch of {rows} rows")
    return rows


def _field(data: mmap.mmap, table: int, number: int) -> int:
    """Return the position of a table's field, 0 where the field is absent, from the FlatBuffers vtable."""
    fields, entry = table - _i32(data, table)[0], 4 + 2 * number
    if fields < 0 or table < 0:
        raise ValueError("a table outside the file")
    offset: int = _u16(data, fields + entry)[0] if entry < _u16(data, fields)[0] else 0
    return table + offset if offset else 0


def _vector(data: mmap.mmap, table: int, number: int) -> tuple[int, int]:
    """Return the position of a vector's first item, and the number of items."""
    place = _field(data, table, number)
    if not place:
        return 0, 0
    place += _u32(data, place)[0]
    return place + 4, int(_u32(data, place)[0])
