"""Filter objects of the OpenAI API as conditions of the memory: {"type": "gte", "key": "year", "value": 2020}."""

from __future__ import annotations

import re
from typing import Any

from memgpt_rag.io.json_file import MAX_DEPTH
from memgpt_rag.serving.api_errors import ApiError

_COMPARE = {"eq": "==", "ne": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "in": "in", "nin": "not in"}
_JOIN = {"and": " and ", "or": " or "}
_COLUMN = re.compile(r"[^\W\d]\w*")


def condition(given: str | dict[str, Any] | None, param: str) -> str | None:
    """Return a filter as the text of a condition; None where there is none.

    Args:
        param: name of the request's parameter, for errors.

    Raises:
        ApiError: 400 for what is no filter.
    """
    if given is None or isinstance(given, str):
        return given
    return _condition(given, param, 0)


def _condition(given: Any, param: str, depth: int) -> str:
    if not isinstance(given, dict) or depth > MAX_DEPTH:
        raise ApiError(400, f"A filter in {param!r} is no object of the form {_FORM}.", param=param)
    kind = given.get("type")
    if kind in _JOIN:
        parts = given.get("filters")
        if not isinstance(parts, list) or not parts:
            raise ApiError(400, f"The filter {kind!r} has no list of filters.", param=param)
        return "(" + _JOIN[kind].join(_condition(part, param, depth + 1) for part in parts) + ")"
    key, value = given.get("key"), given.get("value")
    if kind not in _COMPARE:
        known = ", ".join((*_COMPARE, *_JOIN))
        raise ApiError(400, f"There is no filter of type {str(kind)[:40]!r}; expected one of {known}.", param=param)
    if not isinstance(key, str) or not _COLUMN.fullmatch(key):
        raise ApiError(400, f"{str(key)[:40]!r} cannot be the name of a column.", param=param)
    several = kind in ("in", "nin")
    values = value if several and isinstance(value, list) and value else [value]
    if (several and values is not value) or not all(isinstance(one, str | int | float | bool) for one in values):
        expected = "a list of texts or numbers" if several else "a text, a number, true or false"
        raise ApiError(400, f"The filter of {key!r} has a value that is not {expected}.", param=param)
    told = f"({''.join(f'{one!r}, ' for one in values)})" if several else repr(value)
    return f"{key} {_COMPARE[kind]} {told}"


_FORM = '{"type": "eq", "key": "source", "value": "manual.pdf"}'
