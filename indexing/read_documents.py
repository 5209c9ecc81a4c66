"""Finds the files that a source names and reads each with the reader for its format.

Nothing is skipped silently: a file that cannot be read stops the job, and all such files are named together.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexing import page_formats, record_formats, text_formats
from indexing.document import Document
from indexing.job_log import Reject
from indexing.read_options import ReadOptions
from memgpt_rag.errors import SourceError


@dataclass(frozen=True)
class SourceFile:
    """A file to read: its path, and its name in citations."""

    path: Path
    name: str
    bytes: int

    @property
    def format(self) -> str:
        return _FORMATS.get(self.path.suffix.lower(), "text")


_FORMATS = {
    ".txt": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "word",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}

_READERS: dict[str, Callable[[Path, str, ReadOptions], Iterator[Document]]] = {
    "text": lambda path, name, options: text_formats.read_text(path, name, options.encoding),
    "markdown": lambda path, name, options: text_formats.read_markdown(path, name, options.encoding),
    "html": lambda path, name, options: text_formats.read_html(path, name, options.encoding),
    "pdf": lambda path, name, options: page_formats.read_pdf(path, name),
    "word": lambda path, name, options: page_formats.read_word(path, name),
    "jsonl": record_formats.read_jsonl,
    "csv": record_formats.read_csv,
    "parquet": record_formats.read_parquet,
}


def find_files(sources: Sequence[Path], exclude: Sequence[str] = ()) -> list[SourceFile]:
    """The files that the sources name, sorted by name; hidden files in folders are left out.

    Args:
        sources: files and folders; folders are searched to the bottom.
        exclude: patterns such as "*.png" of names to leave out.

    Raises:
        SourceError: a source does not exist, holds no file, or two files would be cited by one name.
    """
    found: dict[str, SourceFile] = {}
    for source in sources:
        if not source.exists():
            raise SourceError(f"{source} does not exist; name a file or a folder of documents.")
        paths = [source] if not source.is_dir() else sorted(_walk(source))
        kept = 0
        for path in paths:
            name = path.name if path == source else path.relative_to(source).as_posix()
            if any(fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(path.name, pattern) for pattern in exclude):
                continue
            kept += 1
            if name in found:
                if found[name].path.resolve() == path.resolve():
                    continue
                raise SourceError(
                    f"{found[name].path} and {path} would both be cited as {name}; name the folder above them as the source."
                )
            found[name] = SourceFile(path, name, path.stat().st_size if path.exists() else 0)
        if not kept:
            raise SourceError(f"{source} holds no documents to read; put files there, or name another source.")
    return list(found.values())


def read_documents(
    files: Iterable[SourceFile],
    options: ReadOptions = ReadOptions(),
    *,
    on_file: Callable[[SourceFile], object] = lambda file: None,
) -> Iterator[Document]:
    """Documents of the files, in order. `on_file` is called with each file once it has been read.

    Raises:
        SourceError: at the end, naming every file that could not be read and why.
    """
    faults: list[str] = []
    for file in files:
        begun = False
        try:
            for document in _READERS[file.format](file.path, file.name, options):
                begun = True
                yield document
        except (SourceError, OSError) as error:
            told = str(error)
            if isinstance(error, OSError):
                told = f"{file.name} cannot be read: {error.strerror or error}."
            if options.on_reject is None or begun:  # half a file is none
                faults.append(told)
            else:
                options.on_reject(Reject(file.name, "", told))
        on_file(file)
    if faults:
        shown = faults[:20] + ([f"and {len(faults) - 20} more files."] if len(faults) > 20 else [])
        raise SourceError("\n".join(shown))


def _walk(folder: Path) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise SourceError(f"{error.filename} cannot be listed: {error.strerror}.")

    for parent, folders, names in os.walk(folder, onerror=stop):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in names if not name.startswith("."))
