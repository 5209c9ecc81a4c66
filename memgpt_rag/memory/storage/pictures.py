"""The pictures file: one Arrow row an entry, null where it has none. Knows bytes; whether they are a picture, `media_type` says."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.limits import MOST_PICTURE_BYTES
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.storage.arrow_file import require_plain_batches
from memgpt_rag.memory.storage.arrow_writer import ArrowFileWriter

_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


class PicturesWriter(ArrowFileWriter):
    """Writes a pictures file; the n-th picture added is that of row n."""

    def __init__(self, path: Path):
        super().__init__(path, layout.PICTURES_SCHEMA)

    def add(self, pictures: Sequence[bytes | None]) -> None:
        """Append pictures; raises ValueError for what is no PNG or JPEG file, or too large a one."""
        for picture in pictures:
            if picture is not None and (len(picture) > MOST_PICTURE_BYTES or media_type(picture) is None):
                raise ValueError(
                    f"A picture of {len(picture):,} bytes that begins with {picture[:4]!r}; expected a PNG or JPEG file of at most "
                    f"{MOST_PICTURE_BYTES:,} bytes."
                )
        self.write(pa.record_batch([pa.array(pictures, pa.large_binary())], schema=layout.PICTURES_SCHEMA))


class StoredPictures:
    """A mapped pictures file. Reading a row touches its own picture only.

    Raises:
        MemoryFormatError: the file does not hold `rows` rows of the schema.
    """

    def __init__(self, path: Path, rows: int):
        self._path = path
        require_plain_batches(path, rows)
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
            if not file.schema.equals(layout.PICTURES_SCHEMA):
                raise MemoryFormatError(
                    f"{path} has columns {file.schema.names}; expected one of pictures; build it again."
                )
            self._batches = [file.get_batch(number) for number in range(file.num_record_batches)]
            for batch in self._batches:
                batch.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise MemoryFormatError(f"{path} is not an Arrow file ({error}); build the memory again.") from error
        self._starts = [0, *accumulate(batch.num_rows for batch in self._batches)]

    def has(self, row: int) -> bool:
        """Return whether a row has a picture."""
        return bool(self._cell(row).is_valid)

    def picture(self, row: int) -> bytes | None:
        """Return the picture of a row; None where it has none.

        Raises:
            MemoryFormatError: it is no PNG or JPEG file.
        """
        data: bytes | None = self._cell(row).as_py()
        if data is not None and (len(data) > MOST_PICTURE_BYTES or media_type(data) is None):
            raise MemoryFormatError(
                f"Row {row:,} of {self._path} holds something that is no picture; build the memory again."
            )
        return data

    def _cell(self, row: int) -> pa.LargeBinaryScalar:
        number = bisect_right(self._starts, row) - 1
        return self._batches[number].column(0)[row - self._starts[number]]


def media_type(data: bytes) -> str | None:
    """Return the media type of a picture as a memory keeps them; None for anything else."""
    return next((kind for signature, kind in _SIGNATURES.items() if data.startswith(signature)), None)
