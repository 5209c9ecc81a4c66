"""Lists of the API in pages: `limit`, `after`, `before` and `order`, as OpenAI's clients turn them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Query

from memgpt_rag.serving.api_errors import ApiError

Limit = Annotated[int, Query(ge=1, le=10_000)]
Order = Literal["asc", "desc"]


def page(
    items: Sequence[dict[str, Any]], limit: int, after: str | None, before: str | None = None, order: Order = "desc"
) -> dict[str, Any]:
    """Return a page of items that stand newest first.

    Raises:
        ApiError: 400 for a place that is not in the list.
    """
    ordered = list(items if order == "desc" else reversed(items))
    ids = [item["id"] for item in ordered]
    for name, id in (("after", after), ("before", before)):
        if id is not None and id not in ids:
            raise ApiError(400, f"{name} is {id[:80]!r}, which is not in this list.", param=name)
    begin = 0 if after is None else ids.index(after) + 1
    end = len(ordered) if before is None else ids.index(before)
    taken = ordered[begin:end]
    shown = taken[:limit] if before is None or after is not None else taken[-limit:]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(taken) > len(shown),
    }
