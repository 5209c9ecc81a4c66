"""Reads files of triples: CSV, TSV, JSON Lines, N-Triples and Turtle, chosen by the name's ending."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from memgpt_rag.errors import SourceError
from memgpt_rag.tasks.graph.knowledge import MOST_FILE_BYTES, Knowledge
from memgpt_rag.tasks.graph.rdf import read_rdf
from memgpt_rag.tasks.graph.tables import read_json_lines, read_table

_READERS: dict[str, Callable[[str, str, Knowledge], None]] = {
    ".csv": partial(read_table, delimiter=","),
    ".tsv": partial(read_table, delimiter="\t"),
    ".jsonl": read_json_lines,
    ".nt": read_rdf,
    ".ttl": read_rdf,
}


def read_triples(files: Sequence[str | Path]) -> Knowledge:
    """Read the triples of files, which may be of several forms.

    Raises:
        SourceError: a file cannot be read, is of no known form, breaks its rules (with the line), or holds no triple.
        MissingPackageError: a file of RDF is read without rdflib.
    """
    knowledge = Knowledge()
    for file in files:
        before = len(knowledge.triples), knowledge.declarations
        reader = _READERS.get(Path(file).suffix.lower())
        if "://" in str(file):
            raise SourceError(f"{file} is an address; nothing is fetched. Download it and name the file.")
        if reader is None:
            raise SourceError(f"{file} is no file of triples by its name; expected one of {', '.join(_READERS)}.")
        reader(_text(Path(file)), str(file), knowledge)
        if (len(knowledge.triples), knowledge.declarations) == before:
            raise SourceError(f"{file} holds no triple; name a file with at least one.")
    return knowledge


def _text(file: Path) -> str:
    try:
        # Non-blocking: opening a named pipe would wait for a writer.
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}; name a file of triples.") from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise SourceError(f"{file} is no plain file; name a file of triples.")
        with os.fdopen(handle, "rb", closefd=False) as opened:
            data = opened.read(MOST_FILE_BYTES + 1)
    finally:
        os.close(handle)
    if len(data) > MOST_FILE_BYTES:
        raise SourceError(f"{file} has more than {MOST_FILE_BYTES:,} bytes; divide it.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{file}, line {line:,}: not UTF-8 (byte {error.start:,}); save it as UTF-8.") from None
