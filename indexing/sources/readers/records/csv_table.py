"""Comma-separated values and the like, whose first line names the columns."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from indexing.sources.document import Document, Note
from indexing.sources.encodings import decoded_lines
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.records.records import RecordReader, require_distinct
from memgpt_rag.errors import SourceError
from memgpt_rag.limits import MOST_RECORD_CHARACTERS

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SAMPLE_CHARACTERS, _SAMPLE_LINES = 2**18, 200
# The first line of a CSV file by Excel may name its delimiter.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


@dataclass(frozen=True)
class _Dialect:
    """How a table is divided: its delimiter, and whether spaces after it are left out, as in `id, "a, b"`."""

    delimiter: str
    skips_spaces: bool = False

    def rows(self, lines: Iterable[str], *, strict: bool) -> list[list[str]]:
        rows = csv.reader(lines, delimiter=self.delimiter, skipinitialspace=self.skips_spaces, strict=strict)
        return [row for row in rows if row]


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a table of comma-, semicolon-, tab- or bar-separated values, whose first line names the columns.

    Raises:
        SourceError: columns with one name, a row with too many or too few fields, an unclosed quotation, or no text; the
            message gives the line.
    """
    csv.field_size_limit(MOST_RECORD_CHARACTERS)
    to_document = RecordReader(name, "line", options)
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = decoded_lines(path, name, options, "")
    sample = _sample(lines)
    delimiter, start = options.delimiter, 0
    if sample and (named := _SEPARATOR_LINE.fullmatch(sample[0])):
        delimiter, start = delimiter or named[1], 1
    dialect = _detect(sample[start:], (delimiter,) if delimiter else tuple(dict.fromkeys((usual, *_DELIMITERS))))
    if delimiter is None and dialect.delimiter != usual:
        yield Note(
            name,
            f"its columns are divided by {_DELIMITERS[dialect.delimiter]}, as was detected; --delimiter names another "
            "delimiter",
        )
    header: list[str] | None = None
    for first, last, record in _records(itertools.chain(sample[start:], lines), dialect, 1 + start):
        if record is not None and not "".join(record).strip():
            continue
        if header is None:
            header = [column.strip() for column in _fields(record, dialect, f"{name}, line {first}")]
            require_distinct(header, name)
        else:
            where = f"{name}, line {first}"
            yield from to_document(partial(_csv_record, header, record, dialect, where), first, last)


def _sample(lines: Iterator[str]) -> list[str]:
    """Take lines from the start of a file, to detect its delimiter."""
    sample: list[str] = []
    characters = 0
    while characters < _SAMPLE_CHARACTERS and len(sample) < _SAMPLE_LINES and (line := next(lines, "")):
        sample.append(line)
        characters += len(line)
    return sample


def _detect(sample: list[str], delimiters: tuple[str, ...]) -> _Dialect:
    """Return the dialect under which most rows of a sample have the header's number of columns, and this two or more.

    Args:
        delimiters: those to choose from; the first one is chosen where none fits better.
    """
    best, best_share = None, -1.0
    # A long line costs time, and its end may be cut.
    lines = list(itertools.takewhile(lambda line: len(line) < _SAMPLE_CHARACTERS, sample))
    for delimiter in delimiters:
        dialect = _Dialect(delimiter)
        header = next(iter(_try_rows(dialect, lines[:1])), [])
        if len(header) > 1 and all(column.startswith(" ") for column in header[1:]) and delimiter != " ":
            dialect = _Dialect(delimiter, skips_spaces=True)
        rows = _try_rows(dialect, lines)
        rows = rows[:-1] if len(rows) > 2 else rows  # the last one may go on after the sample
        share = sum(len(row) == len(header) for row in rows) / max(1, len(rows)) if len(header) > 1 else 0.0
        if share > best_share:
            best, best_share = dialect, share
    assert best is not None
    return best


def _try_rows(dialect: _Dialect, lines: list[str]) -> list[list[str]]:
    try:
        return dialect.rows(lines, strict=False)
    except csv.Error:
        return []


def _records(pieces: Iterable[str], dialect: _Dialect, number: int) -> Iterator[tuple[int, int, list[str] | None]]:
    """Yield the lines of each record, which has more than one where a quoted field holds line breaks.

    The reader of the standard library finds the ends of records, too, but holds what is in an unclosed quotation, and
    cannot go on after an error.

    Args:
        pieces: lines, or pieces of lines that are too long.
        number: number of the first line.

    Yields:
        number of the first line, number of the last line, the lines; None for the lines of a record that is too long.
    """
    opening = re.compile(rf"(?:\A|{re.escape(dialect.delimiter)}){' *' if dialect.skips_spaces else ''}\"")
    record: list[str] = []
    first, length, quoted, rest = number, 0, False, ""
    for piece in pieces:
        length += len(piece)
        whole = piece.endswith(("\n", "\r")) or len(piece) < MOST_RECORD_CHARACTERS
        piece, begins = rest + piece, not rest
        rest = ""
        if not whole:  # quotation marks at the end belong with what follows; two of them change nothing
            kept = piece.rstrip('"')
            rest = kept[-1:] + '"' * ((len(piece) - len(kept)) % 2)
            piece = kept[:-1]
        if '"' in piece:
            quoted = _is_quoted(piece if begins else f"\n{piece}", quoted, opening)
        if length <= MOST_RECORD_CHARACTERS:
            record.append(piece)
        else:
            record = []
        if whole:
            if not quoted:
                yield first, number, record if length <= MOST_RECORD_CHARACTERS else None
                record, length, first = [], 0, number + 1
            number += 1
    if length:
        yield first, max(first, number - (not rest)), record if length <= MOST_RECORD_CHARACTERS else None


def _is_quoted(line: str, quoted: bool, opening: re.Pattern[str]) -> bool:
    """Return whether the end of a line is inside a quoted field.

    Args:
        quoted: whether its beginning is.
        opening: matches where a quoted field begins.
    """
    at = 0
    while True:
        if quoted:
            at = line.find('"', at)
            if at < 0:
                return True
            if line.startswith('""', at):
                at += 2
                continue
            quoted, at = False, at + 1
        else:
            found = opening.search(line, at)
            if found is None:
                return False
            quoted, at = True, found.end()


def _fields(lines: list[str] | None, dialect: _Dialect, where: str) -> list[str]:
    if lines is None:
        raise SourceError(
            f"{where}: the row that begins here has more than {MOST_RECORD_CHARACTERS:,} characters; divide its text into "
            "several records, or close its quotation marks."
        )
    try:
        rows = dialect.rows(lines, strict=True)
    except csv.Error as error:
        raise SourceError(f"{where}: broken CSV ({error}); mend the line's quotation marks.") from error
    if len(rows) != 1:
        raise SourceError(f"{where}: broken CSV (a line break outside of quotation marks); mend the line.")
    return rows[0]


def _csv_record(header: list[str], lines: list[str] | None, dialect: _Dialect, where: str) -> dict[str, str]:
    row = _fields(lines, dialect, where)
    if len(row) > len(header) and not any(field.strip() for field in row[len(header) :]):
        row = row[: len(header)]  # empty cells to the right of the table
    if len(row) != len(header):
        raise SourceError(
            f"{where}: found {len(row)} fields, the header has {len(header)}; mend the line or quote its "
            f"{_DELIMITERS.get(dialect.delimiter, 'delimiters')}."
        )
    return dict(zip(header, row, strict=True))
