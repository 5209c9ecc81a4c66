"""Reads each file with the reader for its format.

No file is skipped silently: one that cannot be read fails the job, and all such files are named together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from indexing.job_log import Reject
from indexing.sources.document import Document, Note
from indexing.sources.find_files import SourceFile
from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions
from indexing.sources.reading_errors import reading_error
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import printable

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Fault:
    """A file that could not be read, which fails the job after all others were read."""

    told: str


def read_file(file: SourceFile, options: ReadOptions, *, rejecting: bool) -> Iterator[Document | Note | Reject | Fault]:
    """Yield the documents of a file, in order; a fault is the last item.

    Args:
        options: how to read; its `on_reject` is ignored.
        rejecting: yield rejects for unreadable records, and for a file that is wholly unreadable, instead of a fault.
    """
    rejects: list[Reject] = []
    options = dataclasses.replace(options, on_reject=rejects.append if rejecting else None)
    begun = False
    try:
        if file.problem:
            raise SourceError(file.problem)
        with file.local() as path:
            for item in read_path(path, file.name, options):
                yield from rejects
                rejects.clear()
                begun = begun or isinstance(item, Document)
                yield item
        yield from rejects
    except Exception as error:  # a reader's library raises errors of its own
        yield from rejects
        told = reading_error(error, file.name)
        # A partly read file is always a fault.
        yield Fault(told) if not rejecting or begun else Reject(file.name, "", told)


def settle(
    items: Iterable[T | Note | Reject | Fault | SourceFile],
    options: ReadOptions,
    on_file: Callable[[SourceFile], object],
) -> Iterator[T]:
    """Yield what was read; rejects and finished files are reported to callbacks, and faults are raised at the end.

    Raises:
        SourceError: at the end, naming every file that could not be read and why.
    """
    faults: list[str] = []
    for item in items:
        if isinstance(item, Reject):
            assert options.on_reject is not None
            options.on_reject(item)
        elif isinstance(item, Fault):
            faults.append(printable(item.told))  # a name may hold a line break
        elif isinstance(item, Note):
            options.on_note(item)
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

    def items() -> Iterator[Document | Note | Reject | Fault | SourceFile]:
        for file in files:
            yield from read_file(file, options, rejecting=options.on_reject is not None)
            yield file

    return settle(items(), options, on_file)
