"""JSON Lines: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from indexing.sources.document import Document
from indexing.sources.encodings import decoded_lines
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.records import RecordReader, kind_of
from memgpt_rag.errors import SourceError


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document]:
    """Read a file with one JSON object a line; a text may be a string or a list of paragraphs.

    Raises:
        SourceError: a line that is not a JSON object, or lacks its text; the message gives the line.
    """
    to_document = RecordReader(name, "line", options)
    for number, line in enumerate(decoded_lines(path, name, options, "\n"), 1):
        if line.strip():
            yield from to_document(partial(_json_object, line, f"{name}, line {number}"), number, number)


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line.rstrip("\r\n"))
    except (ValueError, RecursionError) as error:
        what = "too deep" if isinstance(error, RecursionError) else "a number that is too long"
        if isinstance(error, json.JSONDecodeError):
            what = f"{error.msg} at column {error.colno}"
        raise SourceError(f"{where}: broken JSON ({what}); mend the line or remove it.") from error
    if not isinstance(record, dict):
        raise SourceError(f'{where}: found a JSON {kind_of(record)}, expected an object such as {{"text": "…"}}.')
    return record
