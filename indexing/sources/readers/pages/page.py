"""What PDFium finds on a page of a PDF file: lines of text, values of form fields, comments and pictures."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from indexing.sources.readers.pages.columns import text_by_columns
from indexing.sources.readers.pages.lines import Line, with_letters

_MOST_OBJECTS = 20_000  # of a page that are looked at for pictures
_MOST_ANNOTATIONS = 20_000
# Private use, controls and U+FFFD: a font that does not say which letters its shapes are.
_UNKNOWN_SHARE = 0.3
_PASSWORD = 8192  # flag of a text field


@dataclass
class Page:
    """Content of a page.

    Attributes:
        lines: its lines in reading order.
        fields: "name: value" of each filled field, and the text of boxes that were typed onto the page.
        comments: number of comments, which are no text of the page.
        passwords: number of password fields, whose values are not read.
        picture_share: share of its area that its pictures cover; 0 if it has none.
        drawings: number of its lines, curves and areas that can be seen on white.
        letters_known: its fonts say which letters most of its text consists of.
    """

    lines: list[Line] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    comments: int = 0
    passwords: int = 0
    picture_share: float = 0.0
    drawings: int = 0
    letters_known: bool = True

    def characters(self) -> int:
        """Return the number of characters of its lines."""
        return sum(len(line.text) for line in self.lines)


def read_page(pdf: Any, number: int) -> Page:
    """Read a page of a PDF file that was opened with `init_forms`; `number` counts from 1.

    Raises:
        PdfiumError: it cannot be loaded.
    """
    handle = pdf[number - 1]
    try:
        page = Page()
        text_page = handle.get_textpage()
        try:
            page.lines = _lines(handle, text_page)
        finally:
            text_page.close()
        page.letters_known = _letters_known("".join(line.text for line in page.lines))
        _read_annotations(pdf, handle, page)
        if page.characters() < 2_000 or not page.letters_known:
            _look_at_pictures(handle, page)
        return page
    finally:
        handle.close()


def _lines(handle: Any, text_page: Any) -> list[Line]:
    """Return the lines of a page with their heights and sizes."""
    by_columns = text_by_columns(handle, text_page)
    if by_columns is not None:
        return [Line(with_letters(line.text), line.top) for line in by_columns]
    lines: list[Line] = []
    at = 0
    for text in text_page.get_text_range().split("\n"):
        words = text.strip()
        if words:
            index = _character(text_page, at + len(text) - len(text.lstrip()))
            lines.append(Line(with_letters(words), *_edges(text_page, index)))
        at += len(text) + 1 + sum(character > "\uffff" for character in text)  # it counts in UTF-16
    return lines


def _character(text_page: Any, at: int) -> int:
    """Return the number of the character at a position of the text."""
    from pypdfium2 import raw

    return max(int(raw.FPDFText_GetCharIndexFromTextIndex(text_page, at)), 0)


def _edges(text_page: Any, index: int) -> tuple[float, float]:
    """Return upper edge and height of a character; a font's own size says little where a matrix scales it."""
    from pypdfium2 import raw

    box = raw.FS_RECTF()
    found = raw.FPDFText_GetLooseCharBox(text_page, index, box)
    return (float(box.top), abs(float(box.top - box.bottom))) if found else (0.0, 0.0)


def _letters_known(text: str) -> bool:
    letters = [character for character in text[:20_000] if not character.isspace()]
    unknown = sum(
        "\ue000" <= character <= "\uf8ff" or character == "\ufffd" or (character < " " and character != "\x02")
        for character in letters
    )
    return unknown <= _UNKNOWN_SHARE * len(letters)


def _read_annotations(pdf: Any, handle: Any, page: Page) -> None:
    """Add the values of form fields and typed texts to a page, and count its comments."""
    from pypdfium2 import raw

    groups: set[str] = set()
    for index in range(min(raw.FPDFPage_GetAnnotCount(handle), _MOST_ANNOTATIONS)):
        annotation = raw.FPDFPage_GetAnnot(handle, index)
        if not annotation:
            continue
        try:
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if kind == raw.FPDF_ANNOT_WIDGET and pdf.formenv:
                name, value = _field(pdf.formenv, annotation, page)
                text = f"{name}: {value}" if name else value
                if value and text not in groups:  # buttons of one group repeat its value
                    groups.add(text)
                    page.fields.append(text)
            elif kind not in (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP, raw.FPDF_ANNOT_WIDGET):
                contents = _string(partial(raw.FPDFAnnot_GetStringValue, annotation, b"Contents"))
                if contents and kind == raw.FPDF_ANNOT_FREETEXT:
                    page.fields.append(contents)
                elif contents:
                    page.comments += 1
        finally:
            raw.FPDFPage_CloseAnnot(annotation)


