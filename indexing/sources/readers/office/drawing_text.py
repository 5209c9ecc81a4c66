"""Text of DrawingML, which Word, PowerPoint and Excel share: paragraphs, charts and diagrams (SmartArt)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from indexing.sources.readers.list_numbers import list_number
from indexing.sources.readers.office.package import OFFICE, Package, Relation
from indexing.sources.readers.office.table_text import row_text

if TYPE_CHECKING:
    from lxml.etree import _Element

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
COMPATIBILITY = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_DEEPEST_LEVEL = 8
_NUMBERED = {
    "arabic": "decimal", "alphaLc": "lowerLetter", "alphaUc": "upperLetter", "romanLc": "lowerRoman",
    "romanUc": "upperRoman", "circleNum": "decimalEnclosedCircle", "ea1": "chineseCounting",
}  # fmt: skip


def seen_children(element: _Element) -> Iterator[_Element]:
    """Yield the children of an element; of alternatives (mc:AlternateContent), only the first one."""
    if element.tag != f"{COMPATIBILITY}AlternateContent":
        yield from element
        return
    choice = element.find(f"{COMPATIBILITY}Choice")
    choice = element.find(f"{COMPATIBILITY}Fallback") if choice is None else choice
    yield from () if choice is None else choice


def drawn_paragraphs(body: _Element) -> Iterator[str]:
    """Yield the text of each paragraph that is not empty, with the number that it has in a list."""
    counters: list[int | None] = [None] * (_DEEPEST_LEVEL + 1)
    for paragraph in body.iter(f"{A}p"):
        text = "".join(_runs(paragraph)).strip()
        if not text:
            continue
        properties = paragraph.find(f"{A}pPr")
        level = 0 if properties is None else min(_small(properties.get("lvl"), 0), _DEEPEST_LEVEL)
        numbered = None if properties is None else properties.find(f"{A}buAutoNum")
        counters[level + 1 :] = [None] * (_DEEPEST_LEVEL - level)
        if numbered is None:
            counters[level] = None
            yield text
            continue
        before = counters[level]
        counters[level] = value = _small(numbered.get("startAt"), 1) if before is None else before + 1
        yield f"{_numbered(numbered.get('type', ''), value)} {text}"


def _numbered(kind: str, value: int) -> str:
    """Return a number in a format such as "arabicPeriod" or "alphaLcParenR"."""
    known = next((name for name in _NUMBERED if kind.startswith(name)), "arabic")
    number = list_number(value, _NUMBERED[known])
    if kind.endswith("ParenBoth"):
        return f"({number})"
    return number + {"ParenR": ")", "Plain": ""}.get(kind.removeprefix(known), ".")


def _small(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 6 else default


def _runs(paragraph: _Element) -> Iterator[str]:
    stack = [seen_children(paragraph)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif element.tag in (f"{A}t", f"{MATH}t"):
            yield (element.text or "").replace("\v", "\n")
        elif element.tag == f"{A}br":
            yield "\n"
        elif element.tag == f"{A}tab":
            yield "\t"
        elif not (element.tag == f"{A}fld" and element.get("type", "").startswith(("slidenum", "datetime"))):
            stack.append(seen_children(element))


def graphic_rows(element: _Element, package: Package, relations: dict[str, Relation]) -> tuple[str, list[str]]:
    """Return the header and the rows of a chart, or no header and the lines of a diagram.

    Args:
        element: c:chart or dgm:relIds, which names the part with the text.

    Raises:
        SourceError: that part cannot be read.
    """
    is_chart = element.tag == f"{CHART}chart"
    relation = relations.get(element.get(f"{OFFICE}id" if is_chart else f"{OFFICE}dm", ""))
    root = None if relation is None else package.tree(relation.target)
    if root is None:
        return "", []
    if is_chart:
        return _chart(root)
    return "", [line for point in root.iter(f"{DIAGRAM}t") for line in drawn_paragraphs(point)]


def _chart(root: _Element) -> tuple[str, list[str]]:
    """Return title and names of the series of a chart, and a row for each category."""
    title = root.find(f".//{CHART}chart/{CHART}title")
    names = [] if title is None else [" ".join(drawn_paragraphs(title))]
    series: list[tuple[str, dict[str, str]]] = []
    categories: dict[str, str] = {}
    for one in root.iter(f"{CHART}ser"):
        name = one.findtext(f"{CHART}tx//{CHART}v") or ""
        axis, values = one.find(f"{CHART}cat"), one.find(f"{CHART}val")
        axis, values = (one.find(f"{CHART}xVal"), one.find(f"{CHART}yVal")) if axis is None else (axis, values)
        categories = {**_points(axis), **categories}
        series.append((name, _points(values)))
    indexes = sorted({index for _, points in series for index in points} | set(categories), key=_order)
    rows = []
    for index in indexes:
        cells = [categories.get(index, ""), *(points.get(index, "") for _, points in series)]
        if any(cells):
            rows.append(row_text(cells))
    header = " | ".join([" ".join(names), *(name for name, _ in series)]).rstrip(" |")
    return (header, rows) if rows else ("", [header] if header else [])


def _points(data: _Element | None) -> dict[str, str]:
    """Return index → value of the points that a chart keeps of its sheet."""
    if data is None:
        return {}
    found: dict[str, str] = {}
    for point in data.iter(f"{CHART}pt"):
        value = (point.findtext(f"{CHART}v") or "").strip()
        if value:
            # Several levels of categories have the same indexes: the innermost comes first.
            found.setdefault(point.get("idx", ""), value)
    return found


def _order(index: str) -> tuple[int, str]:
    return (int(index), "") if index.isdecimal() and len(index) < 10 else (10**9, index)
