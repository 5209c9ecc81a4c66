"""Mail: one message a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.encodings import named_encoding
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.containers.attachments import AttachmentReader
from indexing.sources.readers.containers.members import member_reader
from indexing.sources.readers.containers.message import MOST_MESSAGE_BYTES, MessageWalk, parse_message


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a message: its main headers and its text; its subject is the title.

    Attachments in formats that are read here are documents of their own, named "a.eml/attachment.pdf".

    Raises:
        SourceError: it is no mail message; or, at the end, attachments cannot be read, which are named.
    """
    with path.open("rb") as file:
        message = parse_message(file.read(MOST_MESSAGE_BYTES + 1), name)
    builder = BlockBuilder()
    text = MessageWalk(builder, named_encoding(name, options)).add(message)
    yield Document(name, "", text.subject, "line", builder.blocks())
    if text.replaced:
        yield Note(name, "bytes in no known character encoding were replaced by U+FFFD")
    with member_reader(path, name, options) as members:
        attachments = AttachmentReader(name, members, options.exclude)
        yield from attachments.read(text.attachments, name)
        yield from attachments.notes()
