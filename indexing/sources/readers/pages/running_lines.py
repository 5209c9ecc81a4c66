"""Finds what a layout repeats on its pages: headers, footers, page numbers, and tables of contents."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from indexing.sources.readers.pages.lines import Line, heading_letters

_LEAST_PAGES = 3
_DEEPEST = 4  # lines of a header or footer
_LONGEST = 200  # characters of a header
_MOST_OFFSET = 50  # of a page number beside words, from the page's own; "Invoice 1001" has another kind of number
_LARGER = 1.15  # than the usual letters: a heading that several pages share
_NUMBER = re.compile(r"\d+")
_EDGE_NUMBER = re.compile(r"^\d{1,6}(?=\s|$)|(?<=\s)\d{1,6}$")
_ROMAN = re.compile(r"[ivxlcdm]{1,7}")
_ROMAN_VALUES = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}
_PAGE_WORD = re.compile(
    r"\b(page|pg|p|seite|s|página|pagina|str|sheet|slide|folie|blatt|of|von|de|sur)\b|[页頁/|]", re.IGNORECASE
)
_ENTRY_PAGE = re.compile(r"(?<=[\s.·‧_…])((?:[A-Z]-)?\d{1,4}|[ivxlcdm]{1,7})$")
_LEADERS = ".·‧_…"
_CONTENTS = re.compile(
    r"(table of )?contents|index|inhalt(sverzeichnis)?|sommaire|table des matières|índice|contenido|indice|目\s*[录錄次]|"
    r"(list of )?(figures|tables)|abbildungsverzeichnis|tabellenverzeichnis",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Running:
    """A line that many pages have at their top or foot.

    Attributes:
        text: the line on the first of these pages.
        pages: number of pages that have it.
    """

    text: str
    pages: int


def leave_out_running_lines(pages: Sequence[list[Line]]) -> list[Running]:
    """Remove headers, footers and page numbers from the lines of pages, in place, and return them.

    A line is one if it stands outermost at the top or foot of most pages, or of most left or right ones, and is the
    same on them up to numbers that count with the pages. A page whose lines are all such lines keeps them, and so do
    pages that are alike in more lines than a header has.
    """
    found: list[Running] = []
    written = [page for page in pages if page]
    if len(written) < _LEAST_PAGES:
        return []
    kept = [list(page) for page in pages]
    sizes = sorted(line.size for page in written for line in page[:50])
    usual = sizes[len(sizes) // 2]
    for _ in range(_DEEPEST):
        edges = [_outermost(kept, at_top, usual) for at_top in (True, False)]
        running = [group for edge in edges for group in _repeated(edge, kept)] or _numbered(edges, kept)
        if not running:
            break
        for group in running:
            found.append(Running(group[0][1].text, len(group)))
            for number, line in group:
                kept[number] = [other for other in kept[number] if other is not line]
    else:
        return []  # pages that are alike, such as copies of one form
    for page, rest in zip(pages, kept):
        if rest:
            page[:] = rest
    return found


def _outermost(pages: Sequence[list[Line]], at_top: bool, usual: float) -> list[tuple[int, Line]]:
    """Return number of the page, from 0, and line of those that may be running lines; headings have larger letters."""
    found = []
    for number, page in enumerate(pages):
        if page:
            line = max(page, key=lambda one: one.top) if at_top else min(page, key=lambda one: one.top)
            if len(line.text) <= _LONGEST and line.size <= _LARGER * usual:
                found.append((number, line))
    return found


def _repeated(edge: Sequence[tuple[int, Line]], pages: Sequence[list[Line]]) -> list[list[tuple[int, Line]]]:
    """Return the groups of outermost lines that are the same on most pages, or on most left or right ones."""
    groups: dict[str, list[tuple[int, Line]]] = defaultdict(list)
    for number, line in edge:
        groups[_NUMBER.sub("#", _as_digits(line.text)).casefold()].append((number, line))
    written = [number for number, page in enumerate(pages) if page]
    by_side = Counter(number % 2 for number in written)
    found = []
    for template, group in groups.items():
        sides = {number % 2 for number, _ in group}
        reach = by_side[sides.pop()] if len(sides) == 1 else len(written)
        if len(group) >= max(_LEAST_PAGES, reach / 2 + 0.5) and _counts_with_pages(template, group):
            found.append(group)
    return found


def _numbered(edges: Sequence[Sequence[tuple[int, Line]]], pages: Sequence[list[Line]]) -> list[list[tuple[int, Line]]]:
    """Return, as one group, outermost lines that begin or end in the page number, such as "Chapter 2: Boats 17".

    Most pages must have such a line, at the top or the foot, and its other words must stand on a second page.
    """
    by_offset: dict[int, list[tuple[int, Line, str]]] = defaultdict(list)
    for edge in edges:
        for number, line in edge:
            text = _as_digits(line.text)
            for match in _EDGE_NUMBER.finditer(text):
                words = text[: match.start()] + text[match.end() :]
                by_offset[int(match[0]) - number].append((number, line, words.strip().casefold()))
    if not by_offset:
        return []
    offset, lines = max(by_offset.items(), key=lambda item: len({number for number, _, _ in item[1]}))
    written = sum(1 for page in pages if page)
    if len({number for number, _, _ in lines}) < max(_LEAST_PAGES, written / 2 + 0.5):
        return []
    shared = Counter(words for _, _, words in lines)
    group = [
        (number, line)
        for number, line, words in lines
        if not words or (len(words.split()) > 1 and shared[words] > 1 and offset <= _MOST_OFFSET)
    ]
    return [group] if group else []


def _as_digits(text: str) -> str:
    """Return the value of a Roman numeral that stands alone; other texts as they are."""
    alone = text.strip(" -–—.[]()").lower()
    if not _ROMAN.fullmatch(alone):
        return text
    values = [_ROMAN_VALUES[character] for character in alone]
    return str(sum(-one if one < two else one for one, two in pairwise([*values, 0])))


def _counts_with_pages(template: str, group: Sequence[tuple[int, Line]]) -> bool:
    """Return whether the numbers of lines are the same on all pages, or grow with them as page numbers do."""
    rows = [[int(digits[:9]) for digits in _NUMBER.findall(_as_digits(line.text))] for _, line in group]
    if len({tuple(row) for row in rows}) == 1:
        return any(character.isalnum() for character in template)
    words = re.sub(r"[\W_]+", " ", template).split()
    bare = not words
    # "Lesson 1", "Lesson 2" are headings; "Station handbook 12", "Station handbook 13" are not.
    if not bare and len(words) < 2 and not _PAGE_WORD.search(template):
        return False
    grows = 0
    for (number, _), row, (later, _), other in zip(group, rows, group[1:], rows[1:]):
        steps = [(two - one) in (0, later - number) or two == 1 for one, two in zip(row, other)]
        near = bare or all(two - later <= _MOST_OFFSET or one == two for one, two in zip(row, other))
        grows += all(steps) and near
    return grows >= 0.9 * (len(group) - 1)


def leave_out_contents(pages: Sequence[list[Line]]) -> dict[int, int]:
    """Remove tables of contents from the lines of pages, in place.

    Runs of lines that end in a leader of dots and a page number are one if their page numbers never fall, and they
    stand under a heading such as "Contents" or most of their headings are lines of the document.

    Returns:
        index of a page → number of lines removed.
    """
    entries = [[_entry(line.text) for line in page] for page in pages]
    if not any(entry for page in entries for entry in page):
        return {}
    others = {
        heading_letters(line.text)
        for page, parts in zip(pages, entries)
        for line, entry in zip(page, parts)
        if entry is None
    }
    removed: dict[int, int] = {}
    under_heading = False  # the last page ended in a table of contents
    for number, (page, parts) in enumerate(zip(pages, entries)):
        kept: list[Line] = []
        start, continues = 0, False
        for first, end in _runs(parts):
            found = [entry for entry in parts[first:end] if entry is not None]
            heading = first > 0 and _CONTENTS.fullmatch(page[first - 1].text.strip()) is not None
            begins = heading or (under_heading and first <= 1)
            if not _is_contents(found, begins, others):
                continue
            kept += page[start : first - heading]
            removed[number] = removed.get(number, 0) + end - first + heading
            start, continues = end, end == len(page)
        under_heading = continues
        page[:] = kept + page[start:]
    return removed


def _entry(text: str) -> tuple[str, str] | None:
    """Return heading and page of an entry, between which a leader of dots or the like stands; None if it is none."""
    page = _ENTRY_PAGE.search(text[-12:].rstrip())
    if page is None:
        return None
    begin = text.rstrip()[: -len(page[0])].rstrip()
    heading = begin.rstrip(_LEADERS + " \t")
    leader = begin[len(heading) :]
    long_enough = leader.count("…") >= 2 or sum(character in _LEADERS for character in leader) >= 4
    return (heading, page[0]) if heading and long_enough else None


def _runs(entries: Sequence[tuple[str, str] | None]) -> Iterable[tuple[int, int]]:
    """Yield start and end of runs of at least three entries, with single other lines between them."""
    first = last = -1
    count = 0
    for at, entry in enumerate(entries):
        if entry is None:
            continue
        if count and at - last <= 2:
            count += 1
        else:
            if count >= 3:
                yield first, last + 1
            first, count = at, 1
        last = at
    if count >= 3:
        yield first, last + 1


def _is_contents(entries: Sequence[tuple[str, str]], begins: bool, others: set[str]) -> bool:
    numbers = [int(page) for _, page in entries if page.isdigit()]
    if any(two < one for one, two in pairwise(numbers)):
        return False
    return begins or 2 * sum(heading_letters(heading) in others for heading, _ in entries) >= len(entries)
