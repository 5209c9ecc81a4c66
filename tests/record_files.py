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


def pq_file(path: Path, columns: dict[str, list]) -> Path:
    """Write a Parquet file, and return its path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


def contradict(parquet: Path) -> None:
    """Have a file say that its column `at` has no missing values, and count them all the same."""
    content = parquet.read_bytes()
    optional, required = b"\x25\x02\x18\x02at", b"\x25\x00\x18\x02at"  # Thrift: repetition, then the name
    assert content.count(optional) == 1
    parquet.write_bytes(content.replace(optional, required))
