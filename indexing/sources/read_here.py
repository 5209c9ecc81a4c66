"""Reads one file in this process: bounded, with a sentence for every error of its reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from indexing.job_log import Reject
from indexing.sources.document import Document, DocumentPicture, Note
from indexing.sources.formats import read_path, read_pictures
from indexing.sources.frames import Fault, Item
from indexing.sources.read_options import ReadOptions
from indexing.sources.reading_errors import reading_error
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import counted
from memgpt_rag.limits import MOST_DOCUMENT_CHARACTERS, MOST_FILE_CHARACTERS, MOST_FILE_EXPANSION


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
        read = read_pictures if options.pictures else read_path
        for item in _bounded(read(path, name, options), path, name):
            yield from rejects
            rejects.clear()
            documents += isinstance(item, Document)
            yield item
        yield from rejects
    except Exception as error:  # a reader's library raises errors of its own
        yield from rejects
        yield fault(reading_error(error, name, options.limits), name, documents, rejecting)


def _bounded(
    items: Iterable[Document | DocumentPicture | Note], path: Path, name: str
) -> Iterator[Document | DocumentPicture | Note]:
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


def fault(cause: str, name: str, documents: int, rejecting: bool) -> Fault | Reject:
    """Return what comes of a file that cannot be read, or not to its end."""
    if not rejecting:
        return Fault(cause)
    position = f"after its first {counted(documents, 'document')}, which are read" if documents else ""
    return Reject(name, position, cause)
