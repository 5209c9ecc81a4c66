"""Checks what an Arrow file says of itself before Arrow reads it, so that opening one allocates nothing.

Batches of a memory are mapped, not read. A batch that is compressed would be unpacked at once, to any size its sender likes;
and a file of countless empty batches keeps every search busy. Both are told by the file's footer and by the head of each
batch, two small tables in the form of FlatBuffers (Arrow columnar format, "IPC File Format" and Message.fbs, File.fbs).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory.files import reading

_MAGIC = b"ARROW1"
_CONTINUES = 0xFFFFFFFF
_BLOCK = struct.Struct("<qi4xq")  # where a batch begins, bytes of its head, bytes of its body
_MAX_FOOTER, _MAX_HEAD = 2**28, 2**20
# Numbers of fields in Footer, Message and RecordBatch.
_DICTIONARIES, _BATCHES = 2, 3
_HEADER_TYPE, _HEADER = 1, 2
_ROWS, _BUFFERS, _COMPRESSION, _VARIADIC = 0, 2, 3, 4
_RECORD_BATCH = 3
_SPARE_BATCHES = 1024


def require_plain_batches(path: Path, rows: int) -> None:
    """Check that a file holds so many rows in batches that can be mapped as they are.

    Raises:
        MemoryFormatError: it is no Arrow file, its batches are compressed or encoded by dictionaries, lie outside the file or
            are more than rows can fill, or its rows are more or fewer.
    """
    try:
        found = _rows(path, rows)
    except (struct.error, ValueError, OverflowError) as error:
        raise MemoryFormatError(f"{path} is not an Arrow file ({error}); build the memory again.") from error
    if found != rows:
        raise MemoryFormatError(f"{path} holds {found} values; the manifest says {rows}; build the memory again.")


def _rows(path: Path, expected: int) -> int:
    with reading(path) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - 10))
        tail = file.read(10)
        if len(tail) < 10 or tail[4:] != _MAGIC:
            raise ValueError("it does not end as one")
        (length,) = struct.unpack("<i", tail[:4])
        if not 0 < length <= min(_MAX_FOOTER, size - 10):
            raise ValueError(f"a footer of {length} bytes")
        file.seek(size - 10 - length)
        footer = _Table.root(file.read(length))
        if footer.vector(_DICTIONARIES, _BLOCK.size):
            raise ValueError("it has dictionaries, which no memory has")
        blocks = footer.vector(_BATCHES, _BLOCK.size)
        if len(blocks) > expected + _SPARE_BATCHES:
            raise ValueError(f"{len(blocks):,} batches for {expected:,} rows")
        rows = 0
        for block in blocks:
            begin, head, body = _BLOCK.unpack(block)
            if not 8 <= head <= _MAX_HEAD or begin < 0 or body < 0 or begin + head + body > size:
                raise ValueError("a batch outside the file")
            file.seek(begin)
            rows += _batch_rows(file.read(head), body)
    return rows


def _batch_rows(head: bytes, body: int) -> int:
    first, length = struct.unpack_from("<II", head)
    start = 8 if first == _CONTINUES else 4
    length = length if first == _CONTINUES else first
    if length > len(head) - start:
        raise ValueError("the head of a batch is longer than the footer says")
    message = _Table.root(head[start : start + length])
    if message.scalar(_HEADER_TYPE, "<B") != _RECORD_BATCH:
        raise ValueError("something that is no batch among its batches")
    batch = message.table(_HEADER)
    if batch is None:
        raise ValueError("a batch without a head")
    if batch.has(_COMPRESSION):
        raise ValueError("compressed batches, which no memory has")
    if batch.has(_VARIADIC):
        raise ValueError("views of texts, which no memory has")
    for buffer in batch.vector(_BUFFERS, 16):
        offset, size = struct.unpack("<qq", buffer)
        if offset < 0 or size < 0 or offset + size > body:
            raise ValueError("a column outside its batch")
    rows = batch.scalar(_ROWS, "<q")
    if rows < 0:
        raise ValueError(f"a batch of {rows} rows")
    return rows


class _Table:
    """A FlatBuffers table: where it begins, and where the table of its fields says that each one lies."""

    def __init__(self, data: bytes, place: int):
        self._data, self._place = data, place
        (back,) = struct.unpack_from("<i", data, place)
        self._fields = place - back
        if self._fields < 0:
            raise ValueError("a table outside its bytes")
        (self._size,) = struct.unpack_from("<H", data, self._fields)

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, *struct.unpack_from("<I", data))

    def has(self, number: int) -> bool:
        return self._offset(number) != 0

    def scalar(self, number: int, form: str) -> int:
        """A number, 0 where it is left out."""
        return (
            int(struct.unpack_from(form, self._data, self._place + self._offset(number))[0]) if self.has(number) else 0
        )

    def table(self, number: int) -> _Table | None:
        return _Table(self._data, self._follow(number)) if self.has(number) else None

    def vector(self, number: int, item_bytes: int) -> list[bytes]:
        """The items of a vector of structs, none where it is left out."""
        if not self.has(number):
            return []
        place = self._follow(number)
        (count,) = struct.unpack_from("<I", self._data, place)
        items = self._data[place + 4 : place + 4 + count * item_bytes]
        if len(items) != count * item_bytes:
            raise ValueError("a vector outside its bytes")
        return [items[start : start + item_bytes] for start in range(0, len(items), item_bytes)]

    def _offset(self, number: int) -> int:
        entry = 4 + 2 * number
        return int(struct.unpack_from("<H", self._data, self._fields + entry)[0]) if entry + 2 <= self._size else 0

    def _follow(self, number: int) -> int:
        place = self._place + self._offset(number)
        return place + int(struct.unpack_from("<I", self._data, place)[0])
