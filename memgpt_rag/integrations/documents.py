"""Documents of other frameworks as entries of a memory, and entries as documents.

A document is a text with metadata that JSON can hold. What filters go by are columns of the memory; the whole metadata stands beside
them as JSON, so that it comes back as it was given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from memgpt_rag.choices import ColumnType
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.io.json_file import parse_json
from memgpt_rag.memory.storage.layout import is_column_name, values_schema
from memgpt_rag.passage import Passage

WHOLE = "metadata_json"  # the column that holds all of a document's metadata
_OWN = frozenset(values_schema({}).names)  # columns that every memory has
# Metadata that names a document's file, as loaders of LangChain and those of LlamaIndex and Haystack write it.
_FILE_NAMES = ("source", "file_path")
_KINDS: dict[type, ColumnType] = {str: "string", bool: "boolean", int: "integer", float: "number"}


@dataclass(frozen=True)
class Document:
    """A text under an id, with metadata, and with a title that is embedded and read before it.

    Attributes:
        source: what it is cited by where its metadata names no file; empty for its id.
    """

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    source: str = ""


def inferred_columns(documents: Sequence[Document]) -> dict[str, ColumnType]:
    """Return a column for every name in documents' metadata whose values are all texts, all numbers, or all true or false.

    Names that begin with _ are a framework's own.
    """
    kinds: dict[str, set[ColumnType | None]] = {}
    for document in documents:
        for name, value in document.metadata.items():
            if value is not None and isinstance(name, str) and not name.startswith("_"):
                kinds.setdefault(name, set()).add(_KINDS.get(type(value)))
    columns: dict[str, ColumnType] = {}
    for name, found in kinds.items():
        kind = "number" if found == {"integer", "number"} else found.pop() if len(found) == 1 else None
        if kind is not None and is_column_name(metadata_column(name)):
            columns[metadata_column(name)] = kind
    return columns


def filter_column(name: str, columns: Mapping[str, str]) -> str:
    """Return the column that a filter means by a name in documents' metadata.

    Args:
        columns: the memory's.

    Raises:
        ValueError: a name such as "title", which documents have in their metadata and the memory has no column for.
    """
    if WHOLE not in columns:
        return name
    column = metadata_column(name)
    if column != name and column not in columns:
        known = ", ".join(columns)
        raise ValueError(f"There is no column for {name!r} in the metadata; the memory was created with {known}.")
    return column


def metadata_column(name: str) -> str:
    """Return the column of a name in documents' metadata: "title_" for "title", since every entry has a title of its own."""
    return f"{name}_" if name.rstrip("_") in _OWN else name


def to_passage(document: Document, columns: Mapping[str, str]) -> Passage:
    """Return a document as an entry of a memory with these columns.

    Raises:
        ValueError: an empty text or id, metadata that JSON cannot hold, or a value that its column cannot hold.
    """
    if not document.text.strip() or not document.id:
        raise ValueError(f"The document {document.id!r} has no text or no id; give both.")
    has_whole = WHOLE in columns  # else a job built the memory, and what it has no column for is refused
    cells = {
        metadata_column(str(name)) if has_whole else str(name): value
        for name, value in document.metadata.items()
        if value is not None
    }
    known = {
        name: _cell(document, name, value, columns.get(name))
        for name, value in cells.items()
        if name in columns or not has_whole
    }
    if has_whole:
        known[WHOLE] = _json(document)
    files = (document.metadata.get(name) for name in _FILE_NAMES)
    source = next((file for file in files if file and isinstance(file, str)), document.source)
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
    if WHOLE not in passage.metadata:
        known = {"title": passage.title, "source": passage.source, "place": passage.place}
        return Document(passage.id, passage.text, {**known, **passage.metadata}, passage.title)
    try:
        metadata = parse_json(str(passage.metadata[WHOLE]))
    except ValueError as error:
        raise MemoryFormatError(f"The metadata of the entry {passage.id!r} is damaged: {error}.") from error
    if not isinstance(metadata, dict):
        raise MemoryFormatError(f"The metadata of the entry {passage.id!r} is no object.")
    return Document(passage.id, passage.text, metadata, passage.title)


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
