"""A file that is a picture; it has no caption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from indexing.sources.document import DocumentPicture, Note
from indexing.sources.read_options import ReadOptions
from memgpt_rag.io.pictures import read_picture


def read(path: Path, name: str, options: ReadOptions) -> Iterator[DocumentPicture | Note]:
    """Read the picture in a file; of several, the first one.

    Raises:
        SourceError: the file is no picture, or a damaged or too large one.
    """
    yield DocumentPicture(name, read_picture(path, name), "", "", (), "picture", 1)
