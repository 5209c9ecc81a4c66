"""Opens a memory and searches it. A reader holds what it opened: a later build does not change it under its hands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from memgpt_rag.errors import MemoryFormatError, MismatchError
from memgpt_rag.fingerprint import EncoderFingerprint
from memgpt_rag.memory import format as disk
from memgpt_rag.memory.faiss_index import KeyIndex, first_not_unit
from memgpt_rag.memory.states import StatesShape, StoredStates
from memgpt_rag.passage import Passage


@dataclass(frozen=True)
class SearchResult:
    """The k nearest entries of each query, best first.

    Attributes:
        rows: row of each entry.
        scores: cosine of query and key; in a Euclidean memory, minus their distance.
        passages: the entries' values.
    """

    rows: Int[np.ndarray, "queries k"]
    scores: Float[np.ndarray, "queries k"]
    passages: list[list[Passage]]


class Memory:
    """An opened memory: keys in FAISS, values in Arrow and, where it has them, states, mapped from disk."""

    def __init__(
        self, path: Path, manifest: disk.Manifest, index: KeyIndex, values: pa.Table, states: StoredStates | None
    ):
        self.path = path
        self.manifest = manifest
        self.states = states
        self._index = index
        self._values = values

    @classmethod
    def open(cls, path: str | Path, *, encoder: EncoderFingerprint | None = None) -> Memory:
        """Open the memory in a folder.

        Args:
            path: folder that `memgpt-index build` wrote.
            encoder: fingerprint of the encoder whose vectors will be searched for, checked at once.

        Raises:
            MemoryFormatError: no memory there, or a damaged one.
            MismatchError: the memory was embedded by another encoder, or with another prompt or normalisation.
        """
        path = Path(path)
        manifest = disk.read_manifest(path)
        if encoder is not None:
            manifest.encoder.require_match(encoder)
        if len(manifest.segments) != 1:
            raise MemoryFormatError(
                f"{path} has {len(manifest.segments)} segments and this release reads one; upgrade memgpt_rag."
            )
        segment = manifest.segments[0]
        folder = disk.segment_dir(path, segment.name)
        for name, file in segment.files.items():
            found = (folder / name).stat().st_size if (folder / name).is_file() else None
            if found != file.bytes:
                state = "is missing" if found is None else f"has {found} bytes"
                raise MemoryFormatError(
                    f"{folder / name} {state}; the manifest says {file.bytes} bytes; build the memory again."
                )
        index = KeyIndex.read(
            folder / disk.KEYS, entries=segment.entries, dimension=manifest.encoder.dimension, metric=manifest.metric
        )
        values, states = _read_values(folder / disk.VALUES, segment.entries), None
        if manifest.states is not None:
            shape = StatesShape.of(manifest.states)
            states = StoredStates.open(folder / str(segment.states), shape, segment.entries)
        return cls(path, manifest, index, values, states)

    def __len__(self) -> int:
        return self.manifest.entries

    def search(self, vectors: Float[np.ndarray, "queries dimension"], k: int) -> SearchResult:
        """The k nearest entries of each vector; all entries where there are fewer than k.

        Raises:
            ValueError: k below 1, or vectors that are not two-dimensional or not finite.
            MismatchError: vectors that this memory's encoder cannot have made.
        """
        encoder = self.manifest.encoder
        if k < 1:
            raise ValueError(f"k is {k}; expected 1 or more.")
        if vectors.ndim != 2:
            raise ValueError(f"Found query vectors of shape {vectors.shape}; expected [queries, dimension].")
        if not np.isfinite(vectors).all():
            raise ValueError("A query vector holds NaN or infinity; encode the query again.")
        if vectors.shape[1] != encoder.dimension:
            raise MismatchError(
                f"The query vectors have dimension {vectors.shape[1]} and this memory, embedded with {encoder.name!r}, has "
                f"dimension {encoder.dimension}; encode the query with {encoder.name!r}."
            )
        if self.manifest.metric == "cosine" and (wrong := first_not_unit(vectors)) is not None:
            raise MismatchError(
                f"Query vector {wrong} has length {np.linalg.norm(vectors[wrong]):.4g} and this memory, embedded with "
                f"{encoder.name!r}, holds unit-length vectors; encode the query with {encoder.name!r}, or normalise it."
            )
        rows, scores = self._index.search(vectors, min(k, len(self)))
        return SearchResult(rows, scores, [self.passages(row) for row in rows])

    def passages(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> list[Passage]:
        """Values of the given rows, in the order given.

        Raises:
            IndexError: a row that the memory does not have.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(
                f"Rows {wanted.min()} to {wanted.max()} were asked for; this memory has rows 0 to {len(self) - 1}."
            )
        return [Passage(**row) for row in self._values.take(pa.array(wanted)).to_pylist()]

    def keys(self) -> Float[np.ndarray, "entries dimension"]:
        """Every key in row order, for checks and for brute-force search."""
        return self._index.keys()


def _read_values(path: Path, entries: int) -> pa.Table:
    try:
        values = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise MemoryFormatError(f"{path} is not an Arrow file ({error}); build the memory again.") from error
    if not values.schema.equals(disk.VALUES_SCHEMA):
        raise MemoryFormatError(
            f"{path} has columns {values.schema.names}; expected {disk.VALUES_SCHEMA.names}; build the memory again."
        )
    if values.num_rows != entries:
        raise MemoryFormatError(
            f"{path} holds {values.num_rows} values; the manifest says {entries}; build the memory again."
        )
    return values
