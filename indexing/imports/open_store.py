"""Which file reads which store."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from indexing.imports.stored_entry import Store, StoreOptions
from memgpt_rag.choices import STORE_KINDS, StoreKind
from memgpt_rag.errors import SourceError

# Kinds whose users choose the names of the fields; the others know where their texts are.
_OWN_FIELDS: tuple[StoreKind, ...] = ("lancedb", "parquet", "qdrant")


def open_store(kind: StoreKind, path: Path, options: StoreOptions = StoreOptions()) -> Store:
    """Open a store.

    Raises:
        SourceError: there is none, it is of another kind, or damaged; or a field is named in a store that names its own.
        MissingPackageError: its library is needed and not installed.
    """
    assert kind in STORE_KINDS
    named = {"--text-field": options.fields.text, "--id-field": options.fields.id, "--vector-field": options.vector}
    if kind not in _OWN_FIELDS and (given := [name for name, field in named.items() if field is not None]):
        raise SourceError(
            f"A store of the kind {kind} has fields of its own for text, id and vector; leave out {given[0]}."
        )
    if not path.exists():
        raise SourceError(f"{path} does not exist; name the {'file' if kind == 'parquet' else 'folder'} of the store.")
    read: Callable[[Path, StoreOptions], Store] = import_module(f"indexing.imports.{kind.replace('-', '_')}").read
    return read(path, options)
