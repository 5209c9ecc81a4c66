"""FAISS folders of LangChain: an index and a pickle, which is read as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexing.imports.faiss_keys import Keys, keys_by_number
from indexing.imports.pickle_data import Instance, read_pickle
from indexing.imports.stored_entry import Store, StoredEntry, StoreOptions, choose
from memgpt_rag.errors import SourceError

_MOST_BYTES = 2**30
_DOCUMENTS = {
    "langchain_core.documents.base.Document",
    "langchain.schema.document.Document",
    "langchain.schema.Document",
    "langchain.docstore.document.Document",
}
_STORES = {
    "langchain_community.docstore.in_memory.InMemoryDocstore",
    "langchain.docstore.in_memory.InMemoryDocstore",
}


def read(path: Path, options: StoreOptions) -> Store:
    """Open the folder that `FAISS.save_local` writes.

    Raises:
        SourceError: there is none, its pickle holds anything but documents, or it is damaged.
    """
    name = choose((file.stem for file in path.glob("*.faiss")), options.collection, path)
    file = path / f"{name}.pkl"
    documents, ids = _documents(file)
    keys, why = keys_by_number(path / f"{name}.faiss", "LangChain's index")
    if not why and set(keys) != set(ids):
        raise SourceError(
            f"{path}: the index holds {len(keys):,} keys and {file.name} names {len(ids):,}; save the store again."
        )
    return Store(
        f"the FAISS folder of LangChain in {path}", path.name, lambda: _entries(documents, ids, keys, file), why
    )


def _documents(file: Path) -> tuple[dict[Any, Any], dict[int, Any]]:
    """Return the documents by id, and the id of every row of the index."""
    if not file.is_file():
        raise SourceError(f"{file} is missing; name the folder as LangChain wrote it, with both files.")
    if file.stat().st_size > _MOST_BYTES:
        raise SourceError(
            f"{file} is larger than {_MOST_BYTES >> 30} GiB; export its documents to Parquet, and import that."
        )
    try:
        value = read_pickle(file.read_bytes(), _DOCUMENTS | _STORES)
    except ValueError as error:
        raise SourceError(f"{file}: {error}; import only what LangChain itself wrote.") from error
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], Instance) and value[0].kind in _STORES:
        documents, ids = value[0].attributes.get("_dict"), value[1]
        if isinstance(documents, dict) and isinstance(ids, dict) and all(type(row) is int for row in ids):
            return documents, ids
    raise SourceError(f"{file} holds no documents of LangChain; name the folder that FAISS.save_local wrote.")


def _entries(documents: dict[Any, Any], ids: dict[int, Any], keys: Keys, file: Path) -> Iterator[StoredEntry]:
    for row, id in sorted(ids.items()):
        if not isinstance(id, str) or not isinstance(found := documents.get(id), Instance):
            raise SourceError(f"{file}: row {row} of the index has no document; save the store again.")
        text, metadata = found.attributes.get("page_content"), found.attributes.get("metadata")
        if not isinstance(text, str | None) or not isinstance(metadata, dict | None):
            raise SourceError(
                f"{file}: the document {id!r} has no text or no metadata of the usual kind; save the store again."
            )
        yield StoredEntry(id, text, metadata or {}, keys.get(row))
