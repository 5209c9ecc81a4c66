"""Rows of an HTML table: each cell once and in its column, header rows apart."""

from __future__ import annotations

from indexing.sources.document import BlockBuilder

# Browsers allow more; a page could ask for millions of empty cells then.
_MOST_COLUMNS = 100


class HtmlTable:
    """Collects the cells of a table of data.

    A cell that spans columns or rows stands once, in its first ones; cells after it keep their columns.
    """

    def __init__(self) -> None:
        self._header: list[str] = []
        self._rows: list[tuple[str, int, int]] = []
        self._spans: dict[int, int] = {}  # column → last row that a cell above reaches into
        self._number = 0
        self._in_head = False
        self._cells: list[str] | None = None
        self._is_header = True
        self._first = self._last = 0
        self._tables: list[tuple[str, list[tuple[str, int, int]]]] = []

    def begin_section(self, tag: str) -> None:
        """Begin thead, tbody or tfoot."""
        self.end_row()
        self._in_head = tag == "thead"

    def begin_row(self, line: int) -> None:
        """Begin a row; the one before ends."""
        self.end_row()
        self._cells, self._is_header, self._first, self._last = [], True, line, line

    def add_cell(self, text: str, attributes: dict[str, str], *, is_header: bool, first: int, last: int) -> None:
        """Add a cell, from line `first` to `last`."""
        if self._cells is None:
            self.begin_row(first)
        assert self._cells is not None
        while len(self._cells) < _MOST_COLUMNS and self._spans.get(len(self._cells), -1) >= self._number:
            self._cells.append("")
        column, columns = len(self._cells), _span(attributes.get("colspan"))
        if (rows := _span(attributes.get("rowspan"))) > 1:
            for one in range(column, min(column + columns, _MOST_COLUMNS)):
                self._spans[one] = self._number + rows - 1
        self._cells.append(text)
        self._cells.extend([""] * min(columns - 1, _MOST_COLUMNS - len(self._cells)))
        self._is_header = self._is_header and (is_header or not text)
        self._last = max(self._last, last)

    def end_row(self) -> None:
        """End the present row, if there is one."""
        if self._cells is None:
            return
        cells, self._cells = self._cells, None
        self._number += 1
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            return
        row = " | ".join(cells)
        if (self._is_header or self._in_head) and not self._rows:
            self._header.append(row)
            self._header_lines = (self._first, self._last)
        elif self._is_header and len(cells) > 1:  # a second header; its rows are a table of their own
            self._end_part()
            self._header = [row]
            self._header_lines = (self._first, self._last)
        else:
            self._rows.append((row, self._first, self._last))

    def add_to(self, builder: BlockBuilder) -> None:
        """End the table, and add it to a document's blocks."""
        self.end_row()
        self._end_part()
        for header, rows in self._tables:
            builder.table(header, rows)

    def _end_part(self) -> None:
        if self._rows:
            self._tables.append(("\n".join(self._header), self._rows))
        elif self._header:  # a table of headers only
            self._tables.append(("", [(row, *self._header_lines) for row in self._header]))
        self._header, self._rows = [], []


def _span(value: str | None) -> int:
    value = (value or "").strip()
    return max(1, min(int(value), 65_534)) if value.isascii() and value.isdigit() and len(value) < 7 else 1
