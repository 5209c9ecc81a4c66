"""An opened segment: mapped keys, values and states, the mask of live rows, and indexes that are read at the first search."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory.dense.faiss_index import ApproximateIndex, Found, exact_search
from memgpt_rag.memory.dense.index_file import IndexFile
from memgpt_rag.memory.lexical.postings import WEIGHTS, InvertedIndex
from memgpt_rag.memory.storage import files, layout
from memgpt_rag.memory.storage.index_settings import IndexSettings
from memgpt_rag.memory.storage.keys import open_keys
from memgpt_rag.memory.storage.manifest import Manifest, Segment
from memgpt_rag.memory.storage.pictures import StoredPictures
from memgpt_rag.memory.storage.states import StatesShape, StoredStates
from memgpt_rag.memory.storage.values import StoredValues


class OpenSegment:
    """An opened segment of a memory.

    Attributes:
        keys: [rows, dimension], mapped.
        values: the values file.
        live: mask of the rows that are not deleted; None where none is deleted.
        states: the states file; None where there is none.

    Raises:
        MemoryFormatError: a file is missing, of another size than the manifest says, or has other contents.
    """

    def __init__(self, memory: Path, manifest: Manifest, segment: Segment):
        self.folder, self.described, self._metric = layout.segment_dir(memory, segment.name), segment, manifest.metric
        self._dimension = manifest.encoder.dimension
        for name, file in segment.files.items():
            path = self.folder / name
            found = path.stat().st_size if path.is_file() and not path.is_symlink() else None
            if found != file.bytes:
                state = "is missing" if found is None else f"has {found} bytes"
                raise MemoryFormatError(
                    f"{path} {state}; the manifest says {file.bytes} bytes; build the memory again."
                )
        self.keys: Float[np.ndarray, "rows dimension"] = self._open_keys()
        self.values = StoredValues.open(
            self.folder / layout.VALUES, layout.values_schema(manifest.metadata), segment.entries
        )
        self.live = self._open_live()
        self.states: StoredStates | None = None
        if manifest.states is not None and (states_name := segment.file("states")) is not None:
            shape = StatesShape.of(manifest.states)
            self.states = StoredStates.open(self.folder / states_name, shape, segment.entries)

    def __len__(self) -> int:
        return self.described.entries

    def search(
        self,
        queries: Float[np.ndarray, "queries dimension"],
        k: int,
        allowed: Bool[np.ndarray, " rows"] | None = None,
        *,
        exact: bool = False,
    ) -> Found:
        """Return the k nearest of the allowed rows, or of the live ones, to each query; at least k rows must be allowed."""
        allowed = self.live if allowed is None else allowed
        if exact or self.index is None:
            return exact_search(self.keys, queries, k, self._metric, allowed)
        return self.index.search(self.keys, queries, k, allowed)

    @cached_property
    def index(self) -> ApproximateIndex | None:
        """Return the approximate index, read at the first search; None where there is none.

        Raises:
            MemoryFormatError: the file's checksum is not the committed one, or it is no index over these keys.
        """
        name, settings = self.described.file("index"), self.described.index
        if name is None or settings is None:
            return None
        return ApproximateIndex.read(
            self._committed(name, "rebuild-index"),
            IndexSettings.from_json(settings),
            rows=len(self),
            dimension=self._dimension,
            metric=self._metric,
        )

    @cached_property
    def pictures(self) -> StoredPictures | None:
        """Return the pictures file, mapped when it is first asked for; None where no entry has a picture.

        Raises:
            MemoryFormatError: it is no such file.
        """
        if layout.PICTURES not in self.described.files:
            return None
        try:
            return StoredPictures(self.folder / layout.PICTURES, len(self))
        except FileNotFoundError as error:
            raise _removed(self.folder / layout.PICTURES) from error

    @cached_property
    def words(self) -> InvertedIndex | None:
        """Return the lexical index, mapped at the first search; None where the memory has none.

        Raises:
            MemoryFormatError: the file's checksum is not the committed one.
        """
        if (name := self.described.file("words")) is None:
            return None
        return InvertedIndex.open(self._committed(name, "compact"), len(self))

    @cached_property
    def sparse(self) -> InvertedIndex | None:
        """Return the sparse vectors, mapped at the first search; None where the segment has none.

        Raises:
            MemoryFormatError: the file's checksum is not the committed one.
        """
        if (name := self.described.file("sparse")) is None:
            return None
        return InvertedIndex.open(self._committed(name, "sparse"), len(self), WEIGHTS)

    @cached_property
    def live_length(self) -> int:
        """Return the number of terms of all live entries."""
        if self.words is None:
            return 0
        lengths = self.words.lengths if self.live is None else self.words.lengths[self.live]
        return int(lengths.sum(dtype=np.int64))

    def has_intact(self, kind: layout.OptionalFile) -> bool:
        """Return whether the segment has a file of a kind, with the committed checksum."""
        name = self.described.file(kind)
        return name is not None and files.describe(self.folder / name) == self.described.files[name]

    def _committed(self, name: str, command: str) -> Path:
        """Return the path of a file after its checksum was compared; the error names `command`, which makes the file again."""
        path = self.folder / name
        try:
            stored = files.describe(path)
        except FileNotFoundError as error:
            raise _removed(path) from error
        if stored != self.described.files[name]:
            raise MemoryFormatError(
                f"{path} is not the file that was committed (its digest differs); make it again with: memgpt-index {command}"
            )
        return path

    def _open_keys(self) -> Float[np.ndarray, "rows dimension"]:
        if layout.KEYS in self.described.files:
            return open_keys(self.folder / layout.KEYS, len(self), self._dimension)
        file = IndexFile(self.folder / layout.FLAT_KEYS, rows=len(self), dimension=self._dimension, metric=self._metric)
        return file.keys("build the memory again.")

    def _open_live(self) -> Bool[np.ndarray, " rows"] | None:
        if (name := self.described.file("deleted")) is None:
            return None
        with files.reading(self.folder / name) as file:
            bits = np.frombuffer(file.read(), dtype=np.uint8)
        deleted = np.unpackbits(bits, bitorder="little").astype(bool)
        if len(bits) != -(-len(self) // 8) or deleted.sum() != self.described.deleted or deleted[len(self) :].any():
            raise MemoryFormatError(
                f"{self.folder / name} does not mark {self.described.deleted} of {len(self)} rows; restore an earlier version."
            )
        return ~deleted[: len(self)]


def _removed(path: Path) -> MemoryFormatError:
    return MemoryFormatError(
        f"{path} is gone: a job has removed the version that was opened, or the file was deleted; open the memory again."
    )
