"""Reads each file with the reader for its format, some files ahead.

No file is skipped silently: one that cannot be read fails the job, and all such files are named together.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from indexing.job_log import Reject
from indexing.sources import reading_process
from indexing.sources.document import Document, Note, Progress
from indexing.sources.find_files import SourceFile
from indexing.sources.formats import file_format, read_path
from indexing.sources.frames import Fault, Item
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import counted, printable, shortened
from memgpt_rag.limits import MOST_DOCUMENT_CHARACTERS, MOST_FILE_CHARACTERS, MOST_FILE_EXPANSION

T = TypeVar("T")

# Number of files that are read at the same time, each in a process of its own.
_AHEAD = min(4, os.cpu_count() or 1)


def read_file(file: SourceFile, options: ReadOptions, *, rejecting: bool) -> Iterator[Item]:
    """Yield the documents of a file, in order; a fault is the last item.

    Args:
        options: how to read; its callbacks are ignored.
        rejecting: yield rejects for unreadable records, and for a file that is unreadable, instead of a fault.
    """
    with _BegunFile(file, options, rejecting) as begun:
        yield from begun


def read_here(path: Path, name: str, options: ReadOptions, *, rejecting: bool) -> Iterator[Item]:
    """Yield the documents of a file as `read_file` does, in this process.

    Args:
        path: where the file lies on this machine.
        name: its name in citations.
    """
    rejects: list[Reject] = []
    options = replace(options, on_reject=rejects.append if rejecting else None)
    documents = 0
    try:
        for item in _bounded(read_path(path, name, options), path, name):
            yield from rejects
            rejects.clear()
            documents += isinstance(item, Document)
            yield item
        yield from rejects
    except Exception as error:  # a reader's library raises errors of its own
        yield from rejects
        yield _fault(_reason(error, name, options), name, documents, rejecting)


def _bounded(
    items: Iterable[Document | Note | Progress], path: Path, name: str
) -> Iterator[Document | Note | Progress]:
    """Yield the items of a file; raises SourceError where a document, or the whole file, holds more text than a job takes."""
    most, characters = 0, 0
    for item in items:
        if isinstance(item, Document):
            most = most or max(MOST_FILE_CHARACTERS, MOST_FILE_EXPANSION * path.stat().st_size)
            here = sum(len(block.text) for block in item.blocks)
            characters += here
            if here > MOST_DOCUMENT_CHARACTERS or characters > most:
                raise SourceError(
                    f"{name} holds more text than is read from one file ({characters:,} characters so far, "
                    f"{here:,} of them in one document); split it, or leave it out with --exclude."
                )
        yield item


class _BegunFile:
    """A file that is being read, by default in a process of its own: its items wait until they are asked for."""

    def __init__(self, file: SourceFile, options: ReadOptions, rejecting: bool):
        self.file, self._options, self._rejecting = file, options, rejecting
        self._held, self._process, self._fault = ExitStack(), None, None
        try:
            self._path = self._held.enter_context(file.local())
            if options.limits is not None:
                self._process = reading_process.begin(self._path, file.name, options, rejecting=rejecting)
        except Exception as error:  # also that of a store's client
            self._fault = _reason(error, file.name, options)

    def __iter__(self) -> Iterator[Item]:
        name, limits = self.file.name, self._options.limits
        if self._fault is not None:
            yield _fault(self._fault, name, 0, self._rejecting)
        elif self._process is None or limits is None:
            yield from read_here(self._path, name, self._options, rejecting=self._rejecting)
        else:
            documents = 0
            for item in self._process.items(limits.seconds, name):
                documents += isinstance(item, Document)
                yield _fault(item.reason, name, documents, self._rejecting) if isinstance(item, Fault) else item

    def __enter__(self) -> _BegunFile:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            reading_process.release(self._process)
        self._held.close()


def _fault(reason: str, name: str, documents: int, rejecting: bool) -> Fault | Reject:
    """Return what comes of a file that cannot be read, or not to its end."""
    if not rejecting:
        return Fault(reason)
    position = f"after its first {counted(documents, 'document')}, which are read" if documents else ""
    return Reject(name, position, reason)


def _reason(error: Exception, name: str, options: ReadOptions) -> str:
    """Return the sentence about a file that cannot be read."""
    if isinstance(error, SourceError):
        return str(error)
    if isinstance(error, MemoryError):
        limits = options.limits
        found = (
            "more memory than there is" if limits is None else f"more than {limits.memory_bytes / 1e9:.1f} GB of memory"
        )
        return f"{name} takes {found} to read; leave it out with --exclude, or allow more with --file-memory."
    if isinstance(error, OSError):
        return f"{name} cannot be read: {error.strerror or error}."
    if isinstance(error, UnicodeDecodeError):
        return f"{name} cannot be read: {error}; it may have changed while it was read."
    first_line = shortened((str(error).strip().splitlines() or [""])[0]).rstrip(".")
    kind = file_format(name).replace("_", " ")
    return (
        f"{name} cannot be read as {kind} ({type(error).__name__}{f': {first_line}' if first_line else ''}); mend it, or leave "
        "it out with --exclude."
    )


def settle(
    items: Iterable[T | Note | Progress | Reject | Fault | SourceFile],
    options: ReadOptions,
    on_file: Callable[[SourceFile], object],
    on_progress: Callable[[float], object] = lambda done: None,
) -> Iterator[T]:
    """Yield what was read; the rest is reported to callbacks, and faults are raised at the end.

    Raises:
        SourceError: at the end, naming every file that could not be read and why.
    """
    faults: list[str] = []
    for item in items:
        if isinstance(item, Reject):
            assert options.on_reject is not None
            options.on_reject(item)
        elif isinstance(item, Fault):
            faults.append(printable(item.reason))  # a name may hold a line break
        elif isinstance(item, Note):
            options.on_note(item)
        elif isinstance(item, Progress):
            on_progress(item.done)
        elif isinstance(item, SourceFile):
            on_file(item)
        else:
            yield item
    if faults:
        shown = faults[:20] + ([f"and {len(faults) - 20} more files."] if len(faults) > 20 else [])
        raise SourceError("\n".join(shown))


def read_documents(
    files: Iterable[SourceFile],
    options: ReadOptions = ReadOptions(),
    *,
    on_file: Callable[[SourceFile], object] = lambda file: None,
) -> Iterator[Document]:
    """Read the documents of the files, in order. `on_file` is called with each file once it has been read.

    Raises:
        SourceError: at the end, naming every file that could not be read and why.
    """
    rejecting = options.on_reject is not None

    def items() -> Generator[Item | SourceFile, None, None]:
        left, begun = iter(files), deque[_BegunFile]()
        ahead = 1 if options.limits is None else _AHEAD
        try:
            while True:
                begun += (_BegunFile(file, options, rejecting) for file in islice(left, ahead - len(begun)))
                if not begun:
                    return
                with begun.popleft() as first:
                    yield from first
                    yield first.file
        finally:
            for one in begun:
                one.__exit__()

    with closing(items()) as read:
        yield from settle(read, options, on_file)
