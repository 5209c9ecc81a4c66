"""Joins a passage with the passages before and after it in its document, where a passage alone has too little context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pyarrow.compute as pc

from memgpt_rag.memory import Searchable
from memgpt_rag.passage import Passage


def with_adjacent(
    memory: Searchable, row: int, passage: Passage, reach: int
) -> tuple[tuple[int, ...], tuple[str, ...], Passage]:
    """Join a passage with up to `reach` passages on either side, under the same headings of the same document.

    Returns:
        The rows and the ids of what was joined, in reading order, and the joined passage: the passage itself, with the text and the
        places of all of them.
    """
    same = (
        (pc.field("source") == passage.source)
        & (pc.field("record") == passage.record)
        & (pc.field("title") == passage.title)
    )
    rows = [int(one) for one in memory.rows(same)]
    parts = sorted(zip(memory.passages(rows), rows, strict=True), key=lambda part: (part[0].start, part[1] != row))
    place = next(place for place, (_, one) in enumerate(parts) if one == row)
    first = last = place
    while first > max(0, place - reach) and _touch(parts[first - 1][0], parts[first][0]):
        first -= 1
    while last < min(len(parts) - 1, place + reach) and _touch(parts[last][0], parts[last + 1][0]):
        last += 1
    joined = parts[first : last + 1]
    parts_joined, rows_joined = zip(*joined, strict=True)
    return rows_joined, tuple(part.id for part in parts_joined), _join(passage, parts_joined)


# Largest gap in characters between adjacent passages, the white space that was stripped; a larger one is a deleted passage.
_GAP = 8


def _touch(before: Passage, after: Passage) -> bool:
    return 0 <= after.start - before.end <= _GAP


def _join(passage: Passage, parts: Sequence[Passage]) -> Passage:
    first, last, text = parts[0], parts[-1], parts[0].text
    for before, after in pairwise(parts):
        gap = after.start - before.end
        text += ("\n\n" if gap > 1 else " " * gap) + after.text
    return replace(passage, text=text, first=first.first, start=first.start, last=last.last, end=last.end)
