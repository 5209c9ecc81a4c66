"""Filter objects of the OpenAI API as conditions of the memory: {"type": "gte", "key": "year", "value": 2020}."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from memgpt_rag.io.json_file import MAX_DEPTH
from memgpt_rag.memory.conditions import JOINTS, combined, comparison, comparison_values, listed
from memgpt_rag.serving.api_errors import ApiError


class FileAttributes(Protocol):
    """The attributes of a vector store's files, which no column of the memory holds."""

    def has(self, key: str) -> bool:
        """Return whether a filter of this key goes by attributes: it is no column, and a file has it."""

    def sources(self, matches: Callable[[str | float | bool], bool], key: str) -> list[str]:
        """Return the sources of the files whose attribute matches; files without it do not."""


def condition(given: str | dict[str, Any] | None, param: str, attributes: FileAttributes | None = None) -> str | None:
    """Return a filter as the text of a condition; None where there is none.

    Args:
        param: name of the request's parameter, for errors.
        attributes: of files; a filter by one of them becomes a condition on their sources.

    Raises:
        ApiError: 400 for what is no filter.
    """
    if given is None or isinstance(given, str):
        return given
    return _condition(given, param, attributes, 0)


def _condition(given: Any, param: str, attributes: FileAttributes | None, depth: int) -> str:
    if not isinstance(given, dict) or depth > MAX_DEPTH:
        raise ApiError(400, f"A filter in {param!r} is no object of the form {_FORM}.", param=param)
    kind = str(given.get("type"))
    if kind in JOINTS:
        parts = given.get("filters")
        if not isinstance(parts, list) or not parts:
            raise ApiError(400, f"The filter {kind!r} has no list of filters.", param=param)
        return combined(kind, [_condition(part, param, attributes, depth + 1) for part in parts])
    key, value = given.get("key"), given.get("value")
    try:
        values = comparison_values(kind, str(key), value)
        if not isinstance(key, str) or not key:
            raise ValueError(f"A filter in {param!r} has no key, the name of a column.")
        if attributes is not None and attributes.has(key):
            found = attributes.sources(lambda own: _matches(own, kind, values), key)
            return f"source in {listed(found)}"
        return comparison(kind, key, value)
    except ValueError as error:
        raise ApiError(400, str(error), param=param) from error


def _matches(own: str | float | bool, kind: str, values: Sequence[Any]) -> bool:
    if kind in ("in", "nin"):
        return bool((own in values) == (kind == "in"))
    value = values[0]
    if kind in ("eq", "ne"):
        return bool((own == value) == (kind == "eq"))
    if isinstance(own, str) != isinstance(value, str):
        return False
    return bool(_ORDER[kind](own, value))


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_FORM = '{"type": "eq", "key": "source", "value": "manual.pdf"}'
