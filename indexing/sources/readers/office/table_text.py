"""Tables as text: the cells of a row with " | " between them."""

from __future__ import annotations

from collections.abc import Iterable

_SENTENCE_ENDS = tuple(".!?:;,。！？：；，…")


def cell_text(paragraphs: Iterable[str]) -> str:
    """Return the paragraphs of a cell in one line, each as a sentence of its own."""
    text = ""
    for paragraph in paragraphs:
        line = " ".join(paragraph.split())
        if line:
            text += ("" if not text else " " if text.endswith(_SENTENCE_ENDS) else "; ") + line
    return text


def row_text(cells: Iterable[str], spans: Iterable[int] | None = None) -> str:
    """Return a row; cells of several columns have empty ones behind them, and empty ones at the end are left out.

    Args:
        spans: width of each cell in columns.
    """
    cells = list(cells)
    parts: list[str] = []
    for cell, span in zip(cells, spans if spans is not None else [1] * len(cells), strict=True):
        parts += [cell, *[""] * (span - 1)]
    while parts and not parts[-1]:
        parts.pop()
    return " | ".join(parts)


def flat_table(rows: Iterable[Iterable[str]]) -> str:
    """Return a table inside a cell in one line: rows with ";" between them, their cells with ","."""
    lines = (", ".join(cell for cell in cells if cell) for cells in rows)
    return "; ".join(line for line in lines if line)


def split_table(rows: list[list[str]], lines: list[str], marked: list[bool]) -> tuple[str, list[str]]:
    """Return the header of a table, and its other rows that are not empty.

    The header is the first rows that are marked as one, or else the first row with a title above that, a row of one cell.

    Args:
        rows: the cells of each row.
        lines: each row as text.
        marked: whether each row is marked as a header.
    """
    first = marked.index(False) if False in marked else len(lines)
    if not first:
        first = 2 if len(rows) > 2 and len(rows[0]) == 1 < len(rows[1]) else 1
    header, body = [line for line in lines[:first] if line], [line for line in lines[first:] if line]
    return ("\n".join(header), body) if body else ("", header)
