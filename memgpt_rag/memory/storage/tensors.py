"""Files of tensors in the safetensors format: a JSON header with names, types, shapes and offsets, then the numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.io.json_file import parse_json
from memgpt_rag.memory.storage.files import reading

# Tensors of a file in their order: name → (type in safetensors, type in numpy, shape).
Regions = dict[str, tuple[str, str, tuple[int, ...]]]
_MAX_HEADER = 2**20
# Smaller tensors are read, not mapped: a mapping keeps its file open, and a memory may have thousands of small segments.
_LEAST_MAPPED_BYTES = 2**18


def header(regions: Regions) -> tuple[bytes, int]:
    """Return a file's header, padded so that data begin at a multiple of 8, and the number of bytes after it."""
    fields, end = {}, 0
    for name, (kind, numpy_type, shape) in regions.items():
        start, end = end, end + _size(numpy_type, shape)
        fields[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, end


def offsets(regions: Regions) -> dict[str, int]:
    """Return the offset of each tensor in the file, in bytes."""
    begin, places = len(header(regions)[0]), {}
    for name, (_, numpy_type, shape) in regions.items():
        places[name] = begin
        begin += _size(numpy_type, shape)
    return places


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Read a file's header: the tensors' entries, and the offset of the first one.

    Raises:
        MemoryFormatError: the file is not in this format.
    """
    try:
        with reading(path) as file:
            length = int.from_bytes(file.read(8), "little")
            fields = parse_json(file.read(length)) if 0 < length <= _MAX_HEADER else None
    except (OSError, ValueError) as error:
        raise MemoryFormatError(f"{path} is not a safetensors file ({error}).") from error
    if not isinstance(fields, dict) or not all(isinstance(field, dict) for field in fields.values()):
        raise MemoryFormatError(f"{path} is not a safetensors file.")
    fields.pop("__metadata__", None)
    return fields, 8 + length


def map_regions(path: Path, regions: Regions) -> dict[str, np.ndarray] | None:
    """Map the tensors of a file, small ones read, as arrays that cannot be written; None where the file does not hold exactly these."""
    fields, begin = read_header(path)
    expected, size = header(regions)
    if fields != json.loads(expected[8:]) or path.stat().st_size != begin + size:
        return None
    maps: dict[str, np.ndarray] = {}
    for name, (_, numpy_type, shape) in regions.items():
        length = _size(numpy_type, shape)
        if length < _LEAST_MAPPED_BYTES:
            maps[name] = np.fromfile(path, numpy_type, offset=begin, count=math.prod(shape)).reshape(shape)
            maps[name].flags.writeable = False
        else:
            maps[name] = np.memmap(path, dtype=numpy_type, mode="r", offset=begin, shape=shape)
        begin += length
    return maps


def _size(numpy_type: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * np.dtype(numpy_type).itemsize
