"""Metadata filters of LlamaIndex as conditions of a memory."""

from __future__ import annotations

from collections.abc import Mapping

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from memgpt_rag.integrations.documents import filter_column
from memgpt_rag.memory.conditions import column, combined, comparison

_COMPARISONS = {
    FilterOperator.EQ: "eq",
    FilterOperator.NE: "ne",
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
    FilterOperator.IN: "in",
    FilterOperator.NIN: "nin",
}


def condition(filters: MetadataFilters | None, columns: Mapping[str, str]) -> str | None:
    """Return filters as the text of a condition; None where there are none.

    As in LlamaIndex's own store, a node without a value differs from every value, and NOT holds where none of its filters does.

    Args:
        columns: the memory's columns of metadata.

    Raises:
        ValueError: an operator that a memory does not have, such as CONTAINS, or a value that no column holds.
    """
    if filters is None or not filters.filters:
        return None
    parts = [
        condition(one, columns)
        if isinstance(one, MetadataFilters)
        else _comparison(one, filter_column(one.key, columns))
        for one in filters.filters
    ]
    known = [part for part in parts if part is not None]
    if not known:
        return None
    if filters.condition == FilterCondition.NOT:
        return f"(not {combined('or', known)})"
    return combined("or" if filters.condition == FilterCondition.OR else "and", known)


def _comparison(one: MetadataFilter, name: str) -> str:
    """Return the condition of a filter, which is true or false of every node, so that it can be negated."""
    if one.operator == FilterOperator.IS_EMPTY:
        return combined("or", [f"{column(name)} is None"])
    if one.operator not in _COMPARISONS:
        known = ", ".join(operator.name for operator in (*_COMPARISONS, FilterOperator.IS_EMPTY))
        raise ValueError(f"A memory has no filter {one.operator.name} (of {one.key[:40]!r}); expected one of {known}.")
    compared = comparison(_COMPARISONS[one.operator], name, one.value)
    if one.operator in (FilterOperator.NE, FilterOperator.NIN):
        return combined("or", [compared, f"{name} is None"])
    return combined("and", [compared, f"{name} is not None"])
