"""Decodes headers and texts of mail, which often break the rules of their encodings."""

from __future__ import annotations

import codecs
import re
from binascii import Error as Base64Error
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message

# Longer ones are cut, for decoding takes more than linear time.
MOST_HEADER_CHARACTERS = 50_000
# Labels of mail programs that browsers do not know.
_MAIL_CHARSETS = {"utf-7": "utf-7", "unicode-1-1-utf-7": "utf-7", "hz-gb-2312": "hz", "hz": "hz"}
_DECLARES_LITTLE = ("", "us-ascii", "ascii", "unknown-8bit", "8bit", "x-unknown")


def header_text(message: Message, name: str, encoding: str) -> str:
    """Return the decoded text of a header in one line; empty if it is missing."""
    raw = next((str(value) for header, value in message.raw_items() if header.lower() == name.lower()), "")
    return " ".join(decoded_words(raw[:MOST_HEADER_CHARACTERS], encoding).split())


def decoded_words(raw: str, encoding: str) -> str:
    """Decode the encoded words of a header (RFC 2047), and bytes that it should not hold."""
    if not raw.isascii():  # bytes, kept as lone surrogates
        raw = decoded_text(raw.encode("utf-8", "surrogateescape"), "", encoding)[0]
    if "=?" not in raw:
        return raw
    try:
        parts = decode_header(raw)
    except (HeaderParseError, Base64Error, ValueError):
        return raw
    return "".join(
        part if isinstance(part, str) else decoded_text(part, charset or "", encoding)[0] for part, charset in parts
    )


def decoded_text(content: bytes, charset: str, encoding: str) -> tuple[str, bool]:
    """Decode a text of a message.

    Args:
        charset: what the message declares; it is wrong in many messages.
        encoding: what is tried where neither that nor UTF-8 fits.

    Returns:
        the text, and whether it is whole; otherwise bytes were replaced by U+FFFD.
    """
    label = charset.strip().strip("\"'").lower()
    declared = "" if label in _DECLARES_LITTLE else _codec(label)
    for codec in filter(None, (declared, "utf-8", encoding, _guess(content))):
        with suppress(UnicodeDecodeError, LookupError):
            return content.decode(codec).removeprefix("\ufeff"), True
    return content.decode(declared or "utf-8", "replace"), False


def _codec(label: str) -> str:
    """Return Python's name of a character set; empty if there is none."""
    import webencodings

    if label in _MAIL_CHARSETS:
        return _MAIL_CHARSETS[label]
    known = webencodings.lookup(label)
    if known is not None and known.name != "replacement":
        # Mail that declares the older sets uses characters of the newest.
        return {"gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc-kr": "cp949"}.get(
            known.name, str(known.codec_info.name)
        )
    try:
        found = codecs.lookup(label)
    except (LookupError, ValueError):
        return ""
    return found.name if re.match(r"(cp|iso|mac|koi|euc|utf|big5|gb|shift)", found.name) else ""


def _guess(content: bytes) -> str:
    """Return a likely encoding; empty for none."""
    if content.isascii():
        return ""
    from charset_normalizer import from_bytes

    best = from_bytes(content[:65_536]).best()
    return "" if best is None else best.encoding
