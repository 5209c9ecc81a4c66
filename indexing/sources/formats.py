"""The formats of files: which suffix names which, and the reader of each."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from indexing.sources.document import Document, Note
from indexing.sources.read_options import ReadOptions

# Name of a format → its suffixes. Its reader is the function `read` of the module of its name in `readers`.
FORMATS = {
    "plain_text": (".txt",),
    "markdown": (".md", ".markdown"),
    "html": (".html", ".htm", ".xhtml"),
    "pdf": (".pdf",),
    "word": (".docx",),
    "jsonl": (".jsonl", ".ndjson"),
    "csv_table": (".csv", ".tsv"),
    "parquet": (".parquet",),
    "mail": (".eml",),
    "mailbox": (".mbox",),
    "notebook": (".ipynb",),
    "epub": (".epub",),
    "archive": (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz"),  # .tar.gz and the like end in these
}
# Formats whose files hold other files, which are read as files of their own and named "archive.zip/member.md".
CONTAINERS = ("mail", "mailbox", "archive")
_BY_SUFFIX = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}


def file_format(name: str) -> str:
    """Return the name of a file's format, by its suffix; "plain_text" for an unknown suffix."""
    return _BY_SUFFIX.get(PurePosixPath(name).suffix.lower(), "plain_text")


def is_known(name: str) -> bool:
    """Return whether a file has the suffix of a format; plain text files may have any other."""
    return PurePosixPath(name).suffix.lower() in _BY_SUFFIX


def read_path(path: Path, name: str, options: ReadOptions, *, format: str = "") -> Iterator[Document | Note]:
    """Read a file with the reader of its format.

    Args:
        path: where it lies.
        name: its name in citations.
        format: name of its format; empty for the one that its name tells.

    Raises:
        SourceError: it cannot be read.
    """
    reader = importlib.import_module(f"indexing.sources.readers.{format or file_format(name)}")
    yield from reader.read(path, name, options)
