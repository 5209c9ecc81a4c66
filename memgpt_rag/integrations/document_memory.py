"""A memory as a store of documents: put under the ids of their owner, replaced, deleted, and found by a vector."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from memgpt_rag.choices import ColumnType, Metric
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.config import DEFAULT_ENCODER
from memgpt_rag.encoders.load import load_encoder, load_memory_encoder
from memgpt_rag.integrations.documents import (
    WHOLE,
    Document,
    inferred_columns,
    metadata_column,
    to_document,
    to_passage,
)
from memgpt_rag.integrations.embedding_function import RUNNING
from memgpt_rag.memory import Memory, MemoryWriter
from memgpt_rag.memory.changes import delete_entries, put_entries
from memgpt_rag.memory.storage.layout import MANIFEST, values_schema


@dataclass(frozen=True)
class Found:
    """A document that a search found.

    Attributes:
        score: the cosine of its key and the query's vector; in a Euclidean memory, minus their distance.
        key: its own vector.
    """

    document: Document
    score: float
    key: Float[np.ndarray, " dimension"] = field(repr=False, compare=False)


class DocumentMemory:
    """The documents in a memory's folder, at its current version. The first ones that are put create the memory.

    Args:
        folder: of the memory; there may be none yet.
        encoder: embedded the memory, or is to.
        columns: columns of a new memory that filters can go by, with their types; None for one of every name in the metadata of
            the first documents whose values are all texts, all numbers, or all true or false.

    Raises:
        MemoryFormatError: the folder holds a damaged memory.
        MismatchError: another encoder embedded the memory.
    """

    def __init__(self, folder: str | Path, encoder: Encoder, columns: Mapping[str, ColumnType] | None = None):
        self.folder, self.encoder = Path(folder), encoder
        self._memory: Memory | None = None
        self._changing = threading.Lock()
        self._columns: dict[str, ColumnType] | None = None
        if columns is not None:
            self._columns = {metadata_column(name): kind for name, kind in columns.items()}
            values_schema({**self._columns, WHOLE: "string"})  # names and types that cannot be are refused at once
        self.memory()

    def memory(self) -> Memory | None:
        """Return the memory at its current version; None where no document was put yet."""
        if self._memory is None or not self._memory.is_current():
            if not (self.folder / MANIFEST).exists():
                return None
            with RUNNING:
                fingerprint = self.encoder.fingerprint
            self._memory = Memory.open(self.folder, encoder=fingerprint)
        return self._memory

    @property
    def columns(self) -> Mapping[str, str]:
        """The memory's columns of metadata, with their types."""
        memory = self.memory()
        return {} if memory is None else memory.manifest.metadata

    def put(self, documents: Sequence[Document], keys: Float[np.ndarray, "n dimension"] | None = None) -> None:
        """Commit documents as one version; one whose id is taken replaces the document with that id.

        Args:
            keys: of the documents, where the encoder has computed them already.

        Raises:
            ValueError: an empty text, two documents with one id, or metadata that does not fit.
            BusyError: another process is writing there.
        """
        if not documents:
            return
        with self._changing:
            memory = self.memory()
            if memory is None:  # one without documents is false, too
                memory = self._create(documents)
            passages = [to_passage(document, memory.manifest.metadata) for document in documents]
            with RUNNING:
                put_entries(self.folder, passages, self.encoder, keys=keys)

    def delete(self, where: str | pc.Expression | None) -> int:
        """Delete the documents that match a condition, or all, and return how many there were."""
        with self._changing:
            memory = self.memory()
            rows = np.zeros(0, np.int64) if memory is None else memory.rows(where)
            if memory is not None and len(rows):
                delete_entries(self.folder, rows, memory.manifest, may_empty=True)
            return len(rows)

    def documents(self, where: str | pc.Expression | None) -> list[Document]:
        """Return the documents that match a condition, or all, in the order in which they were put."""
        memory = self.memory()
        return [] if memory is None else [to_document(one) for one in memory.passages(memory.rows(where))]

    def search(
        self, vector: Float[np.ndarray, " dimension"], k: int, where: str | pc.Expression | None = None
    ) -> list[Found]:
        """Return the k documents nearest to a query's vector, best first, among those that match a condition.

        Raises:
            ValueError: an invalid condition, or k below 1.
            MismatchError: a vector of another dimension or length than the encoder computes.
        """
        memory = self.memory()
        if memory is None:
            return []
        result = memory.search(vector[None], k, where=where)
        keys = memory.keys(result.rows[0])
        return [
            Found(to_document(passage), score, key)
            for passage, score, key in zip(result.passages[0], result.scores[0].tolist(), keys, strict=True)
        ]

    def _create(self, documents: Sequence[Document]) -> Memory:
        """Create the memory, without entries, and open it."""
        columns = inferred_columns(documents) if self._columns is None else self._columns
        with RUNNING:
            fingerprint = self.encoder.fingerprint
        metric: Metric = "cosine" if self.encoder.normalized else "euclidean"
        with MemoryWriter(self.folder, metric=metric, metadata={**columns, WHOLE: "string"}, lexical=True) as writer:
            if writer.base is None:  # else another process has created it
                splitting = {"tokenizer": fingerprint.name, "max_tokens": 0}  # no tokenizer split the documents
                writer.commit(fingerprint, splitting=splitting, job={"name": "create", "added": 0})
        return Memory.open(self.folder, encoder=fingerprint)


def store_encoder(folder: str | Path, name: str | None = None) -> Encoder:
    """Return the encoder of the memory in a folder, or, where there is none yet, the one of that name or the default one.

    Raises:
        ModelError: it does not exist; or only the memory names it, and it does not come as a package.
    """
    folder = Path(folder)
    if (folder / MANIFEST).exists():
        return load_memory_encoder(Memory.open(folder).manifest.encoder, name, memories=[folder])
    return load_encoder(name or DEFAULT_ENCODER)


def id_condition(ids: Sequence[str]) -> pc.Expression:
    """Return the condition that an entry has one of these ids."""
    return pc.field("id").isin(pa.array(list(ids), pa.string()))
