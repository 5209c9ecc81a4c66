"""Styles of an OpenDocument file, and the numbers of its lists and headings, which are computed and not stored."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexing.sources.readers.list_numbers import list_number

if TYPE_CHECKING:
    from lxml.etree import _Element

STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
PRESENTATION = "{urn:oasis:names:tc:opendocument:xmlns:presentation:1.0}"
_DEEPEST = 10
_MOST = 10**9
OUTLINE = "outline"  # name of the list that headings are numbered by


def small_number(text: str | None, default: int) -> int:
    """Return a whole number, a billion at most; a default for what is none."""
    if not text or not text.isdecimal():
        return default
    return int(text) if len(text) < 10 else _MOST


@dataclass(frozen=True)
class _Level:
    """One level of a list: how its numbers look; a bullet has no format."""

    format: str = ""
    prefix: str = ""
    suffix: str = ""
    start: int = 1
    shown_levels: int = 1
    is_bullet: bool = False


@dataclass
class OdfStyles:
    """What the styles say that the text needs.

    Attributes:
        titles: names of paragraph styles that are, or are based on, "Title".
        list_styles: paragraph style → list style that it names.
        hidden_pages: styles of slides that are hidden in the show.
    """

    titles: set[str] = field(default_factory=lambda: {"Title"})
    list_styles: dict[str, str] = field(default_factory=dict)
    hidden_pages: set[str] = field(default_factory=set)
    _levels: dict[str, dict[int, _Level]] = field(default_factory=dict)
    _counters: dict[str, list[int | None]] = field(default_factory=lambda: defaultdict(lambda: [None] * (_DEEPEST + 1)))

    def add(self, element: _Element) -> None:
        """Add a style:style, a text:list-style or a text:outline-style; a style comes after the one that it is based on."""
        name = element.get(f"{STYLE}name", "")
        if element.tag == f"{STYLE}style":
            if element.get(f"{STYLE}parent-style-name") in self.titles:
                self.titles.add(name)
            if list_style := element.get(f"{STYLE}list-style-name"):
                self.list_styles[name] = list_style
            properties = element.find(f"{STYLE}drawing-page-properties")
            if properties is not None and properties.get(f"{PRESENTATION}visibility") == "hidden":
                self.hidden_pages.add(name)
            return
        name = OUTLINE if element.tag == f"{TEXT}outline-style" else name
        self._levels[name] = {small_number(one.get(f"{TEXT}level"), 1): _level(one) for one in element}

    def restart(self, list_style: str, level: int) -> None:
        """Let a level of a list and those under it begin anew."""
        counters = self._counters[list_style]
        counters[level:] = [None] * (len(counters) - level)

    def next(self, list_style: str, level: int, start: int | None) -> str:
        """Count an item; returns its number or bullet as it is shown, empty for none.

        Args:
            start: value that the item itself sets.
        """
        if not 1 <= level <= _DEEPEST:
            return ""
        levels, counters = self._levels.get(list_style, {}), self._counters[list_style]
        known = levels.get(level, _Level())
        if known.is_bullet:
            return "•"
        present = counters[level]
        counters[level] = start if start is not None else known.start if present is None else present + 1
        counters[level + 1 :] = [None] * (_DEEPEST - level)
        if not known.format:
            return ""
        parts = []
        for at in range(max(1, level - known.shown_levels + 1), level + 1):
            one, value = levels.get(at, _Level()), counters[at]
            parts.append(list_number(one.start if value is None else value, one.format))
        return f"{known.prefix}{'.'.join(part for part in parts if part)}{known.suffix}".strip()


def _level(element: _Element) -> _Level:
    return _Level(
        format=element.get(f"{STYLE}num-format", ""),
        prefix=element.get(f"{STYLE}num-prefix", "")[:100],
        suffix=element.get(f"{STYLE}num-suffix", "")[:100],
        start=small_number(element.get(f"{TEXT}start-value"), 1),
        shown_levels=small_number(element.get(f"{TEXT}display-levels"), 1),
        is_bullet=element.tag == f"{TEXT}list-level-style-bullet",
    )
