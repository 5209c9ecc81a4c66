"""Sheets of an OpenDocument spreadsheet, whose cells hold the text that people see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from indexing.sources.document import Document, Note
from indexing.sources.readers.office.opendocument_styles import STYLE, TEXT, small_number
from indexing.sources.readers.office.opendocument_walk import AUTOMATIC_STYLES, OFFICE, TABLE
from indexing.sources.readers.office.package import Package
from indexing.sources.readers.office.sheet_tables import Budget, Cell, Row, sheet_documents, sheet_notes

if TYPE_CHECKING:
    from lxml.etree import _Element

_CONTENT = "content.xml"
_ROW_FRAMES = {f"{TABLE}{name}" for name in ("table", "table-header-rows", "table-rows", "table-row-group")}
# A row of data is seldom repeated; a longer run of equal rows is a fill.
_MOST_REPETITIONS = 100


def read_sheets(package: Package, title: str) -> Iterator[Document | Note]:
    """Yield the documents of the visible sheets in order, then the notes.

    Raises:
        SourceError: no spreadsheet, or one beyond the bounds.
    """
    budget, is_empty, hidden, hidden_styles = Budget(package.name), True, [], set()
    rows: list[Row] = []
    number = repeated = 0
    tags = {f"{TABLE}table-row", f"{TABLE}table", f"{STYLE}style"}
    for element in package.stream(_CONTENT, tags, _ROW_FRAMES | {f"{OFFICE}spreadsheet"}, AUTOMATIC_STYLES):
        if element.tag == f"{STYLE}style":
            properties = element.find(f"{STYLE}table-properties")
            if properties is not None and properties.get(f"{TABLE}display") == "false":
                hidden_styles.add(element.get(f"{STYLE}name"))
        elif element.tag == f"{TABLE}table-row":
            times = max(1, small_number(element.get(f"{TABLE}number-rows-repeated"), 1))
            cells, more = _cells(element, budget)
            repeated += more * times
            if cells:
                kept = min(times, _MOST_REPETITIONS)
                repeated += len(cells) * (times - kept)
                for at in range(kept):
                    rows.append(Row(number + 1 + at, cells))
                    for cell in cells if at else ():
                        budget.spend(cell.text)
            number += times
        elif element.getparent().tag == f"{OFFICE}spreadsheet":
            sheet = element.get(f"{TABLE}name", "")
            if element.get(f"{TABLE}style-name") in hidden_styles:
                hidden.append(sheet)
            else:
                for document in sheet_documents(package.name, sheet, title, rows, []):
                    is_empty = False
                    yield document
            rows, number = [], 0
    left_out = [f"{repeated:,} repetitions of cells"] if repeated else []
    yield from sheet_notes(package.name, is_empty, hidden, left_out)


def _cells(row: _Element, budget: Budget) -> tuple[tuple[Cell, ...], int]:
    """Return the cells of a row that are not empty, and how many repetitions of them are left out."""
    cells: list[Cell] = []
    column = left_out = 0
    for element in row:
        times = max(1, small_number(element.get(f"{TABLE}number-columns-repeated"), 1))
        text = "" if element.tag == f"{TABLE}covered-table-cell" else _cell_text(element)
        if text:
            is_text = element.get(f"{OFFICE}value-type", "string") == "string"
            left_out += max(0, times - _MOST_REPETITIONS)
            for at in range(min(times, _MOST_REPETITIONS)):
                budget.spend(text)
                cells.append(Cell(column + 1 + at, text, is_text))
        column += times
    return tuple(cells), left_out


def _cell_text(cell: _Element) -> str:
    """Return the text that a cell shows, without its comment."""
    parts = (" ".join("".join(paragraph.itertext()).split()) for paragraph in cell.iterchildren(f"{TEXT}p"))
    return " ".join(part for part in parts if part)
