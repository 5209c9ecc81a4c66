"""Reading order of pages in two columns whose file holds them row by row, so that PDFium mixes both columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from indexing.sources.readers.pages.lines import HYPHEN_MARKS, Line

_LEAST_ROWS = 8  # with text in both columns
_MOST_PIECES = 2_000
_MOST_BANDS = 12
_GUTTER = 8.0  # points
_LEAST_WIDTH = 0.25  # of the page's, of a line in a column
_FULL = 0.6  # of the widest line, as the usual width of lines; cells of a table are shorter


class _Piece(NamedTuple):
    """A piece of a line of text on the page."""

    left: float
    bottom: float
    right: float
    top: float


def text_by_columns(handle: Any, text_page: Any) -> list[Line] | None:
    """Return the lines of a page in two columns, the left one first; None where PDFium's own order is kept.

    Only prose whose lines fill both columns, and which the file holds row by row, is put in order. Lines across both
    columns divide the page into bands.
    """
    count = text_page.count_rects()
    if not 2 * _LEAST_ROWS <= count <= _MOST_PIECES:
        return None
    pieces = [_Piece(*text_page.get_rect(index)) for index in range(count)]
    left, _, right, _ = handle.get_bbox()
    gutter = _gutter(pieces, left, right)
    if gutter is None or not _is_prose_row_by_row(pieces, gutter, right - left):
        return None
    bands = _bands(pieces, gutter)
    if len(bands) > _MOST_BANDS:
        return None
    lines: list[Line] = []
    for bottom, top, across in bands:
        parts = [(left, right)] if across else [(left, gutter), (gutter, right)]
        for start, end in parts:
            lines += _lines(text_page.get_text_bounded(start, bottom, end, top), bottom, top)
    return lines


def _gutter(pieces: Sequence[_Piece], left: float, right: float) -> float | None:
    """Return the middle of the widest strip, near the middle of the page, that the fewest pieces cross."""
    begin, end = int(left + 0.35 * (right - left)), int(left + 0.65 * (right - left))
    if not 0 < end - begin < 10_000:
        return None
    changes = [0] * (end - begin + 2)
    for piece in pieces:
        first, last = max(int(piece.left), begin), min(int(piece.right) + 1, end + 1)
        if first < last:
            changes[first - begin] += 1
            changes[last - begin] -= 1
    crossing, present = [], 0
    for change in changes[:-1]:
        present += change
        crossing.append(present)
    fewest = min(crossing)
    if fewest > 0.2 * len(pieces):
        return None
    best = start = length = 0
    for at, number in enumerate([*crossing, -1]):
        if number == fewest:
            length += 1
        else:
            if length > best:
                best, start = length, at - length
            length = 0
    return begin + start + best / 2 if best >= _GUTTER else None


def _is_prose_row_by_row(pieces: Sequence[_Piece], gutter: float, width: float) -> bool:
    """Return whether lines fill both columns, and the file holds a line of the right one after each of the left one."""
    rows: dict[int, tuple[list[_Piece], list[_Piece]]] = {}
    turns, before = 0, None
    for piece in pieces:
        if piece.left < gutter < piece.right:
            before = None
            continue
        side = int(piece.left >= gutter)
        row = round((piece.top + piece.bottom) / 6)
        near = next((key for key in (row, row - 1, row + 1) if key in rows), row)
        rows.setdefault(near, ([], []))[side].append(piece)
        turns += before is not None and before != side
        before = side
    both = [row for row in rows.values() if row[0] and row[1]]
    if len(both) < _LEAST_ROWS or turns < len(both):
        return False
    for side in (0, 1):
        widths = sorted(max(one.right for one in row[side]) - min(one.left for one in row[side]) for row in both)
        usual = widths[len(widths) // 2]
        if usual < _FULL * widths[-1] or usual < _LEAST_WIDTH * width:
            return False
    return True


def _bands(pieces: Sequence[_Piece], gutter: float) -> list[tuple[float, float, bool]]:
    """Return bottom and top of each band from the top down, and whether its lines go across both columns."""
    bands: list[tuple[float, float, bool]] = []
    for piece in sorted(pieces, key=lambda one: -one.top):
        across = piece.left < gutter < piece.right
        if bands and bands[-1][2] == across:
            bands[-1] = (min(bands[-1][0], piece.bottom), bands[-1][1], across)
        else:
            top = piece.top if not bands else min(piece.top, bands[-1][0])
            bands.append((piece.bottom, top, across))
    return [(bottom - 0.5, top + 0.5, across) for bottom, top, across in bands]


def _lines(text: str, bottom: float, top: float) -> list[Line]:
    for mark in HYPHEN_MARKS:
        text = text.replace(mark, HYPHEN_MARKS[0])
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    step = (top - bottom) / max(len(lines), 1)
    return [Line(line, top - number * step) for number, line in enumerate(lines)]
