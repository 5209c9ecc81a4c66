"""Records of JSON Lines, CSV and Parquet: each becomes a document of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import Any

from indexing.job_log import Reject
from indexing.seen import SeenIds
from indexing.sources.document import BlockBuilder, Document
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.plain_text import numbered_heading
from memgpt_rag.errors import SourceError

# Usual names of these fields in datasets, the most specific first.
_TEXT = ("text", "content", "contents", "body", "passage", "paragraphs", "context", "document", "abstract", "article")
_TITLE = ("title", "headline", "name", "heading")
_ID = ("id", "_id", "doc_id", "docid", "uuid")


class RecordReader:
    """Turns the records of one file into documents, and checks that their ids are unique."""

    def __init__(self, name: str, unit: str, options: ReadOptions):
        self._name, self._unit, self._fields, self._options = name, unit, options.fields, options
        self._seen = SeenIds()

    def __call__(self, record: Callable[[], dict[str, Any]], first: int, last: int) -> Iterator[Document]:
        """Yield the document of a record; nothing if it is invalid and `on_reject` gets the error."""
        try:
            yield self._document(record(), first, last)
        except SourceError as error:
            if self._options.on_reject is None:
                raise
            position = f"{self._unit} {first}"
            self._options.on_reject(
                Reject(self._name, position, str(error).removeprefix(f"{self._name}, {position}: "))
            )

    def _document(self, record: dict[str, Any], first: int, last: int) -> Document:
        where = f"{self._name}, {self._unit} {first}"
        text_field = self._field(record, self._fields.text, _TEXT, "text", where)
        if text_field is None:
            raise SourceError(
                f"{where}: found the fields {', '.join(record)} and none that is usual for a text ({', '.join(_TEXT)}); name it with --text-field."
            )
        title_field = self._field(record, self._fields.title, _TITLE, "title", where)
        id_field = self._field(record, self._fields.id, _ID, "id", where)
        id = "" if id_field is None or record[id_field] is None else str(record[id_field])
        if id and (at := self._seen.where(id)) is not None:
            raise SourceError(f"{where}: its {id_field} {id!r} is that of {self._unit} {at} already; ids must differ.")
        title = "" if title_field is None or record[title_field] is None else str(record[title_field]).strip()
        builder = BlockBuilder()
        for paragraph in self._paragraphs(record[text_field], f"{where}: its {text_field}"):
            if isinstance(record[text_field], list) and (level := numbered_heading(paragraph)) is not None:
                builder.heading(level, paragraph.strip(), first)
            elif paragraph.strip():
                builder.text(paragraph, first, last)
        metadata = {
            name: cell(record.get(name), kind, f"{where}: its {name}") for name, kind in self._options.metadata.items()
        }
        known = {name: value for name, value in metadata.items() if value is not None}
        if id:
            self._seen.add(id, first)
        return Document(self._name, id or str(first), title, self._unit, builder.blocks(), known)

    def _field(
        self, record: dict[str, Any], named: str | None, usual: Iterable[str], what: str, where: str
    ) -> str | None:
        if named is not None and named not in record:
            raise SourceError(f"{where}: has no field {named!r} for its {what}; found {', '.join(record)}.")
        return named if named is not None else next((field for field in usual if field in record), None)

    def _paragraphs(self, value: Any, what: str) -> list[str]:
        paragraphs = value if isinstance(value, list) else [value]
        for paragraph in paragraphs:
            if not isinstance(paragraph, str):
                raise SourceError(f"{what} is {kind_of(paragraph)}, expected text or a list of texts.")
        return paragraphs


def cell(value: Any, kind: str, what: str) -> Any:
    """Convert a value to the type of a metadata column; None if it is missing.

    Raises:
        SourceError: it is not of the column's type; texts, as in CSV, are parsed as that type.
    """
    if value is None or (value == "" and kind != "string"):
        return None
    words = value.strip().casefold() if isinstance(value, str) else None
    try:
        if kind == "string" and isinstance(value, str):
            return value
        if kind == "boolean" and (isinstance(value, bool) or words in ("true", "false")):
            return value if words is None else words == "true"
        whole = kind == "integer" and not isinstance(value, bool) and (words is not None or int(value) == value)
        if whole and -(2**63) <= int(value) < 2**63:
            return int(value)
        if kind == "number" and not isinstance(value, bool) and math.isfinite(float(value)):
            return float(value)
        if kind == "date" and isinstance(value, (str, date)):
            return date.fromisoformat(value) if isinstance(value, str) else date(value.year, value.month, value.day)
    except (TypeError, ValueError, OverflowError):
        pass
    expected = {"integer": "an integer", "date": "a date such as 2024-05-01"}.get(kind, f"a {kind}")
    raise SourceError(f"{what} is {value!r:.80}, expected {expected}.")


def kind_of(value: Any) -> str:
    """Return the name of a value's type in JSON."""
    return {dict: "object", list: "list", str: "string", bool: "truth value", type(None): "null"}.get(
        type(value), "number"
    )
