"""YAML: the lines of configuration as they stand, by its keys; a list of mappings with a text as records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from indexing.sources.clean_text import split_lines
from indexing.sources.document import Block, Document, Note
from indexing.sources.encodings import decode
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.records.records import RecordReader, holds_text, type_name
from memgpt_rag.errors import SourceError
from memgpt_rag.limits import MOST_JSON_DEPTH, MOST_RECORD_CHARACTERS

# A key without indentation: "services:", 'name: x', '"on":', "? complex" is none.
_KEY = re.compile(r"""("[^"\n]{1,200}"|'[^'\n]{1,200}'|[^\s#\-&*!|>%@`{\[,?'"][^#\n]{0,200}?)\s*:(?:\s|$)""")
_NULL = ("", "~", "null", "Null", "NULL")


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a YAML file.

    Its lines are text, with comments and indentation, cut at the keys of the first level, which are headings. Nothing is
    expanded or executed. A list of mappings that hold a text is read as records.

    Raises:
        SourceError: it is no text, or a record lacks its text.
    """
    text = decode(path, name, options)
    lines = split_lines(text)
    begins = next((line for line in lines if line.strip() and not line.startswith(("#", "%", "---"))), "")
    items = _items(text) if begins.startswith(("- ", "-\n")) or begins == "-" else None
    if items and any(holds_text(value, options.fields) for value, _, _ in items):
        to_document = RecordReader(name, "line", options)
        for value, first, last in items:
            yield from to_document(partial(_mapping, value, f"{name}, line {first}"), first, last)
        return
    yield Document(name, "", "", "line", tuple(_blocks(lines)))


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, _Invalid):
        raise SourceError(f"{where}: {value.reason}.")
    if not isinstance(value, dict):
        raise SourceError(f"{where}: found a YAML {type_name(value)}, expected a mapping with a text.")
    return value


def _blocks(lines: list[str]) -> Iterator[Block]:
    """Yield the lines by keys of the first level; keys with one line each are together, and have no heading."""
    documents = 1 + sum(line.startswith("---") for line in lines[1:] if lines)
    document, begun, key = 1, 0, ""
    sections: list[tuple[int, int, str, int]] = []  # first line, line after the last, key, document
    comment = 0  # lines of a comment that may belong to the next key
    for number, line in enumerate(lines):
        found = _KEY.match(line)
        if found or line.startswith("---"):
            at = number - comment if found else number
            sections.append((begun, at, key, document))
            begun, key = at, found[1].strip("\"'") if found else ""
            document += line.startswith("---") and number > 0
        comment = comment + 1 if line.startswith("#") else 0
    sections.append((begun, len(lines), key, document))
    for first, end, heading, part in _joined(sections, lines):
        kept = [line.rstrip() for line in lines[first:end]]
        filled = [number for number, line in enumerate(kept) if line and line not in ("---", "...")]
        if filled:
            headings = (f"document {part}",) if documents > 1 else ()
            text = "\n".join(kept[filled[0] : filled[-1] + 1])
            place = first + filled[0] + 1, first + filled[-1] + 1
            yield Block(text, *place, (*headings, heading) if heading else headings, "code")


def _joined(sections: list[tuple[int, int, str, int]], lines: list[str]) -> Iterator[tuple[int, int, str, int]]:
    """Yield sections; those of one line that follow each other in a document become one without a key."""
    open_section: tuple[int, int, str, int] | None = None
    for first, end, key, document in sections:
        short = sum(bool(line.strip()) and not line.startswith("#") for line in lines[first:end]) <= 1
        if short and open_section is not None and open_section[3] == document:
            open_section = (open_section[0], end, "", document)
            continue
        if open_section is not None:
            yield open_section
        open_section = (first, end, "", document) if short else None
        if not short:
            yield first, end, key, document
    if open_section is not None:
        yield open_section


class _Invalid:
    """An item that cannot be a record, and why."""

    def __init__(self, reason: str):
        self.reason = reason


def _items(text: str) -> list[tuple[Any, int, int]] | None:
    """Parse a list of mappings: its items with their first and last lines; None if it is something else.

    Only YAML's events are used, and plain scalars stay text: no object is made by a tag, and no alias is expanded.
    """
    import yaml

    if len(text) > MOST_RECORD_CHARACTERS:
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _build(yaml.parse(text, Loader=loader))
    except (yaml.YAMLError, RecursionError, ValueError):
        return None  # its lines are text still


def _build(events: Iterator[Any]) -> list[tuple[Any, int, int]] | None:
    """Build the items of the one list from YAML's events, without recursion; None where there is another structure."""
    import yaml

    items: list[tuple[Any, int, int]] = []
    # Open lists and mappings of the item; a mapping is a list of keys and values until it ends.
    open_parts: list[tuple[list[Any], bool, int]] = []
    for event in events:
        value: Any = None
        if isinstance(event, yaml.AliasEvent):
            return None
        if isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            open_parts.append(([], isinstance(event, yaml.MappingStartEvent), event.start_mark.line + 1))
            if len(open_parts) > MOST_JSON_DEPTH or open_parts[0][1]:
                return None
            continue
        if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            parts, mapping, first = open_parts.pop()
            if not open_parts:
                continue
            value = _as_mapping(parts) if mapping else parts
            end = event.end_mark
            last = max(first, end.line + (end.column > 0))
        elif isinstance(event, yaml.ScalarEvent):
            if not open_parts:
                return None
            value = None if event.style is None and event.value in _NULL else event.value
            first, last = event.start_mark.line + 1, event.end_mark.line + 1
        else:
            if isinstance(event, yaml.DocumentStartEvent) and items:
                return None
            continue
        if len(open_parts) == 1:
            items.append((value, first, last))
        else:
            open_parts[-1][0].append(value)
    return items


def _as_mapping(parts: list[Any]) -> Any:
    keys, values = parts[::2], parts[1::2]
    if not all(isinstance(key, str) for key in keys):
        return _Invalid("a key is no text; expected a mapping such as text: …")
    twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
    if twice is not None:
        return _Invalid(f"the key {twice!r:.80} occurs twice in one mapping")
    return dict(zip(keys, values, strict=True))
