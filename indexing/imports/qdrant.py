"""Local collections of Qdrant: the folder that `QdrantClient(path=…)` writes, read without Qdrant."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from indexing.imports.pickle_data import Instance, read_pickle
from indexing.imports.sqlite_file import open_database
from indexing.imports.stored_entry import Store, StoredEntry, StoreOptions, choose, record_entry, refusing, vector_from
from memgpt_rag.errors import SourceError

_WHAT = "a local collection of Qdrant"
# Each point is a pickle; this is all that may occur in one.
_POINT = "qdrant_client.http.models.models.PointStruct"


def read(path: Path, options: StoreOptions) -> Store:
    """Open a collection.

    Raises:
        SourceError: there is no such collection, or it is damaged.
    """
    collections = path / "collection"
    if not collections.is_dir():
        raise SourceError(f"{path} has no folder named collection; name the folder that QdrantClient(path=…) wrote.")
    name = choose((child.name for child in collections.iterdir() if child.is_dir()), options.collection, path)
    file = collections / name / "storage.sqlite"

    def entries() -> Iterator[StoredEntry]:
        with refusing(file, _WHAT, sqlite3.Error), open_database(file, ["points"]) as database:
            rows = database.execute("SELECT point FROM points ORDER BY rowid")
            for number, (data,) in enumerate(rows, 1):
                yield _entry(data, options, f"{file}, point {number:,}")

    next(entries(), None)  # a wrong folder, and a wrong field, are reported before a model is loaded
    return Store(f"the collection {name!r} of Qdrant in {path}", name, entries)


def _entry(data: Any, options: StoreOptions, where: str) -> StoredEntry:
    try:
        point = read_pickle(data if isinstance(data, bytes) else b"", {_POINT})
    except ValueError as error:
        raise SourceError(f"{where}: {error}; import only what Qdrant itself wrote.") from error
    if not isinstance(point, Instance) or not isinstance(point.attributes.get("payload"), dict):
        raise SourceError(f"{where}: has no payload, and so no text; add one, or remove the point.")
    payload, id = point.attributes["payload"], point.attributes.get("id")
    if isinstance(id, bool) or not isinstance(id, str | int):
        raise SourceError(f"{where}: has no id; import only what Qdrant itself wrote.")
    entry = record_entry(payload, options, where, str(id))
    return replace(entry, vector=vector_from(_vector(point.attributes.get("vector"), options.vector, where), where))


def _vector(vectors: Any, named: str | None, where: str) -> Any:
    """Return the one vector of a point, or the one that the user named."""
    if not isinstance(vectors, dict):
        return vectors
    if named is None and len(vectors) > 1:
        raise SourceError(
            f"{where}: has several vectors ({', '.join(map(str, vectors))[:200]}); name one with --vector-field."
        )
    return vectors.get(named) if named is not None else next(iter(vectors.values()), None)
