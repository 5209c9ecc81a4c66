"""Records of JSON Lines, JSON, YAML, CSV and Parquet: each becomes a document of its own."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

from indexing.job_log import Reject
from indexing.seen import SeenIds
from indexing.sources.document import Block, BlockBuilder, Document
from indexing.sources.read_options import ReadOptions, RecordFields
from indexing.sources.readers.text.headings import numbered_heading
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import shortened
from memgpt_rag.limits import MOST_RECORD_CHARACTERS

# Usual names of these fields in datasets, the most specific first.
_TEXT = (
    "text", "content", "contents", "page_content", "body", "passage", "paragraphs", "context", "document", "abstract", "article",
)  # fmt: skip
_TITLE = ("title", "headline", "name", "heading")
_ID = ("id", "_id", "doc_id", "docid", "uuid")
_HALF = re.compile("[\ud800-\udfff]")
_MOST_NAMES = 20  # fields listed in a message


class RecordReader:
    """Turns the records of one file into documents, and checks that their ids are unique."""

    def __init__(self, name: str, unit: str, options: ReadOptions):
        self._name, self._unit, self._fields, self._options = name, unit, options.fields, options
        self._seen = SeenIds()

    def __call__(self, record: Callable[[], Mapping[str, Any]], first: int, last: int) -> Iterator[Document]:
        """Yield the document of a record; nothing if it is invalid and `on_reject` gets the error.

        Args:
            record: returns the record; what it raises as a SourceError is an error of this record.
            first, last: its first and last unit.

        Raises:
            SourceError: the record is invalid, and there is no `on_reject`.
        """
        try:
            yield self._document(record(), first, last)
        except SourceError as error:
            if self._options.on_reject is None:
                raise
            position = f"{self._unit} {first}"
            self._options.on_reject(
                Reject(self._name, position, str(error).removeprefix(f"{self._name}, {position}: "))
            )

    def _document(self, record: Mapping[str, Any], first: int, last: int) -> Document:
        where = f"{self._name}, {self._unit} {first}"
        text_field, title_field, id_field = record_fields(record, self._fields, where)
        id = "" if id_field is None else _plain(record[id_field], f"{where}: its {id_field}")
        if id and (at := self._seen.where(id)) is not None:
            raise SourceError(
                f"{where}: its {id_field} {shortened(id)!r} is that of {self._unit} {at} already; ids must differ."
            )
        title = "" if title_field is None else _plain(record[title_field], f"{where}: its {title_field}")
        blocks = _blocks(record[text_field], first, last, f"{where}: its {text_field}")
        metadata: dict[str, Any] = {}
        for name, kind in self._options.metadata.items():
            field = find_field(record, name, where)
            value = None if field is None else cell(record[field], kind, f"{where}: its {field}")
            if value is not None:
                metadata[name] = value
        id = id or self._name_by_place(first)
        self._seen.add(id, first)
        return Document(self._name, id, title, self._unit, blocks, metadata)

    def _name_by_place(self, place: int) -> str:
        """Return an id for a record without one, which no record before it has; a later one that has it is an error."""
        id, times = f"{self._unit}-{place}", 1
        while self._seen.where(id) is not None:
            times += 1
            id = f"{self._unit}-{place}-{times}"
        return id


def record_fields(record: Mapping[str, Any], fields: RecordFields, where: str) -> tuple[str, str | None, str | None]:
    """Return the names of a record's fields for its text, title and id; None for a title or id that it lacks.

    Raises:
        SourceError: it has no field for a text, or none of a name that the user gave.
    """
    text = _field(record, fields.text, _TEXT, "text", where)
    if text is None:
        raise SourceError(
            f"{where}: found the fields {_names(record)} and none that is usual for a text ({', '.join(_TEXT)}); name it "
            "with --text-field."
        )
    return text, _field(record, fields.title, _TITLE, "title", where), _field(record, fields.id, _ID, "id", where)


def holds_text(record: Any, fields: RecordFields) -> bool:
    """Return whether a value is a record with a text: a mapping whose field for it holds a text or a list of texts."""
    if not isinstance(record, Mapping):
        return False
    try:
        text = record[record_fields(record, fields, "")[0]]
    except SourceError:
        return False
    return isinstance(text, str) or (isinstance(text, list) and all(isinstance(part, str) for part in text))


def find_field(record: Mapping[str, Any], name: str, where: str) -> str | None:
    """Return the field of a record with a name: exactly it, or it in other case or with spaces around; None without one.

    Raises:
        SourceError: two fields differ from the name in case or spaces only.
    """
    if name in record:
        return name
    found = _folded(tuple(record)).get(name.strip().casefold())
    if found is None:
        return None
    if len(found) > 1:
        raise SourceError(f"{where}: the fields {_names(found)} have the same name but for case; rename one of them.")
    return found[0]


@lru_cache(maxsize=16)  # most records of a file have the same fields
def _folded(fields: tuple[str, ...]) -> dict[str, list[str]]:
    """Return fields by their names without case and spaces around."""
    found: dict[str, list[str]] = {}
    for field in fields:
        found.setdefault(field.strip().casefold(), []).append(field)
    return found


def require_distinct(columns: Sequence[str], name: str) -> None:
    """Check that no two columns of a table have one name; columns without a name may be many.

    Raises:
        SourceError: with the columns and the file.
    """
    twice = [column for column, times in Counter(columns).items() if column and times > 1]
    if twice:
        raise SourceError(
            f"{name}: {'several columns are' if len(twice) == 1 else 'its columns include several'} called "
            f"{_names(map(repr, twice))}; rename them, so that every column has a name of its own."
        )


def _field(record: Mapping[str, Any], named: str | None, usual: Iterable[str], what: str, where: str) -> str | None:
    if named is None:
        found = (find_field(record, name, where) for name in usual)
        return next((field for field in found if field is not None and _is_usable(record[field], what)), None)
    field = find_field(record, named, where)
    if field is None:
        raise SourceError(f"{where}: has no field {named!r} for its {what}; found {_names(record)}.")
    return field


def _is_usable(value: Any, what: str) -> bool:
    """Return whether a field with a usual name can be what it is usual for; a person's `name` may be an object."""
    return what == "text" or not isinstance(value, dict | list | bool | bytes)


