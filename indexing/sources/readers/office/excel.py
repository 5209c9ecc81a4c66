"""Excel: each visible sheet as a document of tables, its cells as people read them.

The cells of .xlsx files are walked without a library: python-calamine knows no percentages and fills the area between two
cells far apart; openpyxl refuses files with odd styles and Strict Open XML, and only tells here what number formats mean.
Old .xls files are read by python-calamine.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.sources.document import Document, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.office.drawing_text import drawn_paragraphs
from indexing.sources.readers.office.number_format import shown_date, shown_number
from indexing.sources.readers.office.package import OFFICE, Package
from indexing.sources.readers.office.sheet_tables import (
    MOST_CHARACTERS,
    Budget,
    Cell,
    Row,
    sheet_documents,
    sheet_notes,
)
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import counted

if TYPE_CHECKING:
    from lxml.etree import _Element

_S = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing}"
_MOST_BYTES = 512 * 2**20
_MOST_COLUMNS, _MOST_ROWS = 16_384, 1_048_576
_REFERENCE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read the visible sheets of a workbook, each as a document whose record is such as "Prices!A:D"; formulas as their values.

    Blocks are numbered by row. Rows that a filter hides are read.

    Raises:
        SourceError: no workbook, or one beyond the bounds.
    """
    if path.suffix.lower() == ".xls":
        yield from _read_xls(path, name)
        return
    with Package(path, name, "Excel", _MOST_BYTES) as package:
        yield from _Workbook(package, path.stem).documents()


@dataclass(frozen=True)
class _Format:
    """A number format, and whether it is one of dates or of durations."""

    code: str = ""
    is_date: bool = False
    is_duration: bool = False


class _Workbook:
    """A workbook of the .xlsx form."""

    def __init__(self, package: Package, stem: str):
        self._package = package
        self._main = package.main_part("xl/workbook.xml")
        self._relations = package.relations(self._main)
        self._title = package.title() or stem
        self._budget = Budget(package.name)
        self._formats: list[_Format] = []  # of each style of cells
        self._is_1904 = False  # the day from which dates are counted
        self._strings: list[str] = []
        self._without_value = self._comments = 0

    def documents(self) -> Iterator[Document | Note]:
        """Yield the documents of the sheets in order, then the notes."""
        root = self._package.required_tree(self._main)
        properties = root.find(f"{_S}workbookPr")
        self._is_1904 = properties is not None and properties.get("date1904") in ("1", "true", "on")
        self._read_parts()
        is_empty, hidden = True, []
        for sheet in root.iterfind(f"{_S}sheets/{_S}sheet"):
            relation = self._relations.get(sheet.get(f"{OFFICE}id", ""))
            title = sheet.get("name", "")
            if sheet.get("state", "visible") != "visible":
                hidden.append(title)
            elif relation is not None and relation.kind == "worksheet":
                rows = list(self._rows(relation.target))
                for document in sheet_documents(
                    self._package.name, title, self._title, rows, list(self._beside(relation.target))
                ):
                    is_empty = False
                    yield document
        left_out = [
            counted(number, *nouns)
            for number, nouns in (
                (self._without_value, ("formula without a stored value", "formulas without stored values")),
                (self._comments, ("comment", "comments")),
            )
            if number
        ]
        yield from sheet_notes(self._package.name, is_empty, hidden, left_out)

    def _read_parts(self) -> None:
        """Read the number formats and the shared strings."""
        from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format

        for relation in self._relations.values():
            if relation.kind == "styles" and (root := self._package.tree(relation.target)) is not None:
                own = {one.get("numFmtId"): one.get("formatCode", "") for one in root.iter(f"{_S}numFmt")}
                for one in root.iterfind(f"{_S}cellXfs/{_S}xf"):
                    id = one.get("numFmtId", "0")
                    known = BUILTIN_FORMATS.get(int(id), "") if id.isdecimal() and len(id) < 6 else ""
                    code = own.get(id, known)
                    self._formats.append(_Format(code, bool(is_date_format(code)), bool(is_timedelta_format(code))))
            elif relation.kind == "sharedStrings" and relation.target in self._package:
                characters = MOST_CHARACTERS
                for one in self._package.stream(relation.target, {f"{_S}si"}, {f"{_S}sst"}):
                    self._strings.append(_rich_text(one))
                    characters -= len(self._strings[-1]) + 10
                    if characters < 0:
                        raise self._package.error(f"it holds more than {MOST_CHARACTERS:,} characters", "split it")

    def _rows(self, part: str) -> Iterator[Row]:
        """Yield the rows of a sheet that are not empty, in order."""
        number = 0
        for element in self._package.stream(part, {f"{_S}row"}, {f"{_S}sheetData"}):
            own = element.get("r", "")
            following = int(own) if own.isdecimal() and len(own) < 8 else number + 1
            if not number < following <= _MOST_ROWS:
                raise self._package.error(f"its part {part} has the row {own or following} behind row {number}")
            number = following
            cells = self._cells(element)
            if cells:
                yield Row(number, cells)

    def _cells(self, row: _Element) -> tuple[Cell, ...]:
        cells, column = {}, 0
        for element in row.iterchildren(f"{_S}c"):
            reference = _REFERENCE.fullmatch(element.get("r", ""))
            column = _column(reference[1]) if reference else column + 1
            text, is_text = self._shown(element)
            text = " ".join(text.split())
            if text and column <= _MOST_COLUMNS:
                self._budget.spend(text)
                cells[column] = Cell(column, text, is_text)
        return tuple(cells[column] for column in sorted(cells))

    def _shown(self, cell: _Element) -> tuple[str, bool]:
        """Return the text of a cell, and whether it is no number."""
        kind = cell.get("t", "n")
        if kind == "inlineStr":
            inline = cell.find(f"{_S}is")
            return ("" if inline is None else _rich_text(inline)), True
        value = cell.findtext(f"{_S}v")
        if value is None or value == "":
            self._without_value += kind == "n" and cell.find(f"{_S}f") is not None
            return "", True
        if kind == "s":
            return (self._strings[int(value)] if value.isdecimal() and int(value) < len(self._strings) else ""), True
        if kind == "b":
            return ("FALSE" if value.strip() in ("0", "false") else "TRUE"), False
        if kind == "n":
            style = cell.get("s", "")
            known = style.isdecimal() and int(style) < len(self._formats)
            return self._number(value, self._formats[int(style)] if known else _Format()), False
        return (
            (value.replace("T", " ").removesuffix(" 00:00:00"), False)
            if kind == "d"
            else (_unescaped(value), kind == "str")
        )

    def _number(self, text: str, format: _Format) -> str:
        from openpyxl.utils.datetime import MAC_EPOCH, WINDOWS_EPOCH, from_excel

        try:
            value = float(text)
            if format.is_date:
                epoch = MAC_EPOCH if self._is_1904 else WINDOWS_EPOCH
                return shown_date(from_excel(value, epoch, timedelta=format.is_duration))
            return shown_number(value, format.code)
        except (ValueError, OverflowError):
            return text[:100]

    def _beside(self, part: str) -> Iterator[tuple[str, int]]:
        """Yield the text boxes of a sheet with the rows where they lie, and count its comments."""
        for relation in self._package.relations(part).values():
            if relation.kind == "comments" and (root := self._package.tree(relation.target)) is not None:
                self._comments += sum(1 for _ in root.iter(f"{_S}comment"))
            if relation.kind != "drawing" or (root := self._package.tree(relation.target)) is None:
                continue
            for anchor in root:
                row = (anchor.findtext(f"{_DRAWING}from/{_DRAWING}row") or "0").strip()
                for body in anchor.iter(f"{_DRAWING}txBody"):
                    text = "\n".join(drawn_paragraphs(body))
                    if text:
                        yield text, int(row) + 1 if row.isdecimal() and len(row) < 8 else 1


