"""The latest responses, so that a request can go on from one by its id. They are kept in memory, and gone after a restart."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from memgpt_rag.answering.dialogue import Turn
from memgpt_rag.serving.api_errors import ApiError

_MOST_RESPONSES = 1000
_MOST_TURNS = 8  # of one response and those before it


@dataclass(frozen=True)
class _Kept:
    owner: str
    user: str
    turns: tuple[Turn, ...]


class PreviousResponses:
    """Turns of the latest responses by the id of the response, for the client that got it alone."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def turns(self, id: str | None, owner: str, user: str) -> list[Turn]:
        """Return the turns up to a response, the latest last; none without an id.

        Raises:
            ApiError: 404 for a response that is not kept, or belongs to another client.
        """
        if id is None:
            return []
        with self._lock:
            kept = self._kept.get(id)
        if kept is None or (kept.owner, kept.user) != (owner, user):
            raise ApiError(
                404,
                f"There is no response {id[:80]!r} of yours; the latest {_MOST_RESPONSES:,} are kept until the server stops. Send its "
                "turns as input, or name a conversation.",
                param="previous_response_id",
                code="response_not_found",
            )
        return list(kept.turns)

    def add(self, id: str, owner: str, user: str, turns: list[Turn]) -> None:
        """Keep a response with the turns up to it; the oldest response goes."""
        with self._lock:
            self._kept[id] = _Kept(owner, user, tuple(turns[-_MOST_TURNS:]))
            while len(self._kept) > _MOST_RESPONSES:
                self._kept.popitem(last=False)
