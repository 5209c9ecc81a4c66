"""Mailboxes in the format mbox: messages one after the other, each behind a line that begins with "From "."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from indexing.job_log import Reject
from indexing.seen import SeenIds
from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.encodings import named_encoding
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.containers.attachments import AttachmentReader
from indexing.sources.readers.containers.members import member_reader
from indexing.sources.readers.containers.message import MOST_MESSAGE_BYTES, MessageText, MessageWalk, parse_message
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import counted

_QUOTED_FROM = re.compile(rb">+From ")
# The time in a line such as "From ann@example.org Mon Mar  2 10:00:00 2026".
_TIME = re.compile(rb"\d{1,2}:\d{2}")
_MOST_LINE_BYTES = 2**20


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read the messages of a mailbox, each a document of its own; the record is its Message-ID, or its number.

    What a reply quotes below its text is left out where the mailbox holds the message that it answers. Attachments are
    named "box.mbox/message 12/attachment.pdf".

    Raises:
        SourceError: it is no mailbox; a message cannot be read, and is not rejected; or, at the end, attachments cannot be
            read, which are named.
    """
    seen, replaced, quotations = SeenIds(), 0, 0
    with member_reader(path, name, options) as members:
        attachments = AttachmentReader(name, members, options.exclude)
        for number, content in enumerate(_messages(path, name), 1):
            where = f"{name}, message {number}"
            try:
                document, text = _document(content, name, number, options, seen)
            except Exception as error:  # the parser of mail raises errors of its own on damaged messages
                sentence = str(error) if isinstance(error, SourceError) else f"{where} cannot be read ({error!r:.200})."
                if options.on_reject is None:
                    raise SourceError(sentence) from error
                options.on_reject(Reject(name, f"message {number}", sentence.removeprefix(f"{where} ")))
                continue
            yield document
            replaced, quotations = replaced + bool(text.replaced), quotations + text.quotations
            yield from attachments.read(text.attachments, f"{name}/message {number}")
        yield from attachments.notes()
    if replaced:
        yield Note(
            name, f"{counted(replaced, 'message')} with bytes in no known character encoding, replaced by U+FFFD"
        )
    if quotations:
        yield Note(name, f"{counted(quotations, 'quotation')} of messages that are in the mailbox themselves left out")


def _document(
    content: bytes, name: str, number: int, options: ReadOptions, seen: SeenIds
) -> tuple[Document, MessageText]:
    message = parse_message(content, f"{name}, message {number}")
    builder = BlockBuilder()
    walk = MessageWalk(builder, named_encoding(name, options), lambda id: seen.where(id) is not None)
    text = walk.add(message)
    blocks = tuple(dataclasses.replace(block, first=number, last=number) for block in builder.blocks())
    record = text.id
    if not record or not record.isprintable() or seen.where(record) is not None:
        record = f"message {number}"  # no Message-ID holds a space
    else:
        seen.add(record, number)
    return Document(name, record, text.subject, "message", blocks), text


def _messages(path: Path, name: str) -> Iterator[bytes]:
    """Yield the messages one at a time, without the line that begins each, and with unquoted lines ">From ".

    Of a message that is too large, a little more is yielded than is allowed.
    """
    lines: list[bytes] = []
    length, after_blank, line_start = 0, True, True
    with path.open("rb") as file:
        first = file.readline(_MOST_LINE_BYTES)
        while first.strip() == b"" and first:
            first = file.readline(_MOST_LINE_BYTES)
        if not first:
            return
        if not first.startswith(b"From "):
            raise SourceError(
                f'{name} is no mailbox: it begins with {first[:40]!r}, expected a line "From …"; mend it, or leave it out.'
            )
        timed = _TIME.search(first) is not None  # then all have a time; a sentence that begins with "From" has none
        while line := file.readline(_MOST_LINE_BYTES):
            if line_start and after_blank and line.startswith(b"From ") and (not timed or _TIME.search(line)):
                yield b"".join(lines)
                lines, length = [], 0
            elif length <= MOST_MESSAGE_BYTES:
                lines.append(line[1:] if line_start and _QUOTED_FROM.match(line) else line)
                length += len(line)
            after_blank = line_start and not line.strip()
            line_start = line.endswith(b"\n")
        yield b"".join(lines)