def _column(letters: str) -> int:
    column = 0
    for letter in letters:
        column = 26 * column + ord(letter) - ord("A") + 1
    return column


def _rich_text(element: _Element) -> str:
    """Return the text of a string, without the reading aids that Japanese ones have."""
    parts = (
        part.text or ""
        for child in element
        for part in (
            [child] if child.tag == f"{_S}t" else child.iterchildren(f"{_S}t") if child.tag == f"{_S}r" else ()
        )
    )
    return _unescaped("".join(parts))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text


def _read_xls(path: Path, name: str) -> Iterator[Document | Note]:
    budget, is_empty, hidden = Budget(name), True, []
    for sheet, is_visible, values in _xls_sheets(path, name):
        if not is_visible:
            hidden.append(sheet)
            continue
        rows = []
        for number, row in values:
            cells = tuple(_xls_cell(at, value, budget) for at, value in row)
            if cells:
                rows.append(Row(number, cells))
        for document in sheet_documents(name, sheet, path.stem, rows, []):
            is_empty = False
            yield document
    yield from sheet_notes(name, is_empty, hidden, [])


_XlsValue = int | float | str | bool | date | datetime | time | timedelta
_XlsRows = Iterator[tuple[int, list[tuple[int, _XlsValue]]]]


def _xls_sheets(path: Path, name: str) -> Iterator[tuple[str, bool, _XlsRows]]:
    """Yield name, visibility and rows of each sheet of an old workbook; both are counted from 1.

    Raises:
        SourceError: it cannot be read.
    """
    import python_calamine

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            workbook = python_calamine.CalamineWorkbook.from_path(str(path))
        for one in workbook.sheets_metadata:
            if one.typ == python_calamine.SheetTypeEnum.WorkSheet:
                sheet = workbook.get_sheet_by_name(one.name)
                yield one.name, one.visible == python_calamine.SheetVisibleEnum.Visible, _xls_rows(sheet)
    except SourceError:
        raise
    except BaseException as error:
        # A panic of the library is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise SourceError(
            f"{name} cannot be read as Excel: it is no .xls workbook, is damaged, or needs a password; save it as .xlsx, or "
            "leave it out with --exclude."
        ) from error


def _xls_rows(sheet: object) -> _XlsRows:
    # Rows begin at the first one of the sheet, cells at the first column in use.
    _, left = sheet.start or (0, 0)  # type: ignore[attr-defined]
    for number, row in enumerate(sheet.iter_rows(), 1):  # type: ignore[attr-defined]
        yield number, [(at, value) for at, value in enumerate(row, left + 1) if value != ""]


def _xls_cell(column: int, value: _XlsValue, budget: Budget) -> Cell:
    if isinstance(value, str):
        text = " ".join(value.split())
    elif isinstance(value, bool):
        text = "TRUE" if value else "FALSE"
    elif isinstance(value, (int, float)):
        text = shown_number(value, "")
    else:
        text = shown_date(value)
    budget.spend(text)
    return Cell(column, text, isinstance(value, str))
