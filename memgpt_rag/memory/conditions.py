"""Writes conditions for `memgpt_rag.memory.filter` from the filters of other interfaces, which name an operator, a column and a value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

COMPARISONS = {"eq": "==", "ne": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "in": "in", "nin": "not in"}
JOINTS = {"and": " and ", "or": " or "}
_COLUMN = re.compile(r"[^\W\d]\w*")


def column(name: str) -> str:
    """Return the name of a column as conditions have it; raises ValueError for what can be none."""
    if not _COLUMN.fullmatch(name):
        raise ValueError(f"{name[:40]!r} cannot be the name of a column.")
    return name


def comparison(operator: str, name: str, value: Any) -> str:
    """Return the condition that compares a column with a value, or, for "in" and "nin", with each of a list.

    Raises:
        ValueError: an operator, a column or a value that no condition has.
    """
    values = comparison_values(operator, name, value)
    return f"{column(name)} {COMPARISONS[operator]} {listed(values) if operator in ('in', 'nin') else repr(value)}"


def comparison_values(operator: str, name: str, value: Any) -> Sequence[Any]:
    """Return what a comparison compares a column with, as a list; raises ValueError as `comparison`."""
    if operator not in COMPARISONS:
        known = ", ".join((*COMPARISONS, *JOINTS))
        raise ValueError(f"There is no filter of type {operator[:40]!r}; expected one of {known}.")
    several = operator in ("in", "nin")
    values: Sequence[Any] = value if several and isinstance(value, list) and value else [value]
    if (several and values is not value) or not all(isinstance(one, str | int | float | bool) for one in values):
        expected = "a list of texts or numbers" if several else "a text, a number, true or false"
        raise ValueError(f"The filter of {name[:40]!r} has a value that is not {expected}.")
    return values


def combined(joint: str, conditions: Sequence[str]) -> str:
    """Return the condition that all of several conditions hold ("and"), or one of them ("or")."""
    return "(" + JOINTS[joint].join(conditions) + ")"


def listed(values: Sequence[Any]) -> str:
    """Return values as the list that stands behind "in"."""
    return f"({''.join(f'{one!r}, ' for one in values)})"
