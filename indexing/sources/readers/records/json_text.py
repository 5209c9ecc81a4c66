"""JSON that holds no records as text: keys of large parts are headings, the rest is lines "key: value"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from indexing.sources.document import Block, BlockBuilder
from indexing.sources.readers.records.records import whole_characters
from memgpt_rag.errors import SourceError
from memgpt_rag.limits import MOST_JSON_DEPTH

_HEADING_LEVELS = 3
_SECTION_VALUES = 6  # of a part with a heading of its own; smaller ones stand among the lines of what holds them
_MOST_INDENT = 32
_MOST_IN_LINE = 100  # characters of a list in one line
_NAMES = ("title", "name", "label", "id", "key")


class Item(NamedTuple):
    """A value in a JSON file, and the lines that it covers."""

    value: Any
    first: int
    last: int


def structure_blocks(items: Sequence[Item], name: str) -> tuple[Block, ...]:
    """Return the blocks of a file's values.

    Raises:
        SourceError: a value is too deep, or a text holds half of a character.
    """
    builder = BlockBuilder()
    named = any(_name(item.value) for item in items) and len(items) > 1
    plain: list[Item] = []
    for number, item in enumerate(items, 1):
        _require_shallow(item.value, f"{name}, line {item.first}")
        if not isinstance(item.value, dict | list):
            plain.append(item)
            continue
        if named:
            heading = whole_characters(_name(item.value) or str(number), f"{name}, line {item.first}: its name")
            builder.heading(1, heading, item.first)
        _Section(builder, item, f"{name}, line {item.first}").add(item.value, 1 + named)
    if plain:
        _Section(builder, Item(None, plain[0].first, plain[-1].last), name).add([item.value for item in plain], 1)
    return builder.blocks()


class _Section:
    """Adds a value of a file to the blocks, with headings for its large parts."""

    def __init__(self, builder: BlockBuilder, item: Item, where: str):
        self._builder, self._first, self._last, self._where = builder, item.first, item.last, where

    def add(self, value: Any, level: int) -> None:
        """Add a value under headings from a level on."""
        if isinstance(value, dict) and level <= _HEADING_LEVELS:
            parts = {key: part for key, part in value.items() if _is_large(part)}
            if len(parts) < len(value) or not value:
                self._lines({key: part for key, part in value.items() if key not in parts})
            for key, part in parts.items():
                self._heading(level, key)
                self.add(part, level + 1)
        elif level <= _HEADING_LEVELS and any(isinstance(part, dict) and _is_large(part) for part in value):
            named = any(_name(part) for part in value)
            for number, part in enumerate(value, 1):
                if named:
                    self._heading(level, _name(part) or str(number))
                self.add(part, level + named)
        else:
            self._lines(value)

    def _heading(self, level: int, text: str) -> None:
        self._builder.heading(level, whole_characters(text, f"{self._where}: a key"), self._first)

    def _lines(self, value: Any) -> None:
        text = whole_characters("\n".join(_lines(value)), f"{self._where}: its text")
        if text.strip():
            self._builder.code(text, self._first, self._last)


def _require_shallow(value: Any, where: str) -> None:
    level = [value]
    for _ in range(MOST_JSON_DEPTH + 1):
        level = [part for one in level if isinstance(one, dict | list) for part in _parts(one)]
        if not level:
            return
    raise SourceError(f"{where}: nested more than {MOST_JSON_DEPTH} levels deep; leave the file out with --exclude.")


def _parts(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _is_large(value: Any) -> bool:
    """Return whether a value is an object or a list of objects with many values in it."""
    if not isinstance(value, dict | list) or (isinstance(value, list) and not all(isinstance(p, dict) for p in value)):
        return False
    count, level = 0, [value]
    while level:
        level = [part for one in level for part in _parts(one)]
        count += sum(not isinstance(part, dict | list) for part in level)
        if count >= _SECTION_VALUES:
            return True
        level = [part for part in level if isinstance(part, dict | list)]
    return False


def _name(value: Any) -> str:
    """Return what an object calls itself, for a heading; "" if it has no name."""
    for key in _NAMES if isinstance(value, dict) else ():
        name = value.get(key)
        if isinstance(name, str | int) and not isinstance(name, bool) and str(name).strip():
            return str(name).strip()
    return ""


def _lines(value: Any) -> Iterator[str]:
    """Yield the lines of a value, without recursion: values may be deep."""
    # Each: columns of indentation, what stands before the value, the value.
    waiting: list[tuple[int, str, Any]] = [(0, "", value)]
    while waiting:
        indent, before, value = waiting.pop()
        space = " " * min(indent, _MOST_INDENT)
        line = _one_line(value)
        if line is not None:
            text = f"{before}{line}".rstrip()
            if text:
                yield space + text.replace("\n", f"\n{space}  ")
            continue
        members = [(f"{key}: ", part) for key, part in value.items()] if isinstance(value, dict) else []
        members = members or [("- ", part) for part in value]
        if before == "- ":  # an item of a list begins in the line of its mark
            members[0] = ("- " + members[0][0], members[0][1])
            first, rest = indent, indent + 2
        else:
            if before:
                yield space + before.rstrip()
            first = rest = indent + (2 if before else 0)
        waiting += [(rest, key, part) for key, part in reversed(members[1:])]
        waiting.append((first, *members[0]))


def _one_line(value: Any) -> str | None:
    """Return a value that fits into one line; None for one that does not."""
    if isinstance(value, dict):
        return None if value else "{}"
    if not isinstance(value, list):
        return _scalar(value)
    if not value:
        return "[]"
    if any(isinstance(part, dict | list) for part in value):
        return None
    parts = [_scalar(part) for part in value]
    fits = sum(map(len, parts)) <= _MOST_IN_LINE and not any("\n" in part or ", " in part for part in parts)
    return ", ".join(parts) if fits else None


def _scalar(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value).strip()
