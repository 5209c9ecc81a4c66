"""What a layout adds to plain text: headers and footers of pages, and tables of contents."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass, field

from indexing.sources.readers.text.headings import MOST_HEADING, bare

_MARGIN_LINES = 2  # of a header or footer, at most
_LEAST_PAGES = 3  # on which a line stands, to be one
# "3.1. Title", "A.2 Title", "Chapter 3. Title", "第 3 章 标题", "3) Title", "三、标题"
_ENTRY = re.compile(
    r"(?:(?:Chapter|Appendix|Part|Section|Table|Figure|Example|CHAPTER|APPENDIX|PART|表|图|例|附录)\s*|第\s*)?"
    r"((?:\d{1,3}|[A-Z](?=\.))(?:\.\d{1,3})*|[一二三四五六七八九十百]+)\s*[章节篇部]?(?:[.):：]?\s+|、\s*)(\S.*)"
)
_LEADERS = re.compile(r"(?<!\s)\s*(?:\.\s?|…|·\s?|\t){3,}\s*[\divxlc]{1,6}\s*$", re.IGNORECASE)
_LEAST_ENTRIES = 5
_MOST_CONTINUATIONS = 3  # further lines of an entry
_TITLE = re.compile(r"(?:table of )?contents|index|目\s*[录次]|list of (?:tables|figures|examples)|(?:表|图|例)格?清单")
_KEY_CHARACTERS = 12


@dataclass
class Contents:
    """The tables of contents of a text.

    Attributes:
        lines: numbers of their lines, from 0.
        entries: key of a line that begins with a number → what follows the number in the table.
        ranges: first and last line of each table, from 0, and its number of entries.
    """

    lines: set[int] = field(default_factory=set)
    entries: dict[str, str] = field(default_factory=dict)
    ranges: list[tuple[int, int, int]] = field(default_factory=list)


def page_furniture(lines: list[str]) -> set[int]:
    """Return the numbers, from 0, of lines that are headers or footers of pages, which form feeds divide.

    They are the first or last lines of at least half of the pages, alike but for numbers.
    """
    pages: list[list[int]] = [[]]
    for number, line in enumerate(lines):
        if line.startswith("\f"):
            pages.append([])
        if line.strip():
            pages[-1].append(number)
        if "\f" in line.lstrip("\f"):
            pages.append([])
    pages = [page for page in pages if page]
    margins = [dict.fromkeys(_margin(page) + _margin(page[::-1])) for page in pages]
    times = Counter(form for margin in margins for form in {_form(lines[number]) for number in margin})
    least = max(_LEAST_PAGES, len(pages) / 2)
    return {number for margin in margins for number in margin if times[_form(lines[number])] >= least}


def _margin(page: list[int]) -> list[int]:
    """Return the lines at the start of a page that may be a header: those above a blank line, or else the first one.

    Args:
        page: numbers of its lines that are not blank; reversed to find a footer.
    """
    count = next((n for n in range(1, len(page)) if abs(page[n] - page[n - 1]) > 1), len(page))
    return page[: count if count <= _MARGIN_LINES else 1]


def _form(line: str) -> str:
    """Return a line without its numbers and spaces, as they differ from page to page."""
    return "".join(character for character in line[:200] if not character.isdigit() and not character.isspace())


def find_contents(lines: list[str]) -> Contents:
    """Find runs of at least five numbered or dotted entries most of which occur again later, as headings."""
    entries = [_entry(line) for line in lines]
    runs = [run for run in _runs(lines, entries) if _count(run, entries) >= _LEAST_ENTRIES]
    last: dict[str, int] = {}
    for number, (line, entry) in enumerate(zip(lines, entries, strict=True)) if runs else ():
        if entry is not None:
            last[entry[0]] = number
        elif line.strip() and len(line) <= MOST_HEADING:
            last[bare(line)] = number
    contents = Contents()
    for run in runs:
        recurring = [number for number in run if (entry := entries[number]) and last.get(entry[0], -1) > number]
        run = run[: run.index(recurring[-1]) + 1] if recurring else []
        count = _count(run, entries)
        if count >= _LEAST_ENTRIES and len(recurring) >= 0.6 * count and _are_headings(lines, recurring, entries, last):
            _add(contents, lines, entries, run)
    return contents


def _are_headings(
    lines: list[str], recurring: list[int], entries: list[tuple[str, str] | None], last: dict[str, int]
) -> bool:
    """Return whether other text follows where entries recur, as after headings; not so in another copy of a list."""
    places = sorted(last[entry[0]] for number in recurring if (entry := entries[number]) is not None)
    nexts = [
        next((n for n in range(place + 1, min(place + 4, len(lines))) if lines[n].strip()), -1) for place in places
    ]
    alone = sum(number < 0 or entries[number] is None for number in nexts)
    return places[-1] - places[0] >= 1.5 * (recurring[-1] - recurring[0]) and alone >= 0.4 * len(places)


def _count(run: list[int], entries: list[tuple[str, str] | None]) -> int:
    return sum(entries[number] is not None for number in run)


def _entry(line: str) -> tuple[str, str] | None:
    """Return the key of a numbered or dotted line, and its text without number and dots; None for another line."""
    stripped = line.strip()
    if not stripped or len(stripped) > MOST_HEADING:
        return None
    text = _LEADERS.sub("", stripped) if stripped[-1].isalnum() else stripped
    numbered = _ENTRY.fullmatch(text)
    if numbered is not None:
        return f"{numbered[1]}:{bare(numbered[2])[:_KEY_CHARACTERS]}", numbered[2]
    return (bare(text), text) if text != stripped and bare(text) else None


def entry_key(line: str) -> str | None:
    """Return the key under which a line may be in `Contents.entries`."""
    entry = _entry(line)
    if entry is not None:
        return entry[0]
    return bare(line) if len(line) <= MOST_HEADING else None


def _runs(lines: list[str], entries: list[tuple[str, str] | None]) -> list[list[int]]:
    """Return the numbers of lines that are not blank, by runs of entries with their further lines."""
    runs: list[list[int]] = []
    run: list[int] = []
    further = 0  # lines after the last entry
    filled = [number for number, line in enumerate(lines) if line.strip()]
    following = dict(itertools.pairwise(filled))
    for number in filled:
        after_blank = bool(run) and run[-1] != number - 1
        if entries[number] is not None:
            further = 0
        elif not run:
            continue
        elif not after_blank and further < _MOST_CONTINUATIONS and len(lines[number]) <= MOST_HEADING:
            further += 1
        elif len(lines[number].strip()) <= 60 and entries[following.get(number, number)] is not None:
            further = 0  # a title between entries
        else:
            runs.append(run)
            run = []
            continue
        run.append(number)
    return [*runs, run] if run else runs


def _add(contents: Contents, lines: list[str], entries: list[tuple[str, str] | None], run: list[int]) -> None:
    """Add a table of contents: its lines, the rest of its last entry, and its title before it."""
    count, end = 0, run[-1] + 1
    while end < len(lines) and lines[end].strip() and entries[end] is None and end - run[-1] <= _MOST_CONTINUATIONS:
        end += 1
    run = [*run, *range(run[-1] + 1, end)]
    key, text = "", ""
    for number in run:
        entry = entries[number]
        if entry is not None:
            count += 1
            key, text = entry
        else:
            text += _LEADERS.sub("", lines[number])
        contents.entries[key] = bare(text)
    first = run[0]
    before = next((number for number in range(first - 1, max(-1, first - 4), -1) if lines[number].strip()), None)
    if before is not None and _TITLE.fullmatch(lines[before].strip().casefold().rstrip(":：")):
        first = before
    contents.lines.update(range(first, run[-1] + 1))
    contents.ranges.append((first, run[-1], count))
