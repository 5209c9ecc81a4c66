"""JSON: a list of records, one list of records in an object, a stream of objects, or any other structure as lines of text."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from indexing.sources.document import Document, Note
from indexing.sources.encodings import decode
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.records.json_text import Item, structure_blocks
from indexing.sources.readers.records.jsonl import DECODER, json_fault
from indexing.sources.readers.records.records import RecordReader, holds_text, type_name
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import counted, shortened
from memgpt_rag.limits import MOST_JSON_BYTES, MOST_JSON_CHARACTERS

_SPACE = re.compile(r"[ \t\n\r]*")
_FIRST_ITEMS = 10  # by which it is decided whether a list holds records


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a JSON file.

    A list of objects with a text, also as the only such list in an object, or such objects one after the other, are
    records. Any other value is one document, whose keys are headings and lines "key: value".

    Raises:
        SourceError: not JSON, too large, too deep, or a record without a text; the message gives the line or item.
    """
    if path.stat().st_size > MOST_JSON_BYTES:
        raise SourceError(
            f"{name} has {path.stat().st_size:,} bytes, more than {MOST_JSON_BYTES:,}; make it JSON Lines, as with "
            "jq -c '.[]', whose lines are read one at a time."
        )
    text = decode(path, name, options)
    parser = _Parser(text, name)
    start = parser.skip(0)
    if start == len(text):
        return
    if text[start] == "[":
        items = parser.items(start)
        unit = "item"
    else:
        items = parser.stream(start)
        unit = "line"
    head = list(itertools.islice(items, _FIRST_ITEMS))
    if (unit == "item" or len(head) > 1) and any(holds_text(item.value, options.fields) for item in head):
        yield from _records(itertools.chain(head, items), unit, name, options)
        return
    if len(text) > MOST_JSON_CHARACTERS:
        raise SourceError(
            f"{name} holds no list of records with a text and has {len(text):,} characters, more than "
            f"{MOST_JSON_CHARACTERS:,}; divide it, or name the field with a text with --text-field."
        )
    if unit == "line" and len(head) == 1 and isinstance(head[0].value, dict):
        wrapped = _wrapped_records(head[0].value, options)
        if wrapped is not None:
            yield from _wrapped(head[0].value, wrapped, name, options)
            return
    yield Document(name, "", _title(head), "line", structure_blocks([*head, *items], name))


class _Parser:
    """Parses the values of a JSON text one after the other."""

    def __init__(self, text: str, name: str):
        self._text, self._name = text, name
        self._line, self._counted = 1, 0  # number of the line at an offset

    def skip(self, at: int) -> int:
        """Return the offset of what follows spaces."""
        return _SPACE.match(self._text, at).end()  # type: ignore[union-attr]  # matches no characters, too

    def stream(self, at: int) -> Iterator[Item]:
        """Yield the values up to the end of the text; commas between them are not needed."""
        while (at := self.skip(at)) < len(self._text):
            item, at = self._value(at)
            yield item

    def items(self, at: int) -> Iterator[Item]:
        """Yield the values of a list that begins at an offset, and is all of the text."""
        at = self.skip(at + 1)
        while not self._text.startswith("]", at):
            item, at = self._value(at)
            yield item
            at = self.skip(at)
            if self._text.startswith(",", at):
                at = self.skip(at + 1)
                if self._text.startswith("]", at):
                    raise self._broken("a value is missing after the last comma", at)
            elif not self._text.startswith("]", at):
                raise self._broken("a comma or ] is missing", at)
        if self.skip(at + 1) < len(self._text):
            raise self._broken("there is more after the end of the list", self.skip(at + 1))

    def _value(self, at: int) -> tuple[Item, int]:
        first = self._line_at(at)
        try:
            value, end = DECODER.raw_decode(self._text, at)
        except json.JSONDecodeError as error:
            raise self._broken(error.msg, error.pos) from error
        except (ValueError, RecursionError) as error:
            raise SourceError(
                f"{self._name}, line {first}: broken JSON ({json_fault(error)}); mend it, or leave it out with --exclude."
            ) from error
        return Item(value, first, self._line_at(end)), end

    def _line_at(self, offset: int) -> int:
        self._line += self._text.count("\n", self._counted, offset)
        self._counted = offset
        return self._line

    def _broken(self, what: str, offset: int) -> SourceError:
        line = self._text.count("\n", 0, offset) + 1
        column = offset - self._text.rfind("\n", 0, offset)
        return SourceError(
            f"{self._name}, line {line}: broken JSON ({what} at column {column}); mend it, or leave it out with --exclude."
        )


def _records(items: Iterable[Item], unit: str, name: str, options: ReadOptions) -> Iterator[Document]:
    to_document = RecordReader(name, unit, options)
    for number, item in enumerate(items, 1):
        first, last = (number, number) if unit == "item" else (item.first, item.last)
        yield from to_document(partial(_object, item.value, f"{name}, {unit} {first}"), first, last)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SourceError(f'{where}: found a JSON {type_name(value)}, expected an object such as {{"text": "…"}}.')
    return value


def _wrapped_records(value: dict[str, Any], options: ReadOptions) -> str | None:
    """Return the key of the only list of records in an object; None if it is no such object."""
    if holds_text(value, options.fields):
        return None
    lists = [key for key, items in value.items() if isinstance(items, list) and items and isinstance(items[0], dict)]
    if len(lists) != 1:
        return None
    head = value[lists[0]][:_FIRST_ITEMS]
    return lists[0] if any(holds_text(item, options.fields) for item in head) else None


def _wrapped(value: dict[str, Any], key: str, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    others = ", ".join(shortened(other, 40) for other in itertools.islice((one for one in value if one != key), 10))
    left = f"; its other fields are left out ({others})" if others else ""
    yield Note(name, f"its records are the {counted(len(value[key]), 'item')} of {shortened(key, 40)!r}{left}")
    yield from _records((Item(item, 0, 0) for item in value[key]), "item", name, options)


def _title(head: list[Item]) -> str:
    """Return the title that a document has in a field of its own."""
    value = head[0].value if len(head) == 1 else None
    title = next((value[key] for key in ("title", "name") if key in value), "") if isinstance(value, dict) else ""
    return title.strip() if isinstance(title, str) and not re.search("[\ud800-\udfff]", title) else ""
