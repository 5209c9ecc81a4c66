"""Reads text files, JSON Lines and tables with errors that name the file and the line, for datasets of any layout."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from memgpt_rag.errors import SourceError
from memgpt_rag.io.json_file import parse_json
from memgpt_rag.limits import MOST_RECORD_CHARACTERS

DELIMITERS = {".csv": ",", ".tsv": "\t"}  # of the tables that `table_rows` reads


def read_text(path: Path) -> str:
    """Read the text of a file in UTF-8, with or without a byte order mark.

    Raises:
        SourceError: it cannot be read, or is no text in UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}; name a file that is there.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if b"\0" in data or data.startswith(b"%PDF"):
            raise SourceError(
                f"{path.name} is no text file; give a file of text in UTF-8, such as CSV or JSON Lines."
            ) from error
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{place(path, line)}: not UTF-8 (byte {error.start}); save the file as UTF-8.") from error


def place(path: Path, line: int) -> str:
    """Return a position in a file, for messages."""
    return f"{path.name}, line {line}"


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines that are not blank, each after its position for messages.

    Raises:
        SourceError: as `read_text`.
    """
    for number, line in enumerate(read_text(path).split("\n"), 1):  # splitlines would cut at U+2028 inside a text
        if line.strip():
            yield place(path, number), line.rstrip("\r")


def json_lines(path: Path, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a file of JSON Lines, each after its position for messages.

    Args:
        expected: description of a valid line, for the error.

    Raises:
        SourceError: as `read_text`, or a line that is no JSON object.
    """
    for where, line in numbered_lines(path):
        try:
            record = parse_json(line)
        except ValueError as error:
            raise SourceError(f"{where}: {error}; expected {expected}.") from error
        if not isinstance(record, dict):
            raise SourceError(f"{where}: no object; expected {expected}.")
        yield where, record


def table_rows(path: Path, columns: Sequence[str], advice: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table as records, each after the number of its first line; the table's first line names the columns.

    Args:
        path: its ending, one of `DELIMITERS`, tells what stands between two cells.
        columns: those that it must name, each once.
        advice: what to do where it does not, for the error.

    Raises:
        SourceError: as `read_text`, or it is no table with these columns and as many cells in each row.
    """
    csv.field_size_limit(MOST_RECORD_CHARACTERS)
    lines = io.StringIO(read_text(path), newline="")
    reader = csv.reader(lines, delimiter=DELIMITERS[path.suffix.lower()], strict=True)
    names: list[str] | None = None
    line = 1
    try:
        for row in reader:
            started, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if names is None:
                names = [cell.strip() for cell in row]
                if missing := [name for name in columns if names.count(name) != 1]:
                    raise SourceError(
                        f"{place(path, started)}: it names the columns {', '.join(names)}; expected one {missing[0]!r}. {advice}"
                    )
            elif len(row) != len(names):
                raise SourceError(
                    f"{place(path, started)}: {len(row)} cells; expected {len(names)}, as the first line names."
                )
            else:
                yield started, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise SourceError(f"{place(path, line)}: no table of cells ({error}); mend the line.") from error


def text_field(record: dict[str, Any], name: str, where: str, expected: str, *, empty: bool = False) -> str:
    """Return the text in a field of a record.

    Args:
        empty: whether the field may be missing or blank; the result is then "".

    Raises:
        SourceError: the field holds no text.
    """
    value = record.get(name)
    if empty and value is None:
        return ""
    if not isinstance(value, str) or not (empty or value.strip()):
        found = "missing" if value is None else "empty" if isinstance(value, str) else repr(value)
        raise SourceError(f"{where}: its {name} is {found}; expected {expected}.")
    return value.strip()
