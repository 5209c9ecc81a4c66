"""FAISS folders of LlamaIndex: JSON files of nodes, and an index that is a FAISS file whatever its name says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexing.imports.faiss_keys import Keys, keys_by_number
from indexing.imports.stored_entry import Store, StoredEntry, StoreOptions, choose, refusing
from memgpt_rag.errors import SourceError
from memgpt_rag.io.json_file import parse_json, read_json

_WHAT = "a folder of LlamaIndex"
_MOST_BYTES = 2**30
_VECTORS = "default__vector_store.json"


def read(path: Path, options: StoreOptions) -> Store:
    """Open the folder that `StorageContext.persist` writes.

    Raises:
        SourceError: there is none, its vectors are no FAISS index, or it is damaged.
    """
    nodes = _fields(path / "docstore.json", "docstore/data")
    indexes = _fields(path / "index_store.json", "index_store/data")
    name = choose(indexes, options.collection, path)
    with refusing(path / "index_store.json", _WHAT, ValueError, TypeError, KeyError, AttributeError):
        named = parse_json(indexes[name]["__data__"])["nodes_dict"]
        ids = {int(number): id for number, id in named.items()}
        if len(ids) < len(named):
            raise ValueError("two nodes with one number")
    keys, why = keys_by_number(path / _VECTORS, "LlamaIndex's index")
    if not why and not set(ids) <= set(keys):
        raise SourceError(
            f"{path}: the index holds {len(keys):,} keys and its nodes name others; persist the index again."
        )
    return Store(
        f"the index {name!r} of LlamaIndex in {path}", path.name, lambda: _entries(nodes, ids, keys, path), why
    )


def _fields(file: Path, part: str) -> dict[str, Any]:
    with refusing(file, _WHAT, ValueError, OSError):
        value = read_json(file, max_bytes=_MOST_BYTES)
        if not isinstance(value, dict) or not isinstance(value.get(part), dict):
            raise ValueError(f"it has no {part!r}")
        return dict(value[part])


def _entries(nodes: dict[str, Any], ids: dict[int, Any], keys: Keys, path: Path) -> Iterator[StoredEntry]:
    for number, id in sorted(ids.items()):
        node = nodes.get(id) if isinstance(id, str) else None
        data = node.get("__data__") if isinstance(node, dict) else None
        if not isinstance(data, dict):
            raise SourceError(f"{path}: the node {id!r} of the index is not in docstore.json; persist the index again.")
        resource = data.get("text_resource")
        text = resource.get("text") if isinstance(resource, dict) else data.get("text")
        metadata = data.get("metadata") or {}
        if not isinstance(text, str | None) or not isinstance(metadata, dict):
            raise SourceError(
                f"{path}: the node {id!r} has a text or metadata of another kind; persist the index again."
            )
        yield StoredEntry(id, text, metadata, keys.get(number))
