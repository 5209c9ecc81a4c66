"""Filters of Haystack as conditions of a memory, where its columns can express them.

Haystack compares a document without a field as if it were None, and texts that are dates as dates. A condition never compares an
empty cell; so each comparison here says what an empty cell means, and those of dates are left to Haystack.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from memgpt_rag.integrations.documents import WHOLE, metadata_column
from memgpt_rag.memory.storage.layout import METADATA_TYPES

_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
}
# Fields of a document, with their columns; all others of this name are fields of its `meta`.
_FIELDS = {"id": "id", "content": "text"}
_NO_COLUMNS = ("blob", "meta", "score", "embedding", "sparse_embedding")
_META = "meta."
_EXACT = 2**53  # up to which a float holds every whole number


class _InexpressibleError(Exception):
    """No condition says what the filter does."""


def expression(filters: Mapping[str, Any], columns: Mapping[str, str]) -> pc.Expression | None:
    """Return the condition that matches the documents which a filter matches; None where there is none.

    Args:
        columns: metadata column → type, of the memory.
    """
    try:
        return _condition(filters, columns)
    except _InexpressibleError:
        return None


def _condition(filters: Any, columns: Mapping[str, str]) -> pc.Expression:
    if not isinstance(filters, Mapping):
        raise _InexpressibleError
    if "field" in filters:
        return _comparison(filters, columns)
    operator, conditions = filters.get("operator"), filters.get("conditions")
    if operator not in ("AND", "OR", "NOT") or not isinstance(conditions, list) or not conditions:
        raise _InexpressibleError
    joined, *others = (_condition(one, columns) for one in conditions)
    for other in others:
        joined = joined | other if operator == "OR" else joined & other
    return ~joined if operator == "NOT" else joined


def _comparison(filters: Mapping[str, Any], columns: Mapping[str, str]) -> pc.Expression:
    name, operator, value = (filters.get(part) for part in ("field", "operator", "value"))
    if not isinstance(name, str) or name in _NO_COLUMNS or "value" not in filters:
        raise _InexpressibleError
    column, kind = _FIELDS.get(name), "string"
    if column is None:
        named = name.removeprefix(_META)
        column = metadata_column(named) if WHOLE in columns else named
        if column not in columns or column == WHOLE:
            raise _InexpressibleError
        kind = columns[column]
    field = pc.field(column)
    if value is None and operator in ("==", "!="):
        return field.is_null() if operator == "==" else field.is_valid()
    if operator in ("in", "not in") and isinstance(value, list):
        among = field.isin(pa.array([_value(one, kind) for one in value], METADATA_TYPES[kind]))
        return among if operator == "in" else ~among
    compared = pa.scalar(_value(value, kind), METADATA_TYPES[kind])
    if operator == "==":
        return field.is_valid() & (field == compared)
    if operator == "!=":
        return field.is_null() | (field != compared)
    if operator in _ORDERS and kind in ("integer", "number"):
        return field.is_valid() & _ORDERS[operator](field, compared)
    raise _InexpressibleError


def _value(value: Any, kind: str) -> Any:
    """Return a value as a column holds it, if comparing it there is comparing it in Python."""
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "string" and isinstance(value, str) and not value[:4].isdigit():  # what begins so may be a date
        return value
    if kind in ("integer", "number") and type(value) in (int, float) and math.isfinite(value) and abs(value) <= _EXACT:
        if kind == "number":
            return float(value)
        if value == int(value):
            return int(value)
    raise _InexpressibleError
