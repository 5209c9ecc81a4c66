"""What tests of readers share: what comes of reading a file or a folder, in this process."""

from __future__ import annotations

from pathlib import Path

from indexing.job_log import Reject
from indexing.sources.document import Document, Note
from indexing.sources.find_files import find_files
from indexing.sources.read_documents import read_documents
from indexing.sources.read_options import ReadOptions


class Reading:
    """What reading a file or a folder yields: documents, notes and rejects.

    Args:
        rejecting: collect what cannot be read; otherwise it is an error.
    """

    def __init__(self, path: Path, *, rejecting: bool = False, **options):
        self._notes: list[Note] = []
        self.rejects: list[Reject] = []
        how = ReadOptions(
            limits=None, on_note=self._notes.append, on_reject=self.rejects.append if rejecting else None, **options
        )
        self.documents = list(read_documents(find_files([path]), how))

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Source and text of each note."""
        return [(note.source, note.text) for note in self._notes]

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Source and text of each document."""
        return [(one.source, " ".join(texts(one))) for one in self.documents]


def texts(document: Document) -> list[str]:
    """The texts of a document's blocks."""
    return [block.text for block in document.blocks]
