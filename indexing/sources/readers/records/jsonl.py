"""JSON Lines: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from indexing.sources.document import Document, Note
from indexing.sources.encodings import decoded_lines
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.records.records import RecordReader, type_name
from memgpt_rag.errors import SourceError
from memgpt_rag.limits import MOST_RECORD_CHARACTERS


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a file with one JSON object a line; a text may be a string or a list of paragraphs.

    Raises:
        SourceError: a line that is not a JSON object, or lacks its text; the message gives the line.
    """
    to_document = RecordReader(name, "line", options)
    for number, line in enumerate(_whole_lines(decoded_lines(path, name, options, "\n")), 1):
        if line is None or line.strip():
            yield from to_document(partial(_json_object, line, f"{name}, line {number}"), number, number)


def _whole_lines(pieces: Iterable[str]) -> Iterator[str | None]:
    """Yield lines; None for one that came in several pieces, of which only one at a time is in memory."""
    begun = False
    for piece in pieces:
        ends = len(piece) < MOST_RECORD_CHARACTERS or piece.endswith("\n")
        if ends:
            yield None if begun else piece
        begun = not ends
    if begun:
        yield None


def _json_object(line: str | None, where: str) -> dict[str, Any]:
    if line is None:
        raise SourceError(
            f"{where}: has more than {MOST_RECORD_CHARACTERS:,} characters; divide its text into several records."
        )
    try:
        record = DECODER.decode(line.rstrip("\r\n"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where}: broken JSON ({json_fault(error)}); mend the line or remove it.") from error
    if not isinstance(record, dict):
        raise SourceError(f'{where}: found a JSON {type_name(record)}, expected an object such as {{"text": "…"}}.')
    return record


class DuplicateKeyError(ValueError):
    """A key that an object of JSON has twice."""


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, as the parser's `object_pairs_hook`.

    Raises:
        DuplicateKeyError: one of its keys occurs twice; the parser would keep the last value and drop the others.
    """
    record = dict(pairs)
    if len(record) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKeyError(f"the key {key!r:.80} occurs twice in one object")
            seen.add(key)
    return record


def json_fault(error: ValueError | RecursionError) -> str:
    """Return what is wrong with JSON, by the error of the parser, as a clause."""
    if isinstance(error, RecursionError):
        return "too deep"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return str(error) if isinstance(error, DuplicateKeyError) else "a number that is too long"


DECODER = json.JSONDecoder(object_pairs_hook=_distinct_keys)
