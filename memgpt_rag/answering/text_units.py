"""The units of a passage that can be quoted: sentences of prose; lines, list items and code blocks of what is laid out in lines.

Knows text only, English and Chinese.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from unicodedata import east_asian_width

from memgpt_rag.answering.attention_trace import Span
from memgpt_rag.model.answer_text import FENCE, ITEM
from memgpt_rag.model.prompt import HAN

# Full stops that end no sentence: of titles, initials and usual abbreviations.
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|Lt|Col|Gen|Gov|Rev|Capt|Mt|Fig|No|Vol|pp?|vs|cf|ca|al|approx|e\.g|i\.e|a\.k\.a|[A-Za-z])"
    r"|(?:\b[A-Z]\.)+[A-Z])\.$"
)
_CLOSING = r"[\"'”’»）)\]」』】]*"
_SENTENCE_END = re.compile(rf"[。！？]+{_CLOSING}|(?:[.!?]+{_CLOSING}|…+)(?=\s|[{HAN}]|$)")
_INDENTED = re.compile(r"(?: {4}|\t)\s*\S")
_LONG = 400  # characters of a list item that is quoted by the sentence
_MOST_COMPLETED = 600  # characters of a unit with the line that introduces it and what it introduces
_NUMBER = re.compile(r"\s*(?:\d+\.)+")  # of a heading, such as 3.2.


def text_units(text: str) -> list[Span]:
    """Return the units of a text in their order, as (start, end) in characters; nothing but white space stands between them."""
    units: list[Span] = []
    for start, end in _blocks(text):
        units += [(start, end)] if _is_whole(text[start:end]) else _sentences(text, start, end)
    return units


def completed(text: str, units: list[Span], place: int) -> Span:
    """Return a unit, with the line that introduces it and what it introduces itself: a line with a colon says little alone.

    Args:
        place: of the unit among the units of the text.
    """
    first = last = place
    if place and _introduces(text, units[place - 1]):
        first -= 1
    is_list = last + 1 < len(units) and is_item(text[slice(*units[last + 1])])
    while last + 1 < len(units) and units[last + 1][1] - units[first][0] <= _MOST_COMPLETED:
        goes_on = last > place and is_list and is_item(text[slice(*units[last + 1])])
        if not (_introduces(text, units[last]) or (goes_on and _introduces(text, units[place]))):
            break
        last += 1
    if units[last][1] - units[first][0] > _MOST_COMPLETED:
        first = place
    return units[first][0], units[last][1]


def widened(text: str, units: list[Span], span: Span, most: int) -> Span:
    """Return a span with the units around it, one behind it and one before it in turn, as long as all of it has at most so many columns.

    A line at the end that only introduces what does not fit is left out again.

    Args:
        span: of one unit or more.
        most: columns; a Chinese character takes two, as in a terminal.
    """
    first = bisect_left(units, span[0], key=_start)
    last = max(first, bisect_left(units, span[1], key=_start) - 1)
    grew = True
    while grew:
        grew = False
        for before, behind in ((0, 1), (1, 0)):
            low, high = first - before, last + behind
            if low >= 0 and high < len(units) and _columns(text[units[low][0] : units[high][1]]) <= most:
                first, last, grew = low, high, True
    while units[last][0] >= span[1] and last + 1 < len(units) and _introduces(text, units[last]):
        last -= 1
    return min(span[0], units[first][0]), max(span[1], units[last][1])


def _start(unit: Span) -> int:
    return unit[0]


def _columns(text: str) -> int:
    return sum(1 + (east_asian_width(character) in "WF") for character in text)


def _introduces(text: str, unit: Span) -> bool:
    return text[slice(*unit)].endswith((":", "："))


def is_item(line: str) -> bool:
    """Whether a line begins an item of a list."""
    return ITEM.match(line) is not None


def _blocks(text: str) -> Iterator[Span]:
    """Lines; code between fences and runs of indented lines are one block each, and so are list items with their further lines."""
    lines = [(line.start(), line.end()) for line in re.finditer(r"[^\n]+", text)]
    place = 0
    while place < len(lines):
        start, end = lines[place]
        line, last = text[start:end], place
        if FENCE.match(line):
            last = next((at for at in range(place + 1, len(lines)) if FENCE.match(text[slice(*lines[at])])), place)
        elif _INDENTED.match(line) and not is_item(line):
            while last + 1 < len(lines) and _INDENTED.match(text[slice(*lines[last + 1])]):
                last += 1
        elif is_item(line):
            while last + 1 < len(lines) and _goes_on(text, lines[last], lines[last + 1]):
                last += 1
        if line.strip() or last > place:
            yield start, lines[last][1]
        place = last + 1


def _goes_on(text: str, line: Span, following: Span) -> bool:
    """Whether a line directly behind one of a list item is part of it: indented, and no item itself."""
    first = text[slice(*following)]
    return following[0] - line[1] == 1 and first[:1] in " \t" and bool(first.strip()) and not is_item(first)


def _is_whole(block: str) -> bool:
    """Whether a block is quoted as a whole: code, commands, and list items that are not long."""
    first = block.split("\n", 1)[0]
    return bool(FENCE.match(first) or (_INDENTED.match(first) and not is_item(first))) or (
        is_item(first) and len(block) <= _LONG
    )


def _sentences(text: str, start: int, end: int) -> Iterator[Span]:
    at = start
    for found in _SENTENCE_END.finditer(text, start, end):
        if _ABBREVIATION.search(text, max(at, found.end() - 12), found.end()):
            continue
        behind = text[found.end() : end].lstrip()
        if text[found.start()] not in "。！？" and (behind[:1].islower() or _NUMBER.fullmatch(text, at, found.end())):
            continue
        yield from _trimmed(text, at, found.end())
        at = found.end()
    yield from _trimmed(text, at, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[Span]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield start, end
