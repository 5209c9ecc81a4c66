"""States of entries on disk: one safetensors file a segment, in which the bytes of an entry are contiguous.

    offsets   I64                 [entries + 1]                                  first token of each entry; total last
    scales    F16                 [tokens, layers, 2, kv_heads]                  of int8 and int4 only
    codes     I8, F16, BF16, F32  [tokens, layers, 2, kv_heads, head_dim]        keys, then values; state = code · scale
              U8                  [tokens, layers, 2, kv_heads, head_dim / 2]    int4: two a byte on average; see `memgpt_rag.state_codes`

The manifest names the language model that computed them. numpy has no bf16; such codes are uint16 here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float, Int

from memgpt_rag.choices import STATES_TYPES, StatesType
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.fingerprint import StatesFingerprint
from memgpt_rag.memory.storage import files, tensors
from memgpt_rag.state_codes import SCALED, Codes, are_finite, code_type, encode

# Types of codes by their names in a safetensors file.
_NAMES: dict[StatesType, str] = {"int4": "U8", "int8": "I8", "fp16": "F16", "bf16": "BF16", "fp32": "F32"}


@dataclass(frozen=True)
class StatesShape:
    """Shape of a token's states, [layers, 2, kv_heads, head_dim], and the type that they are stored in."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: StatesType

    @classmethod
    def of(cls, fingerprint: StatesFingerprint) -> StatesShape:
        """Return the shape of a fingerprint's states; raises MemoryFormatError if their type is unknown."""
        if fingerprint.dtype not in STATES_TYPES:
            raise MemoryFormatError(
                f"The manifest says states of type {fingerprint.dtype!r}; expected one of {', '.join(STATES_TYPES)}."
            )
        return cls(len(fingerprint.layers), fingerprint.kv_heads, fingerprint.head_dim, fingerprint.dtype)

    @property
    def bytes_per_token(self) -> int:
        """Return the bytes of a token's codes and scales."""
        kind, code_dim = code_type(self.dtype, self.head_dim)
        return self.layers * 2 * self.kv_heads * (code_dim * kind.itemsize + 2 * (self.dtype in SCALED))

    def none(self) -> Float[np.ndarray, "0 layers 2 kv_heads head_dim"]:
        """Return states of zero tokens, for an entry without states."""
        return np.empty((0, self.layers, 2, self.kv_heads, self.head_dim), np.float32)

    def regions(self, entries: int, tokens: int) -> tensors.Regions:
        """Return the tensors of a states file in their order."""
        heads = (tokens, self.layers, 2, self.kv_heads)
        regions: tensors.Regions = {"offsets": ("I64", "<i8", (entries + 1,))}
        if self.dtype in SCALED:
            regions["scales"] = ("F16", "<f2", heads)
        kind, code_dim = code_type(self.dtype, self.head_dim)
        regions["codes"] = (_NAMES[self.dtype], kind.str, (*heads, code_dim))
        return regions


class StatesWriter:
    """Writes a states file entry by entry, for use in a `with` block; complete when every entry has been added.

    Args:
        lengths: number of tokens of each entry, in row order; 0 for an entry without states.
    """

    def __init__(self, path: Path, shape: StatesShape, lengths: Sequence[int]):
        self.shape = shape
        self._offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype("<i8")
        self._row = 0
        regions = shape.regions(len(lengths), int(self._offsets[-1]))
        header, size = tensors.header(regions)
        self._begin, self._regions = tensors.offsets(regions), regions
        self._handle = files.create(path)
        files.write_at(self._handle, header, 0)
        files.write_at(self._handle, self._offsets, self._begin["offsets"])
        files.resize(self._handle, len(header) + size)

    def __enter__(self) -> StatesWriter:
        return self

    def add(self, states: Float[np.ndarray, "tokens layers 2 kv_heads head_dim"]) -> None:
        """Encode and append the states of the next entry; see `add_codes`."""
        self.add_codes(*encode(states, self.shape.dtype))

    def add_codes(self, *codes: np.ndarray | None) -> None:
        """Append the next entry's codes and, for int8 and int4, scales.

        Raises:
            ValueError: they have another shape or type than was announced.
        """
        first, end = self._offsets[self._row : self._row + 2]
        heads = (int(end - first), self.shape.layers, 2, self.shape.kv_heads)
        kind, code_dim = code_type(self.shape.dtype, self.shape.head_dim)
        expected: list[tuple[tuple[int, ...], np.dtype]] = [((*heads, code_dim), kind)]
        expected += [(heads, np.dtype("<f2"))] if self.shape.dtype in SCALED else []
        found = [(data.shape, data.dtype) for data in codes if data is not None]
        if found != expected:
            raise ValueError(f"The states of row {self._row} have shape {found[0][0]}; expected {expected[0][0]}.")
        for name, data in zip(("codes", "scales"), codes, strict=True):
            if data is not None and data.size:
                token_bytes = data.nbytes // len(data)
                files.write_at(self._handle, np.ascontiguousarray(data), self._begin[name] + int(first) * token_bytes)
        self._row += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        rows = len(self._offsets) - 1
        files.close(self._handle)
        if error is None and self._row != rows:
            raise ValueError(f"{self._row} entries have states and {rows} were announced.")


class StoredStates:
    """A mapped states file. Reading an entry touches its own bytes only."""

    def __init__(self, shape: StatesShape, regions: dict[str, np.ndarray]):
        self.shape = shape
        self._codes, self._scales = regions["codes"], regions.get("scales")
        self.offsets: Int[np.ndarray, " entries+1"] = regions["offsets"]

    @classmethod
    def open(cls, path: Path, shape: StatesShape, entries: int) -> StoredStates:
        """Map a states file; raises MemoryFormatError if it does not hold states of that shape for `entries` entries."""
        described = tensors.read_header(path)[0].get("codes", {}).get("shape", [])
        tokens = described[0] if isinstance(described, list) and described else -1
        known = type(tokens) is int and 0 <= tokens < 2**48
        maps = tensors.map_regions(path, shape.regions(entries, tokens)) if known else None
        if maps is None:
            raise MemoryFormatError(
                f"{path} does not hold {shape.dtype} states of {entries} entries in {shape.layers} layers with "
                f"{shape.kv_heads} × {shape.head_dim} numbers; compute the states again."
            )
        offsets = maps["offsets"]
        if offsets[0] != 0 or offsets[-1] != tokens or (np.diff(offsets) < 0).any():
            raise MemoryFormatError(
                f"{path} has offsets that do not fit its {tokens} tokens; compute the states again."
            )
        return cls(shape, maps)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def entry(self, row: int) -> Codes:
        """Return the codes and, for int8 and int4, scales of the entry in a row, mapped and not copied.

        Raises:
            IndexError: there is no such row.
            MemoryFormatError: they hold NaN or infinity.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"States of row {row} were asked for; there are rows 0 to {len(self) - 1}.")
        tokens = slice(*self.offsets[row : row + 2])
        codes, scales = self._codes[tokens], None if self._scales is None else self._scales[tokens]
        if not are_finite(codes, scales):
            raise MemoryFormatError(
                f"The states of row {row} hold NaN or infinity; compute them again with: memgpt-index states"
            )
        return codes, scales
