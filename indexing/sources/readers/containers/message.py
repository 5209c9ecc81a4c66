"""One mail message: its headers in readable form, its text, and its attachments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import Message
from pathlib import PurePosixPath

from indexing.sources.clean_text import join_wrapped_lines
from indexing.sources.document import BlockBuilder
from indexing.sources.readers.containers.mail_decoding import decoded_text, decoded_words, header_text
from indexing.sources.readers.web.html import add_html
from memgpt_rag.errors import SourceError

# Mail servers refuse messages of 25 to 150 MB; parsing takes some times the size in memory.
MOST_MESSAGE_BYTES = 100 * 10**6
_SHOWN_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_HEADERS = (*_SHOWN_HEADERS, "Message-ID", "Received", "Content-Type", "MIME-Version", "Return-Path", "Sender", "Bcc")
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,250})>")
_TEXTS = ("text/plain", "text/html", "text/enriched", "message/delivery-status")
_SUFFIXES = {"text/html": ".html", "text/markdown": ".md", "text/csv": ".csv", "application/pdf": ".pdf"}


@dataclass(frozen=True)
class Attachment:
    """A file in a message.

    Attributes:
        name: its file name without folders.
        type: its content type, such as "application/pdf".
    """

    name: str
    type: str
    content: bytes


@dataclass
class MessageText:
    """What was read of a message.

    Attributes:
        subject: its subject; empty if it has none.
        id: its Message-ID without angle brackets; empty if it has none.
        attachments: the files in it.
        replaced: number of its texts with bytes that are in no known encoding, and were replaced.
        quotations: number of quotations that were left out.
    """

    subject: str = ""
    id: str = ""
    attachments: list[Attachment] = field(default_factory=list)
    replaced: int = 0
    quotations: int = 0


def parse_message(content: bytes, where: str) -> Message:
    """Parse a message.

    Raises:
        SourceError: it has none of the usual headers, is too large, or nests too deeply.
    """
    if len(content) > MOST_MESSAGE_BYTES:
        raise SourceError(
            f"{where} is a message of more than {MOST_MESSAGE_BYTES:,} bytes, the most that are read; save its attachments "
            "as files, and leave it out."
        )
    try:
        # The newer policies parse the grammar of headers, too, and fail where it is broken.
        message: Message = message_from_bytes(content, policy=policy.compat32)
    except RecursionError as error:
        raise SourceError(f"{where} holds parts that are nested too deeply; leave it out.") from error
    if not any(header in message for header in _HEADERS):
        raise SourceError(
            f"{where} is no mail message: it has no header such as From or Subject; mend it, or leave it out."
        )
    return message


class MessageWalk:
    """Adds the text of a message, and of the messages that are attached to it, to the blocks of a document.

    Lines are counted in the message as it is read: its headers, an empty line, its text.

    Args:
        encoding: encoding of texts that are in neither the one that they declare nor UTF-8; None for a guess.
        is_known: whether a message with this Message-ID is read already: a quotation of it at the end of a text is left out.
    """

    def __init__(self, builder: BlockBuilder, encoding: str | None, is_known: Callable[[str], bool] = lambda id: False):
        self._builder, self._encoding, self._is_known = builder, encoding, is_known
        self._text = MessageText()
        self._names: Counter[str] = Counter()  # of attachments
        self._line = 1

    def add(self, message: Message) -> MessageText:
        """Add a message, and return what else was read of it."""
        ids = _MESSAGE_ID.findall(header_text(message, "Message-ID", self._encoding))
        self._text.subject = header_text(message, "Subject", self._encoding)
        self._text.id = ids[0] if ids else ""
        waiting = [(message, 0)]
        while waiting:  # no recursion: messages may be nested deeply
            message, depth = waiting.pop()
            if depth:
                subject = header_text(message, "Subject", self._encoding)
                self._builder.heading(min(depth, 6), subject or "Attached message", self._line)
            self._add_headers(message)
            attached = []
            for part, is_text in _leaves(message):
                if part.get_content_type() == "message/rfc822":
                    attached += [(inner, depth + 1) for inner in part.get_payload() if isinstance(inner, Message)]
                elif is_text:
                    self._add_text(part, message)
                else:
                    self._attach(part)
            waiting += reversed(attached)
        return self._text

    def _add_headers(self, message: Message) -> None:
        lines = [f"{name}: {text}" for name in _SHOWN_HEADERS if (text := header_text(message, name, self._encoding))]
        if lines:
            self._builder.text("\n".join(lines), self._line, self._line + len(lines) - 1)
            self._line += len(lines) + 1

    def _add_text(self, part: Message, message: Message) -> None:
        content = part.get_payload(decode=True)
        charset = part.get_content_charset() or ""
        if part.get_content_type() == "message/delivery-status":
            content = "\n".join(map(str, part.get_payload())).encode("utf-8", "surrogateescape")
        text, whole = decoded_text(content if isinstance(content, bytes) else b"", charset, self._encoding)
        self._text.replaced += not whole
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        if part.get_content_type() == "text/html":
            add_html(self._builder, text, self._line)
        else:
            text = self._without_quotation(text, message)
            for first, last, paragraph in join_wrapped_lines(text):
                self._builder.text(paragraph, self._line + first - 1, self._line + last - 1)
        self._line += text.count("\n") + 2

    def _without_quotation(self, text: str, message: Message) -> str:
        """Leave out what a reply quotes below its text; what it quotes between its own lines gives them their meaning."""
        lines = text.split("\n")
        end = len(lines)
        while end and (not lines[end - 1].strip() or lines[end - 1].startswith(">")):
            end -= 1
        if not any(line.startswith(">") for line in lines[end:]):
            return text
        answered = [
            id
            for name in ("In-Reply-To", "References")
            for id in _MESSAGE_ID.findall(header_text(message, name, self._encoding))[-20:]
        ]
        if not any(map(self._is_known, answered)):
            return text
        self._text.quotations += 1
        return "\n".join(lines[:end])

    def _attach(self, part: Message) -> None:
        content = part.get_payload(decode=True)
        type = part.get_content_type()
        for header, value in list(part.raw_items()):
            if not str(value).isascii():  # a file name in bytes, which the parser would replace
                part.replace_header(header, decoded_words(str(value), self._encoding))
        name = decoded_words(str(part.get_filename("") or ""), self._encoding)
        name = (
            PurePosixPath(name.replace("\\", "/")).name.replace("\0", "").strip()
            or f"attachment{_SUFFIXES.get(type, '')}"
        )
        self._names[name] += 1
        if (number := self._names[name]) > 1:
            path = PurePosixPath(name)
            name = f"{path.stem} ({number}){path.suffix}"
            self._names[name] += 1
        self._text.attachments.append(Attachment(name, type, content if isinstance(content, bytes) else b""))


def _leaves(message: Message) -> Iterator[tuple[Message, bool]]:
    """Yield the parts of a message that are no containers, in order, and whether each is a text of the message itself."""
    stack = [(message, True)]
    while stack:
        part, shown = stack.pop()
        type, parts = part.get_content_type(), part.get_payload()
        if isinstance(parts, list) and part.get_content_maintype() != "message":
            inner = [one for one in parts if isinstance(one, Message)]
            chosen = _chosen(inner) if type == "multipart/alternative" else None
            stack += [(one, shown and (chosen is None or one is chosen)) for one in reversed(inner)]
        elif _is_file(part) or type not in _TEXTS:
            if shown or _is_file(part) or part.get_content_maintype() != "text":
                yield part, False
        elif shown:  # otherwise it is the same text in another form
            yield part, True


def _is_file(part: Message) -> bool:
    return part.get_content_disposition() == "attachment" or bool(part.get_filename())


def _chosen(parts: list[Message]) -> Message | None:
    """Return the form of a text that is read: plain text if it is not empty, or else the one that comes last."""
    for part in parts:
        if part.get_content_type() == "text/plain" and (part.get_payload(decode=True) or b"").strip():  # type: ignore[union-attr]
            return part
    return next(
        (part for part in reversed(parts) if part.is_multipart() or part.get_content_type() == "text/html"), None
    )
