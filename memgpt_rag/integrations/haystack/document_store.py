"""A document store of Haystack whose documents are the entries of a memory. Every change is a version of the memory."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from haystack import Document, default_from_dict, default_to_dict
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter

from memgpt_rag.choices import ColumnType
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.integrations import documents
from memgpt_rag.integrations.document_memory import DocumentMemory, id_condition, store_encoder
from memgpt_rag.integrations.haystack.filters import expression

Filters = dict[str, Any]
_OWN = "_haystack"  # holds what of a document is neither text nor metadata
_TYPES = {str: "keyword", bool: "boolean", int: "long", float: "float"}  # the names that Haystack's own stores give


def _in_thread(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return the asynchronous twin of a method: the same in a thread, so that others can go on."""

    @functools.wraps(method)
    async def twin(*arguments: Any, **named: Any) -> Any:
        return await asyncio.to_thread(method, *arguments, **named)

    return twin


class MemGPTDocumentStore:
    """Documents in a memory's folder, embedded by the memory's own encoder.

    A memory that memgpt-index built can be opened, too: its entries are documents with title, source, place and columns as `meta`.
    A document's `embedding` is kept as it was given and not searched by: keys are those of the encoder.

    Args:
        folder: of the memory. The first documents create it where there is none.
        encoder: name or folder of the memory's encoder, or of that of a new memory; an encoder itself cannot be saved with a pipeline.
        columns: columns of a new memory that searches filter by quickly, with their types; None to take them from the `meta` of
            the first documents.

    Example:
        >>> store = MemGPTDocumentStore("boats")
        >>> store.write_documents([Document(content="A rowing boat costs 40 yuan an hour.", meta={"year": 2024})])
        1
    """

    def __init__(
        self, folder: str, encoder: str | Encoder | None = None, columns: Mapping[str, ColumnType] | None = None
    ):
        self.folder, self._encoder, self._columns = str(folder), encoder, columns
        self._opened: DocumentMemory | None = None
        self._opening = threading.Lock()

    @property
    def store(self) -> DocumentMemory:
        """The documents and their encoder, which are loaded when they are first needed.

        Raises:
            MemoryFormatError: the folder holds a damaged memory.
            MismatchError: another encoder embedded the memory.
        """
        with self._opening:
            if self._opened is None:
                own = self._encoder
                encoder = own if isinstance(own, Encoder) else store_encoder(Path(self.folder), own)
                self._opened = DocumentMemory(self.folder, encoder, self._columns)
            return self._opened

    def to_dict(self) -> dict[str, Any]:
        """Return folder, name of the encoder and columns; raises ValueError where an encoder itself was given."""
        if isinstance(self._encoder, Encoder):
            raise ValueError("This store was given an encoder; give its name or folder instead, which can be saved.")
        columns = None if self._columns is None else dict(self._columns)
        saved: dict[str, Any] = default_to_dict(self, folder=self.folder, encoder=self._encoder, columns=columns)
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MemGPTDocumentStore:
        """Return the store that `to_dict` described."""
        store: MemGPTDocumentStore = default_from_dict(cls, data)
        return store

    def count_documents(self) -> int:
        """Return the number of documents."""
        memory = self.store.memory()
        return 0 if memory is None else len(memory)

    def filter_documents(self, filters: Filters | None = None) -> list[Document]:
        """Return the documents that a filter matches, or all, in the order in which they were written.

        Raises:
            FilterError: it is no filter.
        """
        return [from_stored(one) for one in self.store.documents(self.condition(filters))]

    def write_documents(self, documents: Sequence[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Write documents as one version of the memory.

        Args:
            policy: what to do with a document whose id is taken; NONE is FAIL.

        Returns:
            The number of documents written.

        Raises:
            DuplicateDocumentError: an id is taken, and the policy is FAIL; nothing is written.
            ValueError: no list of documents, a document without text, or metadata that does not fit.
            BusyError: another process is writing there.
        """
        if not isinstance(documents, list) or not all(isinstance(one, Document) for one in documents):
            raise ValueError("write_documents takes a list of documents.")
        chosen = {one.id: one for one in documents}
        taken = {one.id for one in self.store.documents(id_condition(list(chosen)))}
        twice = len(chosen) < len(documents)
        if policy in (DuplicatePolicy.NONE, DuplicatePolicy.FAIL) and (taken or twice):
            id = min(taken, default=next((one.id for one in documents if documents.count(one) > 1), ""))
            raise DuplicateDocumentError(
                f"The id {id!r} is taken; write with another policy, or leave the document out."
            )
        if policy == DuplicatePolicy.SKIP:
            chosen = {one.id: one for one in reversed(documents) if one.id not in taken}  # of several, the first
        self.store.put([to_stored(one) for one in chosen.values()])
        return len(chosen) if policy == DuplicatePolicy.SKIP else len(documents)

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete the documents with these ids; ids that no document has are no error."""
        self.store.delete(id_condition(document_ids))

    def delete_all_documents(self) -> None:
        """Delete all documents."""
        self.store.delete(None)

    def delete_by_filter(self, filters: Filters) -> int:
        """Delete the documents that a filter matches, and return how many there were; raises ValueError without a filter."""
        if not filters:
            raise ValueError("Without a filter all documents would be deleted; say so with delete_all_documents.")
        return self.store.delete(self.condition(filters))

    def update_by_filter(self, filters: Filters, meta: dict[str, Any]) -> int:
        """Set fields of the `meta` of the documents that a filter matches, and return how many there were."""
        found = self.store.documents(self.condition(filters))
        self.store.put([documents.Document(one.id, one.text, {**one.metadata, **meta}, one.title) for one in found])
        return len(found)

    def count_documents_by_filter(self, filters: Filters) -> int:
        """Return the number of documents that a filter matches."""
        memory = self.store.memory()
        return 0 if memory is None else len(memory.rows(self.condition(filters)))

    def count_unique_metadata_by_filter(self, filters: Filters, metadata_fields: list[str]) -> dict[str, int]:
        """Return how many values each field of `meta` has among the documents that a filter matches."""
        return {name: self.get_metadata_field_unique_values(name, filters=filters)[1] for name in metadata_fields}

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Return the type of each field of `meta`, by the first value that it has."""
        found: dict[str, dict[str, str]] = {}
        for document in self.filter_documents():
            for name, value in document.meta.items():
                if value is not None:
                    found.setdefault(name, {"type": _TYPES.get(type(value), "keyword")})
        return found

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """Return the least and the greatest value of a field of `meta`, {"min": …, "max": …}; None where it has none."""
        values = self._values(metadata_field, None)
        return {"min": min(values, default=None), "max": max(values, default=None)}

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """Return a page of the values that a field of `meta` has, in order, and how many there are in all.

        Args:
            search_term: what a value must hold, in upper or lower case.
            from_, size: the page.
        """
        values = {(type(value).__name__, repr(value)): value for value in self._values(metadata_field, filters)}
        term = (search_term or "").casefold()
        kept = [
            value
            for _, value in sorted(values.items(), key=lambda one: (str(one[1]), one[0]))
            if term in str(value).casefold()
        ]
        return kept[from_ : from_ + size], len(kept)

    def _values(self, metadata_field: str, filters: Filters | None) -> list[Any]:
        name = metadata_field.removeprefix("meta.")
        return [one.meta[name] for one in self.filter_documents(filters) if one.meta.get(name) is not None]

    def condition(self, filters: Filters | None) -> pc.Expression | None:
        """Return the condition of a filter on the memory's entries; None for all.

        What the memory's columns cannot express is found by looking at every document, as Haystack does.

        Raises:
            FilterError: it is no filter.
        """
        if not filters:
            return None
        if not isinstance(filters, dict) or ("operator" not in filters and "conditions" not in filters):
            raise FilterError(f"Found {filters!r:.80}; expected a filter with an operator, and a field or conditions.")
        found = expression(filters, self.store.columns)
        if found is not None:
            return found
        every = (from_stored(one) for one in self.store.documents(None))
        return id_condition([one.id for one in every if document_matches_filter(filters, one)])

    count_documents_async = _in_thread(count_documents)
    filter_documents_async = _in_thread(filter_documents)
    write_documents_async = _in_thread(write_documents)
    delete_documents_async = _in_thread(delete_documents)
    delete_all_documents_async = _in_thread(delete_all_documents)
    delete_by_filter_async = _in_thread(delete_by_filter)
    update_by_filter_async = _in_thread(update_by_filter)
    count_documents_by_filter_async = _in_thread(count_documents_by_filter)
    count_unique_metadata_by_filter_async = _in_thread(count_unique_metadata_by_filter)
    get_metadata_fields_info_async = _in_thread(get_metadata_fields_info)
    get_metadata_field_min_max_async = _in_thread(get_metadata_field_min_max)
    get_metadata_field_unique_values_async = _in_thread(get_metadata_field_unique_values)


def to_stored(document: Document) -> documents.Document:
    """Return a document as a memory keeps it; raises ValueError where it has no text, or `meta` that is the memory's own."""
    if document.content is None or _OWN in document.meta:
        what = "no content" if document.content is None else f"a field {_OWN!r}, which is the store's own"
        raise ValueError(f"The document {document.id!r} has {what}; a memory holds documents with a text.")
    own: dict[str, Any] = {"embedding": document.embedding}
    own["blob"] = None if document.blob is None else document.blob.to_dict()
    own["sparse_embedding"] = None if document.sparse_embedding is None else document.sparse_embedding.to_dict()
    own = {name: value for name, value in own.items() if value is not None}
    return documents.Document(document.id, document.content, {**document.meta, **({_OWN: own} if own else {})})


def from_stored(found: documents.Document, score: float | None = None) -> Document:
    """Return what a memory keeps as the document that was written."""
    meta = dict(found.metadata)
    own = meta.pop(_OWN, {})
    return Document(
        id=found.id,
        content=found.text,
        meta=meta,
        score=score,
        embedding=own.get("embedding"),
        blob=ByteStream.from_dict(own["blob"]) if "blob" in own else None,
        sparse_embedding=SparseEmbedding.from_dict(own["sparse_embedding"]) if "sparse_embedding" in own else None,
    )
