"""Character encodings of RTF: of the whole file by its code page, and of each font by its number for a character set."""

from __future__ import annotations

import codecs
import re

DEFAULT = "cp1252"
_CHARSET_ENCODINGS = {
    77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030", 136: "big5hkscs", 161: "cp1253",
    162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874",
    238: "cp1250", 254: "cp437", 255: "cp850",
}  # fmt: skip
_PAGE_ENCODINGS = {65001: "utf-8", 10000: "mac_roman", 936: "gb18030", 950: "big5hkscs", 1361: "johab"}
_SURROGATES = re.compile("[\ud800-\udfff]")


def charset_encoding(charset: int) -> str | None:
    """Return the encoding of a font's character set; None for that of the file."""
    return _CHARSET_ENCODINGS.get(charset)


def page_encoding(page: int) -> str:
    """Return the encoding of a code page; that of Western Europe for one that is not known."""
    name = _PAGE_ENCODINGS.get(page, f"cp{page}")
    try:
        codecs.lookup(name)
    except LookupError:
        return DEFAULT
    return name


def joined_surrogates(text: str) -> str:
    """Join the halves of characters that RTF writes as two; a half alone becomes U+FFFD."""
    if _SURROGATES.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
