"""Styles of a Word document, and the numbers of its lists and headings, which Word computes and does not store."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexing.sources.readers.list_numbers import list_number

if TYPE_CHECKING:
    from lxml.etree import _Element

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
VAL = f"{W}val"
_LEVELS = 9
# Word stores the names of its own styles in English; other programs and custom styles have localised names.
_HEADING = re.compile(
    r"(heading|überschrift|titre|título|titolo|título|kop|rubrik|overskrift|otsikko|nagłówek|nadpis|заголовок|"
    r"标题|標題|見出し|제목|başlık|címsor|titlu|judul)\s*(\d)",
    re.IGNORECASE,
)
_TITLE = re.compile(r"title|titel|titre|título|titolo|标题|標題|表題|제목|tytuł|название", re.IGNORECASE)
_CONTENTS = re.compile(r"(toc|verzeichnis|tm|目录|目次)\s*\d|table of figures", re.IGNORECASE)
_PLACE = re.compile(r"%([1-9])")


def heading_level(name: str) -> int:
    """Return the level of the heading that a style is for, by its name; 0 for none."""
    found = _HEADING.fullmatch(name.strip())
    return int(found[2]) if found else 0


def is_title(name: str) -> bool:
    """Return whether a style is for the title of a document, by its name."""
    return _TITLE.fullmatch(name.strip()) is not None


@dataclass(frozen=True)
class Style:
    """A paragraph style with what it inherits: whether it is a title, level of a heading (0 for none), its list."""

    is_title: bool = False
    is_contents: bool = False
    heading: int = 0
    list_id: str = ""
    list_level: int | None = None


def whole_number(element: _Element | None, name: str = VAL) -> int | None:
    """Return an attribute as a number; None where it is none."""
    value = "" if element is None else element.get(name, "")
    return int(value) if re.fullmatch(r"-?\d{1,9}", value) else None


def _value(element: _Element | None) -> str:
    return "" if element is None else element.get(VAL, "")


def is_on(element: _Element | None) -> bool:
    """Return whether a switch such as w:vanish is there and not turned off."""
    return element is not None and element.get(VAL, "1") not in ("0", "false", "off")


class Styles:
    """The paragraph styles of a document, from its part styles.xml, which may be missing."""

    def __init__(self, root: _Element | None):
        self._elements = {} if root is None else {one.get(f"{W}styleId", ""): one for one in root.iter(f"{W}style")}
        self._known: dict[str, Style] = {}
        self._default = next(
            (
                id
                for id, one in self._elements.items()
                if one.get(f"{W}type") == "paragraph" and one.get(f"{W}default") in ("1", "true", "on")
            ),
            "",
        )

    def __getitem__(self, id: str | None) -> Style:
        id = self._default if id is None else id
        if id not in self._known:
            self._known[id] = self._resolved(list(self._chain(id)))
        return self._known[id]

    def _chain(self, id: str) -> Iterator[_Element]:
        """Yield a style and those that it is based on; a circle ends where it closes."""
        seen: set[str] = set()
        while id in self._elements and id not in seen and len(seen) < 100:
            seen.add(id)
            element = self._elements[id]
            yield element
            id = _value(element.find(f"{W}basedOn"))

    def _resolved(self, chain: list[_Element]) -> Style:
        for_title = is_contents = False
        heading: int | None = None
        list_id, list_level = "", None
        for element in chain:
            name = _value(element.find(f"{W}name")).strip()
            outline = whole_number(element.find(f"{W}pPr/{W}outlineLvl"))
            for_title = for_title or (is_title(name) and heading is None)
            is_contents = is_contents or _CONTENTS.fullmatch(name) is not None
            if heading is None and outline is not None:
                heading = outline + 1 if 0 <= outline < _LEVELS else 0
            if heading is None:
                heading = heading_level(name) or None
            numbering = element.find(f"{W}pPr/{W}numPr")
            if numbering is not None and not list_id:
                list_id = _value(numbering.find(f"{W}numId"))
                list_level = whole_number(numbering.find(f"{W}ilvl")) if list_level is None else list_level
        return Style(for_title and not heading, is_contents, heading or 0, list_id, list_level)


@dataclass
class _Level:
    """One level of a list: how it starts, and how its numbers look."""

    start: int = 1
    format: str = "decimal"
    text: str = ""
    style: str = ""
    restarts: bool = True
    is_legal: bool = False  # all numbers in it are decimal


@dataclass
class _List:
    """A list: the definition whose counters it shares, its levels, and the levels that it starts anew."""

    definition: str
    levels: list[_Level]
    starts: dict[int, int] = field(default_factory=dict)


class Numbering:
    """The lists of a document, from its part numbering.xml, which may be missing, with their counters."""

    def __init__(self, root: _Element | None):
        self._lists: dict[str, _List] = {}
        self._counters: dict[str, list[int | None]] = defaultdict(lambda: [None] * _LEVELS)
        self._started: set[tuple[str, int]] = set()
        if root is not None:
            self._read(root)

    def _read(self, root: _Element) -> None:
        definitions: dict[str, list[_Level]] = {}
        style_definitions: dict[str, str] = {}  # name of a list style → id of the definition that sets it
        style_names: dict[str, str] = {}  # id of a definition → name of the list style that it only refers to
        for one in root.iter(f"{W}abstractNum"):
            id = one.get(f"{W}abstractNumId", "")
            definitions[id] = _levels(one)
            style_definitions[_value(one.find(f"{W}styleLink"))] = id
            style_names[id] = _value(one.find(f"{W}numStyleLink"))
        for one in root.iter(f"{W}num"):
            id = _value(one.find(f"{W}abstractNumId"))
            id = style_definitions.get(style_names.get(id) or "?", id)
            if id in definitions:
                self._lists[one.get(f"{W}numId", "")] = _overridden(one, _List(id, definitions[id]))

    def level_of_style(self, list_id: str, style: str) -> int:
        """Return the level of a list that names a paragraph style; 0 if none does."""
        known = self._lists.get(list_id)
        return next((n for n, level in enumerate(known.levels) if level.style == style), 0) if known and style else 0

    def next(self, list_id: str, level: int) -> str:
        """Count a paragraph of a list; returns its number or bullet as Word shows it, empty for none."""
        known = self._lists.get(list_id)
        if known is None or not 0 <= level < _LEVELS:
            return ""
        counters, definition = self._counters[known.definition], known.levels[level]
        if level in known.starts and (list_id, level) not in self._started:
            counters[level] = known.starts[level]
        else:
            present = counters[level]
            counters[level] = definition.start if present is None else present + 1
        self._started.add((list_id, level))
        for deeper in range(level + 1, _LEVELS):
            if known.levels[deeper].restarts:
                counters[deeper] = None
        if definition.format == "bullet":
            return "•"

        def shown(match: re.Match[str]) -> str:
            at = int(match[1]) - 1
            value = counters[at]
            number = known.levels[at].start if value is None else value
            return list_number(number, "decimal" if definition.is_legal else known.levels[at].format)

        return _PLACE.sub(shown, definition.text).strip()


def _levels(definition: _Element) -> list[_Level]:
    levels = [_Level() for _ in range(_LEVELS)]
    for element in definition.iterchildren(f"{W}lvl"):
        at = whole_number(element, f"{W}ilvl")
        if at is not None and 0 <= at < _LEVELS:
            levels[at] = _level(element)
    return levels


def _level(element: _Element) -> _Level:
    start = whole_number(element.find(f"{W}start"))
    return _Level(
        start=1 if start is None else start,
        # Formats of newer programs stand in mc:AlternateContent; their fallback is decimal.
        format=_value(element.find(f"{W}numFmt")) or "decimal",
        text=_value(element.find(f"{W}lvlText"))[:100],
        style=_value(element.find(f"{W}pStyle")),
        restarts=_value(element.find(f"{W}lvlRestart")) != "0",
        is_legal=is_on(element.find(f"{W}isLgl")),
    )


def _overridden(element: _Element, known: _List) -> _List:
    """Return a list with the levels and starts that its own element sets otherwise than its definition."""
    known.levels = list(known.levels)
    for override in element.iterchildren(f"{W}lvlOverride"):
        at = whole_number(override, f"{W}ilvl")
        if at is None or not 0 <= at < _LEVELS:
            continue
        level = override.find(f"{W}lvl")
        if level is not None:
            known.levels[at] = _level(level)
        start = whole_number(override.find(f"{W}startOverride"))
        if start is not None:
            known.starts[at] = start
    return known
