"""Reads triples from CSV, TSV and JSON Lines: names in the columns subject, property and object."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from memgpt_rag.errors import SourceError, first_line
from memgpt_rag.io.json_file import parse_json
from memgpt_rag.io.printable import shortened
from memgpt_rag.tasks.graph.knowledge import MOST_TEXT, Knowledge, Place, Triple, normalized, require_short

COLUMNS = ("subject", "property", "object")
_EXPECTED = "expected the columns subject, property, object, and, if need be, negated"


def read_table(text: str, source: str, knowledge: Knowledge, *, delimiter: str) -> None:
    """Add the triples of a CSV text, whose first row names the columns, to what is known.

    Raises:
        SourceError: a column is missing, or a row has more or fewer cells than there are columns, or an empty one.
    """
    for record, place in _rows(text, source, delimiter):
        add_named(record, place, knowledge)


def read_json_lines(text: str, source: str, knowledge: Knowledge) -> None:
    """Add the triples of JSON Lines, one object a line, to what is known.

    Raises:
        SourceError: a line is no JSON object, or lacks a part of the triple.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = Place(source, number)
        try:
            record = parse_json(line)
        except ValueError as error:
            raise SourceError(f"{place}: {error}; {_EXPECTED}.") from error
        if not isinstance(record, dict):
            raise SourceError(f"{place}: no object; {_EXPECTED}.")
        add_named(record, place, knowledge)


def add_named(record: Mapping[str, Any], place: Place, knowledge: Knowledge) -> None:
    """Add a triple of names; an object that is a number is a literal.

    Raises:
        SourceError: a part is missing, no text or too long.
    """
    parts = {}
    for name in COLUMNS:
        value = record.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            shown = "missing" if value is None else shortened(repr(value))
            raise SourceError(f"{place}: its {name} is {shown}; {_EXPECTED}.")
        require_short(value, place)
        parts[name] = " ".join(value.split())
    negated = record.get("negated") or False
    if negated not in (True, False, "true", "false"):
        raise SourceError(f"{place}: its negated is {shortened(repr(negated))}; expected true or false.")
    is_literal = _is_number(parts["object"])
    ids = {name: normalized(value) for name, value in parts.items()}
    for name in COLUMNS[: 2 if is_literal else 3]:
        knowledge.names[ids[name]].setdefault("", parts[name])
    end = parts["object"] if is_literal else ids["object"]
    knowledge.add(Triple(ids["subject"], ids["property"], end, place, is_literal, negated=negated in (True, "true")))


def _rows(text: str, source: str, delimiter: str) -> Iterator[tuple[dict[str, str], Place]]:
    """The rows with the line at which each begins."""
    csv.field_size_limit(4 * MOST_TEXT)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header, begins = None, 1
    try:
        for row in rows:
            place, begins = Place(source, begins), rows.line_num + 1
            if not row:
                continue
            if header is None:
                header = [name.strip().lower() for name in row]
                if missing := [name for name in COLUMNS if name not in header]:
                    raise SourceError(f"{place}: no column {' and no column '.join(missing)}; {_EXPECTED}.")
            elif len(row) != len(header):
                raise SourceError(
                    f"{place}: {len(row)} cells in a table of {len(header)} columns; quote cells with commas."
                )
            else:
                yield dict(zip(header, row)), place
    except csv.Error as error:
        raise SourceError(f"{source}, line {rows.line_num:,}: {first_line(error)}; correct the row.") from error


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return any(character.isdigit() for character in text)