def _field(form: Any, annotation: Any, page: Page) -> tuple[str, str]:
    """Return name and value of a form field; the value is empty if it is not filled, or no text."""
    from pypdfium2 import raw

    def text(function: Callable[..., int]) -> str:
        return _string(partial(function, form, annotation))

    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    name = text(raw.FPDFAnnot_GetFormFieldAlternateName) or text(raw.FPDFAnnot_GetFormFieldName)
    if kind == raw.FPDF_FORMFIELD_TEXTFIELD:
        value = text(raw.FPDFAnnot_GetFormFieldValue)
        if raw.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD:
            page.passwords += bool(value)
            return name, ""
        return name, value
    if kind in (raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX):
        chosen = [
            _string(partial(raw.FPDFAnnot_GetOptionLabel, form, annotation, i))
            for i in range(min(max(raw.FPDFAnnot_GetOptionCount(form, annotation), 0), 1_000))
            if raw.FPDFAnnot_IsOptionSelected(form, annotation, i)
        ]
        return name, ", ".join(filter(None, chosen)) or text(raw.FPDFAnnot_GetFormFieldValue)
    buttons = (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON)
    if kind in buttons and raw.FPDFAnnot_IsChecked(form, annotation):
        value = text(raw.FPDFAnnot_GetFormFieldExportValue)
        return name, "yes" if value.casefold() in ("", "on", "yes", "1", "true", "x") else value
    return name, ""


def _string(call: Callable[[Any, int], int]) -> str:
    """Return a text of PDFium's, which it writes as UTF-16 into a buffer of the size that it names first."""
    size = call(None, 0)
    if size <= 2 or size > 2**21:
        return ""
    buffer = (ctypes.c_ushort * (size // 2 + 1))()
    call(buffer, size)
    return (
        bytes(buffer)[:size]
        .decode("utf-16-le", "ignore")
        .split("\0")[0]
        .replace("\r\n", "\n")
        .replace("\r", "\n")
        .strip()
    )


def _look_at_pictures(handle: Any, page: Page) -> None:
    """Find the largest picture of a page, and count its drawings."""
    from pypdfium2 import raw

    left, bottom, right, top = handle.get_bbox()
    area = max((right - left) * (top - bottom), 1.0)
    for kind, bounds in seen_objects(handle):
        if kind == raw.FPDF_PAGEOBJ_IMAGE:
            across = max(min(bounds[2], right) - max(bounds[0], left), 0)
            up = max(min(bounds[3], top) - max(bounds[1], bottom), 0)
            page.picture_share = min(page.picture_share + max(across * up / area, 1e-6), 1.0)
        else:
            page.drawings += 1


def seen_objects(handle: Any) -> Iterator[tuple[int, tuple[float, float, float, float]]]:
    """Yield kind and bounds of pictures and drawings; those in a form have the form's bounds."""
    from pypdfium2 import PdfiumError, raw

    items = handle.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_PATH), max_depth=4)
    for item in itertools.islice(items, _MOST_OBJECTS):
        outer = item
        while outer.container is not None:  # bounds in a form are in its own coordinates
            outer = outer.container
        if item.type == raw.FPDF_PAGEOBJ_PATH and _is_white(item):
            continue
        try:
            yield item.type, outer.get_bounds()
        except PdfiumError:  # nothing of it lies on the page
            continue


def _is_white(path: Any) -> bool:
    """Return whether a drawing is a white area, such as a background."""
    from pypdfium2 import raw

    fill, stroke = ctypes.c_int(), ctypes.c_int()
    if not raw.FPDFPath_GetDrawMode(path, fill, stroke) or stroke.value:
        return False
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    known = raw.FPDFPageObj_GetFillColor(path, red, green, blue, alpha)
    white = red.value == green.value == blue.value == 255 or alpha.value == 0
    return fill.value == raw.FPDF_FILLMODE_NONE or (bool(known) and white)
