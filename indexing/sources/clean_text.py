"""Text normalization: one Unicode form, plain spaces, and lines joined that a page layout has wrapped."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache

# Invisible characters: zero-width spaces and joiners, direction marks, soft hyphens, byte-order marks.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Halves of a character, which no file can store.
_HALVES = re.compile("[\ud800-\udfff]")
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")
# Lines that begin a list item, a table row, a quotation, a heading or an entry of a log are not joined to the line before.
_OWN_LINE = re.compile(
    r"\s*([-*+•·▪◦►>|#+]|\(?\d{1,3}[.)、]|\(?[a-zA-Z][.)]\s|[（(]?[一二三四五六七八九十]+[)）、.]"
    r"|[\[(<]?(?:\d{4}[-/]\d\d?[-/]\d\d?[T ,]+|[A-Z][a-z]{2} [ \d]\d )?\d\d:\d\d(?::\d\d)?[^\w:])"
)
_MOST_MARKS = 30  # combining marks in a row; UAX #15 allows as many in text for streams, and no language needs more


def clean(text: str, *, code: bool = False) -> str:
    """Normalize a text: NFC, no invisible or control characters, single spaces, at most one blank line in a row.

    Of more than 30 combining marks in a row the first 30 are kept: to order longer runs takes quadratic time.

    Args:
        code: keep the spaces in its lines.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    text = _CONTROL.sub(" ", _INVISIBLE.sub("", _HALVES.sub("\ufffd", text)))
    if not text.isascii():
        text = unicodedata.normalize("NFC", _surplus_marks().sub(r"\1", text))
    if code:
        text = "\n".join(line.rstrip() for line in text.expandtabs(4).split("\n")).strip("\n")
        return _BLANK_LINES.sub("\n\n", text)
    text = "\n".join(_SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", text).strip()


@cache
def _surplus_marks() -> re.Pattern[str]:
    """Return a pattern for long runs of combining marks, whose first group is what is kept of them."""
    mark = _character_class(range(0x300, 0x1F000), lambda character: unicodedata.combining(character) > 0)
    return re.compile(f"({mark}{{{_MOST_MARKS}}}){mark}+")


@cache
def _wide_characters() -> re.Pattern[str]:
    return re.compile(_character_class(range(0x1100, 0x3FFFF), is_wide))


def _character_class(codes: range, belongs: Callable[[str], bool]) -> str:
    """Return a character class of the characters that belong to it, as a regular expression."""
    spans: list[list[int]] = []
    for code in codes:
        if belongs(chr(code)):
            if spans and code == spans[-1][1] + 1:
                spans[-1][1] = code
            else:
                spans.append([code, code])
    return "[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in spans) + "]"


def join_wrapped_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """Join lines that a layout has wrapped at one width into paragraphs.

    A line is joined to the next where it is nearly as wide as the text's widest lines and the next one does not look
    like a list item, a table row or a heading. No space is inserted between Chinese characters.

    Yields:
        number of the first line, number of the last line, text.
    """
    lines = split_lines(text)
    full = full_width(lines)
    for first, paragraph in paragraphs(lines):
        yield first, first + len(paragraph) - 1, join_paragraph(paragraph, full)


def split_lines(text: str) -> list[str]:
    """Return the lines of a text, with line ends of any system."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def full_width(lines: list[str]) -> int:
    """Return the width that nine of ten lines that are not blank do not exceed."""
    widths = sorted(width(line) for line in lines if line.strip())
    return widths[int(len(widths) * 0.9)] if widths else 0


def paragraphs(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines between blank ones, after the number of the first of them, from 1."""
    begun = 0
    for number, line in enumerate(lines):
        if not line.strip():
            if begun < number:
                yield begun + 1, lines[begun:number]
            begun = number + 1
    if begun < len(lines):
        yield begun + 1, lines[begun:]


def join_paragraph(lines: list[str], full: int) -> str:
    """Join the lines of a paragraph where a layout has wrapped them, and keep other line breaks.

    Args:
        full: the text's full width.
    """
    parts = [lines[0].strip()]
    for before, line in itertools.pairwise(lines):
        following = line.strip()
        parts += (_joint(parts[-1], following) if is_wrapped(before, line, full) else "\n", following)
    return "".join(parts)


def is_wrapped(line: str, following: str, full: int) -> bool:
    """Return whether a layout has broken a paragraph between two lines."""
    return (
        40 <= full <= 140
        and width(line) >= 0.75 * full
        and not begins_item(following)
        and not line.rstrip().endswith("|")
    )


def begins_item(line: str) -> bool:
    """Return whether a line begins a list item, a table row, a quotation, a heading or an entry of a log."""
    return bool(_OWN_LINE.match(line))


def _joint(one: str, other: str) -> str:
    """Return what is put between two lines that are joined."""
    if is_wide(one[-1]) and is_wide(other[0]):
        return ""
    return "" if one[-1] == "-" and one[-2:-1].isalpha() and other[0].islower() else " "


def is_wide(character: str) -> bool:
    """Return whether a character is as wide as two, as Chinese ones are, between which no space stands."""
    return unicodedata.east_asian_width(character) in ("W", "F")


def width(line: str) -> int:
    """Return the width of a line in terminal columns; Chinese characters have two."""
    line = line.rstrip()
    return len(line) if line.isascii() else 2 * len(line) - len(_wide_characters().sub("", line))
