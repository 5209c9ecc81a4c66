"""Filters of LangChain's users as conditions of a memory: texts such as "year >= 2020", and objects as most vector stores take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memgpt_rag.integrations.documents import filter_column
from memgpt_rag.memory.conditions import COMPARISONS, JOINTS, combined, comparison

Filter = str | dict[str, Any]
_FORM = '{"year": 2020}, {"year": {"$gte": 2020}} or {"$or": [{"year": 2020}, {"lang": {"$in": ["en", "zh"]}}]}'


def condition(given: Filter | None, columns: Mapping[str, str]) -> str | None:
    """Return a filter as the text of a condition; None where there is none.

    Args:
        given: a condition as text; or an object whose names are columns, with a value that they equal or with
            {"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin": value}, or "$and" and "$or" with a list of such objects.
            Everything in an object has to hold.
        columns: the memory's columns of metadata.

    Raises:
        ValueError: it is no filter.
    """
    if given is None or isinstance(given, str):
        return given
    return _condition(given, columns) if given else None


def _condition(given: Any, columns: Mapping[str, str]) -> str:
    if not isinstance(given, dict) or not given:
        raise ValueError(f"Found {given!r:.80} where a filter is expected, such as {_FORM}.")
    parts: list[str] = []
    for name, value in given.items():
        joint = str(name).removeprefix("$")
        if name in (f"${one}" for one in JOINTS):
            if not isinstance(value, list) or not value:
                raise ValueError(f"The filter {name!r} has no list of filters; expected one such as {_FORM}.")
            parts.append(combined(joint, [_condition(part, columns) for part in value]))
        elif isinstance(value, dict):
            column = filter_column(str(name), columns)
            parts += [_comparison(column, operator, operand) for operator, operand in value.items()]
        else:
            parts.append(comparison("eq", filter_column(str(name), columns), value))
    return combined("and", parts)


def _comparison(column: str, operator: Any, value: Any) -> str:
    if operator not in (f"${one}" for one in COMPARISONS):
        known = ", ".join(f"${one}" for one in COMPARISONS)
        raise ValueError(f"There is no comparison {operator!r:.40} of {column[:40]!r}; expected one of {known}.")
    return comparison(operator.removeprefix("$"), column, value)
