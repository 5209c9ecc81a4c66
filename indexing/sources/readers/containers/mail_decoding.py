"""Decodes headers and texts of mail, which often break the rules of their encodings."""

from __future__ import annotations

import quopri
import re
from base64 import b64decode
from binascii import Error as Base64Error
from contextlib import suppress
from email.message import Message

from indexing.sources.encodings import text_codec

# Encoded words in headers (RFC 2047). The email package takes quadratic time where they have no end.
_WORD = re.compile(r"=\?([^?*\s]{1,40})(?:\*[^?\s]{1,40})?\?([bBqQ])\?([^?]{0,4000})\?=")
# Labels that browsers refuse for their safety.
_MAIL_CHARSETS = {"utf-7": "utf-7", "unicode-1-1-utf-7": "utf-7", "hz-gb-2312": "hz", "hz": "hz"}
# Labels under which mail programs send anything.
_NO_CHARSETS = ("", "us-ascii", "ascii", "unknown-8bit", "8bit", "x-unknown")


def header_text(message: Message, name: str, encoding: str | None) -> str:
    """Return the decoded text of a header in one line; empty if it is missing."""
    raw = next((str(value) for header, value in message.raw_items() if header.lower() == name.lower()), "")
    return " ".join(decoded_words(raw, encoding).split())


def decoded_words(raw: str, encoding: str | None) -> str:
    """Decode the encoded words of a header, and bytes that it should not hold."""
    if not raw.isascii():  # bytes, kept as lone surrogates
        raw = decoded_text(raw.encode("utf-8", "surrogateescape"), "", encoding)[0]
    parts: list[tuple[str, bytes]] = []  # character set and bytes, or text as UTF-8
    end = 0
    for word in _WORD.finditer(raw):
        between, charset = raw[end : word.start()], word[1].lower()
        content = _word_bytes(word)
        if between.strip() or not parts or parts[-1][0] == "":
            parts.append(("", between.encode()))
        end = word.end()
        if content is None:
            parts.append(("", word[0].encode()))
        elif parts[-1][0] == charset:  # some programs divide a character between two words
            parts[-1] = charset, parts[-1][1] + content
        else:
            parts.append((charset, content))
    parts.append(("", raw[end:].encode()))
    return "".join(decoded_text(content, charset or "utf-8", encoding)[0] for charset, content in parts)


def decoded_text(content: bytes, charset: str, encoding: str | None) -> tuple[str, bool]:
    """Decode a text of a message.

    Args:
        charset: what the message declares; it is wrong in many messages.
        encoding: what is tried where neither that nor UTF-8 fits; None for a guess.

    Returns:
        the text, and whether it is whole; otherwise bytes were replaced by U+FFFD.
    """
    label = charset.strip().strip("\"'").lower()
    declared = None if label in _NO_CHARSETS else _MAIL_CHARSETS.get(label) or text_codec(label)
    for codec in (declared, "utf-8", encoding):
        if codec is not None:
            with suppress(UnicodeDecodeError):
                return content.decode(codec).removeprefix("\ufeff"), True
    from charset_normalizer import from_bytes

    best = from_bytes(content[:65_536]).best()
    with suppress(UnicodeDecodeError):
        if best is not None:
            return content.decode(best.encoding), True
    return content.decode(declared or "utf-8", "replace"), False


def _word_bytes(word: re.Match[str]) -> bytes | None:
    """Return the bytes of an encoded word; None if it is damaged."""
    if word[2] in "qQ":
        return quopri.decodestring(word[3].encode(), header=True)
    with suppress(Base64Error, ValueError):
        return b64decode(word[3] + "=" * (-len(word[3]) % 4))
    return None
