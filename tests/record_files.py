"""Files of records for tests: what is read of them."""

from __future__ import annotations

from pathlib import Path

from indexing.sources.document import Document, Note
from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions


def items(path: Path, **options) -> list[Document | Note]:
    return list(read_path(path, path.name, ReadOptions(**options)))


def read(folder: Path, name: str, content: str | bytes, **options) -> list[Document]:
    """The documents of a file with a content."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return [item for item in items(path, **options) if isinstance(item, Document)]


def notes(folder: Path, name: str) -> list[str]:
    return [item.text for item in items(folder / name) if isinstance(item, Note)]


def texts(documents: list[Document]) -> list[tuple[str, str, str]]:
    return [(one.record, one.title, "\n".join(block.text for block in one.blocks)) for one in documents]
