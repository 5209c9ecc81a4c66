"""Reads each file with the reader for its format, some files ahead.

No file is skipped silently: one that cannot be read fails the job, and all such files are named together.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from typing import TypeVar

from indexing.job_log import Reject
from indexing.sources import reading_process
from indexing.sources.document import Document, DocumentPicture, Note
from indexing.sources.find_files import SourceFile
from indexing.sources.frames import Fault, Item, Progress
from indexing.sources.read_here import fault, read_here
from indexing.sources.read_options import ReadOptions
from indexing.sources.reading_errors import reading_error
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import printable

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


class _BegunFile:
    """A file that is being read, by default in a process of its own: its items wait until they are asked for."""

    def __init__(self, file: SourceFile, options: ReadOptions, rejecting: bool):
        self.file, self._options, self._rejecting = file, options, rejecting
        self._held, self._process, self._fault = ExitStack(), None, None
        try:
            if file.problem:
                raise SourceError(file.problem)
            self._path = self._held.enter_context(file.local())
            if options.limits is not None:
                self._process = reading_process.begin(self._path, file.name, options, rejecting=rejecting)
        except Exception as error:  # also that of a store's client
            self._fault = reading_error(error, file.name, options.limits)

    def __iter__(self) -> Iterator[Item]:
        name, limits = self.file.name, self._options.limits
        if self._fault is not None:
            yield fault(self._fault, name, 0, self._rejecting)
        elif self._process is None or limits is None:
            yield from read_here(self._path, name, self._options, rejecting=self._rejecting)
        else:
            documents = 0
            for item in self._process.items(limits.seconds, name):
                documents += isinstance(item, Document)
                yield fault(item.reason, name, documents, self._rejecting) if isinstance(item, Fault) else item

    def __enter__(self) -> _BegunFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the process back, or end it if the file was not read to its end."""
        if self._process is not None:
            reading_process.release(self._process)
        self._held.close()


def settle(
    items: Iterable[T | Note | Progress | Reject | Fault | SourceFile],
    options: ReadOptions,
    on_file: Callable[[SourceFile], object],
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
            options.on_progress(item.done)
        elif isinstance(item, SourceFile):
            on_file(item)
        else:
            yield item
    if faults:
        shown = faults[:20] + ([f"and {len(faults) - 20} more files."] if len(faults) > 20 else [])
        raise SourceError("\n".join(shown))


def read_pictures(files: Iterable[SourceFile], options: ReadOptions) -> Iterator[DocumentPicture]:
    """Read the pictures of the files, in order; otherwise as `read_documents`, with options that say `pictures`."""
    return (item for item in _read(files, options, lambda file: None) if isinstance(item, DocumentPicture))


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
    return (item for item in _read(files, options, on_file) if isinstance(item, Document))


def _read(
    files: Iterable[SourceFile], options: ReadOptions, on_file: Callable[[SourceFile], object]
) -> Iterator[Document | DocumentPicture]:
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
                one.close()

    with closing(items()) as read:
        settled: Iterator[Document | DocumentPicture] = settle(read, options, on_file)
        yield from settled
