"""Tables in a sheet of cells: where each begins and ends, and which of its rows are its header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.readers.note_text import first_names
from indexing.sources.readers.office.table_text import row_text
from memgpt_rag.errors import SourceError

_YEAR = re.compile(r"(19|20)\d\d")
_MOST_HEADER_ROWS = 4
_MOST_CELLS = 2_000_000
MOST_CHARACTERS = 100_000_000
_MOST_NAMED = 10
# Names that programs give to sheets.
_AUTOMATIC_NAME = re.compile(
    r"(sheet|tabelle|feuil|feuille|hoja|foglio|planilha|blad|ark|arkusz|лист|工作表|シート)[ _]*\d*", re.IGNORECASE
)


@dataclass(frozen=True)
class Cell:
    """A cell that is not empty: the number of its column, from 1, its text in one line, and whether it is no number."""

    column: int
    text: str
    is_text: bool


@dataclass(frozen=True)
class Row:
    """A row that is not empty: its number, from 1, and its cells, from the left."""

    number: int
    cells: tuple[Cell, ...]


@dataclass
class Budget:
    """What may still be read of a workbook."""

    name: str
    cells: int = _MOST_CELLS
    characters: int = MOST_CHARACTERS

    def spend(self, text: str) -> None:
        """Count a cell.

        Raises:
            SourceError: the workbook holds too many.
        """
        self.cells -= 1
        self.characters -= len(text)
        if self.cells < 0 or self.characters < 0:
            most = f"{_MOST_CELLS:,} cells" if self.cells < 0 else f"{MOST_CHARACTERS:,} characters"
            raise SourceError(
                f"{self.name} holds more than {most}; save its tables as CSV, or leave it out with --exclude."
            )


def sheet_documents(
    name: str, sheet: str, title: str, rows: list[Row], drawn: list[tuple[str, int]]
) -> Iterator[Document]:
    """Yield the document of a sheet, unless it is empty."""
    if not rows and not drawn:
        return
    builder = BlockBuilder()
    add_tables(builder, rows)
    for text, row in drawn:
        builder.text(text, row, row)
    record = sheet_record(sheet, rows) if rows else sheet
    yield Document(name, record, sheet_title(title, sheet), "row", builder.blocks())


def sheet_notes(name: str, is_empty: bool, hidden: list[str], left_out: list[str]) -> Iterator[Note]:
    """Yield the notes of a workbook: hidden sheets by name, and what else was left out."""
    if is_empty:
        yield Note(name, "holds no text")
    if hidden:
        sheets = "sheet" if len(hidden) == 1 else "sheets"
        yield Note(name, f"left out: hidden {sheets} {first_names(hidden, _MOST_NAMED)}")
    if left_out:
        yield Note(name, f"left out: {', '.join(left_out)}")


def column_letters(column: int) -> str:
    """Return the name of a column, from 1: "A", "Z", "AA"."""
    letters = ""
    while column > 0:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def sheet_record(sheet: str, rows: list[Row]) -> str:
    """Return what names a sheet with the columns in use: "Prices!A:D"."""
    first = min(row.cells[0].column for row in rows)
    last = max(row.cells[-1].column for row in rows)
    return f"{sheet}!{column_letters(first)}:{column_letters(last)}"


def sheet_title(book: str, sheet: str) -> str:
    """Return the title of a sheet: the book's, and the sheet's name unless a program gave it."""
    return book if _AUTOMATIC_NAME.fullmatch(sheet.strip()) else f"{book} › {sheet.strip()}"


def add_tables(builder: BlockBuilder, rows: list[Row]) -> None:
    """Add the tables of a sheet, which rows without any cell divide.

    Args:
        rows: rows that are not empty, in order.
    """
    for table in _tables(rows):
        columns = sorted({cell.column for row in table for cell in row.cells})
        cells = sum(len(row.cells) for row in table)
        # Cells far apart would cost more in empty ones than there is to read.
        places = columns if len(table) * len(columns) <= 8 * cells + 10_000 else None
        lines = [_line(row, places) for row in table]
        first = _header_rows(table)
        builder.table(
            "\n".join(lines[:first]),
            [(line, row.number, row.number) for row, line in zip(table[first:], lines[first:])],
        )


def _tables(rows: list[Row]) -> Iterator[list[Row]]:
    starts = [0, *(at for at, (one, other) in enumerate(pairwise(rows), 1) if other.number > one.number + 1), len(rows)]
    for start, end in pairwise(starts):
        if start < end:
            yield rows[start:end]


def _line(row: Row, columns: list[int] | None) -> str:
    if columns is None:
        return row_text(cell.text for cell in row.cells)
    texts = {cell.column: cell.text for cell in row.cells}
    return row_text(texts.get(column, "") for column in columns)


def _header_rows(table: list[Row]) -> int:
    """Return how many rows at the top are a title or name the columns; one row at least is none of them."""
    widest = max(len(row.cells) for row in table)
    if widest < 2:
        return 0
    at = 0
    while at < len(table) - 1 and at < _MOST_HEADER_ROWS and len(table[at].cells) == 1 and table[at].cells[0].is_text:
        at += 1  # a title over the whole table
    title_rows = at
    first_column = min(row.cells[0].column for row in table)
    while (
        at < len(table) - 1
        and at < title_rows + _MOST_HEADER_ROWS
        and _names_columns(table[at], first_column)
        and (at == title_rows or _is_second_header(table, at))
    ):
        at += 1
    return at if at > title_rows or not title_rows else 0


def _names_columns(row: Row, first_column: int) -> bool:
    """Return whether a row holds texts only, or also years, two at least, beside a text or an empty corner."""
    years = sum(1 for cell in row.cells if not cell.is_text and _YEAR.fullmatch(cell.text))
    texts = sum(1 for cell in row.cells if cell.is_text)
    return texts + years == len(row.cells) and (
        years == 0 or (years > 1 and (texts > 0 or row.cells[0].column > first_column))
    )


def _is_second_header(table: list[Row], at: int) -> bool:
    """Return whether a row goes into detail under a row of fewer, merged cells, with numbers below."""
    above, row, below = table[at - 1], table[at], table[at + 1]
    return len(above.cells) < len(row.cells) and any(not cell.is_text for cell in below.cells)
