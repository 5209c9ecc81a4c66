"""Text normalization: one Unicode form, plain spaces, and lines joined that a page layout has wrapped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Invisible characters: zero-width spaces and joiners, direction marks, soft hyphens, byte-order marks.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Halves of a character, which no file can store.
_HALVES = re.compile("[\ud800-\udfff]")
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")
# Lines that begin a list item, a table row, a quotation or a heading are not joined to the line before.
_OWN_LINE = re.compile(r"\s*([-*+•·▪◦►>|#+]|\(?\d{1,3}[.)、]|\(?[a-zA-Z][.)]\s|[（(]?[一二三四五六七八九十]+[)）、.])")


def clean(text: str, *, code: bool = False) -> str:
    """Normalize a text: NFC, no invisible or control characters, single spaces, at most one blank line in a row.

    Args:
        code: keep the spaces in its lines.
    """
    text = _HALVES.sub("\ufffd", text)
    text = unicodedata.normalize(
        "NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    )
    text = _CONTROL.sub(" ", _INVISIBLE.sub("", text))
    if code:
        text = "\n".join(line.rstrip() for line in text.expandtabs(4).split("\n")).strip("\n")
        return _BLANK_LINES.sub("\n\n", text)
    text = "\n".join(_SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", text).strip()


def join_wrapped_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """Join lines that a layout has wrapped at one width into paragraphs.

    A line is joined to the next where it is nearly as wide as the text's widest lines and the next one does not look
    like a list item, a table row or a heading. No space is inserted between Chinese characters.

    Yields:
        number of the first line, number of the last line, text.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    widths = sorted(_width(line) for line in lines if line.strip())
    full = widths[int(len(widths) * 0.9)] if widths else 0
    first, paragraph = 0, ""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            if paragraph:
                yield first, number - 1, paragraph
            paragraph = ""
        elif not paragraph:
            first, paragraph = number, line.strip()
        elif _is_wrapped(lines[number - 2], line, full):
            paragraph = _join(paragraph, line.strip())
        else:
            paragraph += "\n" + line.strip()
    if paragraph:
        yield first, len(lines), paragraph


def _is_wrapped(line: str, following: str, full: int) -> bool:
    return (
        40 <= full <= 140
        and _width(line) >= 0.75 * full
        and not _OWN_LINE.match(following)
        and not line.rstrip().endswith("|")
    )


def _join(one: str, other: str) -> str:
    if _is_wide(one[-1]) and _is_wide(other[0]):
        return one + other
    if one[-1] == "-" and one[-2:-1].isalpha() and other[0].islower():
        return one + other
    return f"{one} {other}"


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")


def _width(line: str) -> int:
    """Return the width of a line in terminal columns; Chinese characters have two."""
    return sum(2 if _is_wide(character) else 1 for character in line.rstrip())
