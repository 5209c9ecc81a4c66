"""Indexes of txtai with their content: the folder that `Embeddings.save` writes, read without txtai."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexing.imports.faiss_keys import keys_by_number
from indexing.imports.sqlite_file import has_table, open_database
from indexing.imports.stored_entry import Store, StoredEntry, StoreOptions, refusing
from memgpt_rag.errors import SourceError
from memgpt_rag.io.json_file import parse_json

_WHAT = "an index of txtai"
_MOST_METADATA = 2**20  # characters of one entry's


def read(path: Path, options: StoreOptions) -> Store:
    """Open an index.

    Raises:
        SourceError: it was saved without content, or is damaged.
    """
    file = path / "documents"
    if not file.is_file():
        raise SourceError(
            f"{path} holds no texts of txtai (a file named documents); name an index that was made with content=True."
        )
    keys, why = keys_by_number(path / "embeddings", "txtai's index")

    def entries() -> Iterator[StoredEntry]:
        with refusing(file, _WHAT, sqlite3.Error), open_database(file, ["sections"]) as database:
            fields = has_table(database, "documents")
            data = "d.data FROM sections s LEFT JOIN documents d ON d.id = s.id" if fields else "NULL FROM sections s"
            for number, id, text, stored in database.execute(
                f"SELECT s.indexid, s.id, s.text, {data} ORDER BY s.indexid"
            ):
                metadata = {} if stored is None else _metadata(stored, f"{file}, entry {id!r}")
                yield StoredEntry(str(id), text, metadata, keys.get(number))

    return Store(f"the index of txtai in {path}", path.name, entries, why)


def _metadata(stored: Any, where: str) -> dict[str, Any]:
    try:
        fields = parse_json(stored) if isinstance(stored, str) and len(stored) <= _MOST_METADATA else None
    except ValueError as error:
        raise SourceError(f"{where}: its data cannot be read: {error}; mend or remove it.") from error
    if not isinstance(fields, dict):
        raise SourceError(
            f"{where}: its data are no JSON object of at most {_MOST_METADATA:,} characters; mend or remove it."
        )
    return {name: value for name, value in fields.items() if name != "text"}
