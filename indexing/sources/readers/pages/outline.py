"""Headings of a PDF file: its bookmarks, placed at the lines of their pages that they name."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from indexing.sources.readers.pages.lines import Line, heading_letters, with_letters

_MOST_BOOKMARKS = 20_000
_LONGEST = 300  # characters
_LONGEST_HEADING = 4  # lines
_PAGE_NAME = re.compile(
    r"(page|seite|p\.?|s\.?|sheet|slide|folie|blatt|página|pagina|第)?\s*[\divxlc]+\s*[页頁]?", re.IGNORECASE
)


class Bookmark(NamedTuple):
    """A heading of a page, and the level of its section, from 1."""

    level: int
    heading: str


class Section(NamedTuple):
    """Lines of a page under a heading that begins on it; None for those before the first one."""

    bookmark: Bookmark | None
    lines: Sequence[Line]


def bookmarks(pdf: Any) -> dict[int, list[Bookmark]]:
    """Return the bookmarks of each page, from 1; those that only name pages are no headings."""
    found: dict[int, list[Bookmark]] = defaultdict(list)
    for bookmark in itertools.islice(pdf.get_toc(), _MOST_BOOKMARKS):
        heading = " ".join(with_letters(bookmark.get_title()).replace("\0", " ").split())[:_LONGEST]
        destination = bookmark.get_dest()
        index = None if destination is None else destination.get_index()
        if heading and index is not None and index >= 0 and not _PAGE_NAME.fullmatch(heading):
            found[index + 1].append(Bookmark(bookmark.level + 1, heading))
    return found


def sections(lines: Sequence[Line], marks: Sequence[Bookmark]) -> Iterator[Section]:
    """Divide the lines of a page at its headings; the lines of a heading itself are left to the heading.

    A heading that no line names begins where the one before it does, or at the top of the page.
    """
    at, open_mark = 0, None
    for mark in marks:
        start, end = _place(lines, at, heading_letters(mark.heading))
        if open_mark is not None or start > at:
            yield Section(open_mark, lines[at:start])
        at, open_mark = end, mark
    yield Section(open_mark, lines[at:])


def _place(lines: Sequence[Line], begin: int, heading: str) -> tuple[int, int]:
    """Return first and end of the lines that are a heading; twice `begin` if there are none."""
    for first in range(begin, len(lines)):
        letters = ""
        for end in range(first, min(first + _LONGEST_HEADING, len(lines))):
            letters += heading_letters(lines[end].text[: 2 * _LONGEST])
            if letters and letters == heading:
                return first, end + 1
            if len(letters) > len(heading):
                break
    return begin, begin
