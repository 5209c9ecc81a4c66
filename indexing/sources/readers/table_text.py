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
