"""Attachments of mails: those in a known format are read as files of their own, the others are named in a note."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from indexing.sources.document import Document, Note
from indexing.sources.find_files import is_excluded
from indexing.sources.formats import is_known
from indexing.sources.readers.containers.members import MemberReader
from indexing.sources.readers.containers.message import Attachment
from indexing.sources.readers.note_text import first_names
from memgpt_rag.io.printable import counted

_MOST_NAMED = 5


class AttachmentReader:
    """Reads the attachments of the messages of a file.

    Args:
        name: the file.
        exclude: patterns of names to leave out.
    """

    def __init__(self, name: str, members: MemberReader, exclude: Sequence[str]):
        self._name, self._members, self._exclude = name, members, exclude
        self._left_out: list[str] = []
        self._count = 0

    def read(self, attachments: Sequence[Attachment], where: str) -> Iterator[Document | Note]:
        """Read the attachments of a message.

        Args:
            where: name of the message, under which they are cited.
        """
        for attachment in attachments:
            name = f"{where}/{attachment.name}"
            if is_excluded(name, self._exclude):
                continue
            if is_known(attachment.name) or attachment.type.startswith("text/"):
                yield from self._members.read(name, lambda content=attachment.content: io.BytesIO(content))  # type: ignore[misc]
                continue
            self._count += 1
            if len(self._left_out) < _MOST_NAMED:
                self._left_out.append(name.removeprefix(f"{self._name}/"))

    def notes(self) -> Iterator[Note]:
        """Yield a note about the attachments that were left out."""
        if self._count:
            names = first_names(self._left_out, _MOST_NAMED, self._count)
            yield Note(self._name, f"{counted(self._count, 'attachment')} in formats that are not read here: {names}")
