"""A memory as a store of documents: put under the ids of their owner, replaced, deleted, and found by a vector.

A document is a text with metadata that JSON can hold. What filters go by are columns of the memory; the whole metadata stands beside
them as JSON, so that it comes back as it was given.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from memgpt_rag.choices import ColumnType, Metric
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.config import DEFAULT_ENCODER
from memgpt_rag.encoders.load import load_encoder, load_memory_encoder
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.integrations.embedding_function import RUNNING
from memgpt_rag.io.json_file import parse_json
from memgpt_rag.memory import Memory, MemoryWriter
from memgpt_rag.memory.changes import delete_entries, put_entries
from memgpt_rag.memory.storage.layout import MANIFEST, is_column_name, values_schema
from memgpt_rag.passage import Passage

_WHOLE = "metadata_json"  # the column that holds all of a document's metadata
_KINDS: dict[type, ColumnType] = {str: "string", bool: "boolean", int: "integer", float: "number"}


@dataclass(frozen=True)
class Document:
    """A text under an id, with metadata, and with a title that is embedded and read before it."""

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""


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
        self.folder, self.encoder, self._columns = Path(folder), encoder, columns
        self._memory: Memory | None = None
        self._changing = threading.Lock()
        if columns is not None:
            values_schema({**columns, _WHOLE: "string"})  # names and types that cannot be are refused at once
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
            memory = self.memory() or self._create(documents)
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
        columns = inferred_columns(documents) if self._columns is None else dict(self._columns)
        with RUNNING:
            fingerprint = self.encoder.fingerprint
        metric: Metric = "cosine" if self.encoder.normalized else "euclidean"
        with MemoryWriter(self.folder, metric=metric, metadata={**columns, _WHOLE: "string"}, lexical=True) as writer:
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


def inferred_columns(documents: Sequence[Document]) -> dict[str, ColumnType]:
    """Return a column for every name in documents' metadata whose values are all texts, all numbers, or all true or false.

    Names that begin with _ are a framework's own.
    """
    kinds: dict[str, set[ColumnType | None]] = {}
    for document in documents:
        for name, value in document.metadata.items():
            if value is not None:
                kinds.setdefault(name, set()).add(_KINDS.get(type(value)))
    columns: dict[str, ColumnType] = {}
    for name, found in kinds.items():
        kind = "number" if found == {"integer", "number"} else found.pop() if len(found) == 1 else None
        if kind is not None and not name.startswith("_") and is_column_name(name):
            columns[name] = kind
    return columns


def to_passage(document: Document, columns: Mapping[str, str]) -> Passage:
    """Return a document as an entry of a memory with these columns.

    Raises:
        ValueError: an empty text or id, metadata that JSON cannot hold, or a value that its column cannot hold.
    """
    if not document.text.strip() or not document.id:
        raise ValueError(f"The document {document.id!r} has no text or no id; give both.")
    has_whole = _WHOLE in columns  # else a job built the memory, and what it has no column for is refused
    names = columns.keys() - {_WHOLE} if has_whole else document.metadata.keys()
    cells = {name: document.metadata.get(name) for name in names}
    known = {
        name: _cell(document, name, value, columns.get(name)) for name, value in cells.items() if value is not None
    }
    if has_whole:
        known[_WHOLE] = _json(document)
    given = document.metadata.get("source")
    source = given if isinstance(given, str) else ""
    start = document.metadata.get("start_index")  # as LangChain's splitters note it
    start = start if type(start) is int and start >= 0 else 0
    return Passage(
        id=document.id,
        text=document.text,
        title=document.title,
        source=source or document.id,
        record=document.id if source else "",
        unit="document",
        first=1,
        last=1,
        start=start,
        end=start + len(document.text),
        metadata=known,
    )


def to_document(passage: Passage) -> Document:
    """Return an entry as the document that was put, or, where a job built it, with its title, source and place as metadata.

    Raises:
        MemoryFormatError: its metadata is damaged.
    """
    if _WHOLE not in passage.metadata:
        known = {"title": passage.title, "source": passage.source, "place": passage.place}
        return Document(passage.id, passage.text, {**known, **passage.metadata}, passage.title)
    try:
        metadata = parse_json(str(passage.metadata[_WHOLE]))
    except ValueError as error:
        raise MemoryFormatError(f"The metadata of the entry {passage.id!r} is damaged: {error}.") from error
    if not isinstance(metadata, dict):
        raise MemoryFormatError(f"The metadata of the entry {passage.id!r} is no object.")
    return Document(passage.id, passage.text, metadata, passage.title)


def id_condition(ids: Sequence[str]) -> pc.Expression:
    """Return the condition that an entry has one of these ids."""
    return pc.field("id").isin(pa.array(list(ids), pa.string()))


def _json(document: Document) -> str:
    try:
        text = json.dumps(dict(document.metadata), ensure_ascii=False, allow_nan=False)
        same = parse_json(text) == document.metadata
    except (TypeError, ValueError) as error:
        raise ValueError(f"The document {document.id!r} has metadata that JSON cannot hold: {error}.") from error
    if not same:
        raise ValueError(
            f"The document {document.id!r} has metadata that JSON would change, such as a tuple or a key that is no text; "
            "give lists, and texts as keys."
        )
    return text


def _cell(document: Document, name: str, value: Any, kind: str | None) -> Any:
    """Return a value as its column holds it."""
    if kind is None:
        return value  # without a column; the memory refuses it by name
    if kind == "date" and isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    fits = {"string": (str,), "boolean": (bool,), "integer": (int,), "number": (int, float), "date": ()}
    if type(value) in fits[kind]:
        return value
    raise ValueError(
        f"The document {document.id!r} has {name}={value!r:.60}, and the memory's column {name!r} holds values of type {kind}; "
        f"give such a value, or another name."
    )
