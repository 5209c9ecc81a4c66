"""Comma- or tab-separated values, whose first line names the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from indexing.sources.document import Document
from indexing.sources.encodings import decoded_lines
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.records import RecordReader
from memgpt_rag.errors import SourceError


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document]:
    """Read comma- or tab-separated values, whose first line names the columns.

    Raises:
        SourceError: a row with too many or too few fields, an unclosed quotation, or no text; the message gives the line.
    """
    csv.field_size_limit(2**31 - 1)
    to_document = RecordReader(name, "line", options)
    rows = csv.reader(
        decoded_lines(path, name, options, ""),
        dialect="excel-tab" if path.suffix.lower() == ".tsv" else "excel",
        strict=True,
    )
    header: list[str] | None = None
    end = 0
    try:
        for row in rows:
            first, end = end + 1, rows.line_num
            if not row:
                continue
            if header is None:
                header = row
            else:
                yield from to_document(partial(_csv_record, header, row, f"{name}, line {first}"), first, end)
    except csv.Error as error:
        raise SourceError(
            f"{name}, line {rows.line_num}: broken CSV ({error}); mend the line's quotation marks."
        ) from error


def _csv_record(header: list[str], row: list[str], where: str) -> dict[str, str]:
    if len(row) != len(header):
        raise SourceError(
            f"{where}: found {len(row)} fields, the header has {len(header)}; mend the line or quote its commas."
        )
    return dict(zip(header, row, strict=True))