def _names(names: Iterable[str]) -> str:
    names = [shortened(name, 80) for name in names]
    return ", ".join(names[:_MOST_NAMES] + ([f"and {len(names) - _MOST_NAMES} more"] if names[_MOST_NAMES:] else []))


def _plain(value: Any, what: str) -> str:
    """Return a title or an id as text; "" for null."""
    if isinstance(value, dict | list | bool | bytes):
        raise SourceError(f"{what} is {type_name(value)}, expected text or a number.")
    return "" if value is None else whole_characters(str(value).strip(), what)


def _blocks(value: Any, first: int, last: int, what: str) -> tuple[Block, ...]:
    paragraphs = value if isinstance(value, list) else [value]
    for paragraph in paragraphs:
        if not isinstance(paragraph, str):
            raise SourceError(f"{what} is {type_name(paragraph)}, expected text or a list of texts.")
    require_short(sum(map(len, paragraphs)), what)
    builder = BlockBuilder()
    for paragraph in paragraphs:
        whole_characters(paragraph, what)
        if isinstance(value, list) and (level := numbered_heading(paragraph)) is not None:
            builder.heading(level, paragraph.strip(), first)
        elif paragraph.strip():
            builder.text(paragraph, first, last)
    return builder.blocks()


def require_short(characters: int, what: str) -> None:
    """Check the length of a record's text.

    Raises:
        SourceError: it is longer than `MOST_RECORD_CHARACTERS`.
    """
    if characters > MOST_RECORD_CHARACTERS:
        raise SourceError(
            f"{what} has {characters:,} characters, more than {MOST_RECORD_CHARACTERS:,}; divide it into several records."
        )


def whole_characters(text: str, what: str) -> str:
    """Return a text, if it holds no half of a surrogate pair, as a JSON escape such as \\ud83d without its other half.

    Raises:
        SourceError: it holds one, which cannot be stored as UTF-8.
    """
    if not text.isascii() and (half := _HALF.search(text)):
        raise SourceError(
            f"{what} holds half of a character (\\u{ord(half[0]):04x} without its other half); mend or remove it."
        )
    return text


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
            return whole_characters(value, what)
        if kind == "boolean" and (isinstance(value, bool) or words in ("true", "false")):
            return value if words is None else words == "true"
        whole = kind == "integer" and not isinstance(value, bool) and (words is not None or int(value) == value)
        if whole and -(2**63) <= int(value) < 2**63:
            return int(value)
        if kind == "number" and not isinstance(value, bool) and math.isfinite(float(value)):
            return float(value)
        if kind == "date" and isinstance(value, (str, date)):
            return (
                date.fromisoformat(value.strip())
                if isinstance(value, str)
                else date(value.year, value.month, value.day)
            )
    except (TypeError, ValueError, OverflowError):
        pass
    expected = {"integer": "an integer", "date": "a date such as 2024-05-01"}.get(kind, f"a {kind}")
    raise SourceError(f"{what} is {value!r:.80}, expected {expected}.")


def type_name(value: Any) -> str:
    """Return the name of a value's type in JSON."""
    kinds = {dict: "object", list: "list", str: "string", bool: "truth value", type(None): "null", bytes: "binary data"}
    return kinds.get(type(value), "date" if isinstance(value, date) else "number")
