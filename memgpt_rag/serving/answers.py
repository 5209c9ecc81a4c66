"""How a request waits for its answers, which the engine generates in its thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

from fastapi import Request

from memgpt_rag.answering.answer_row import Piece
from memgpt_rag.answering.choice import Choice
from memgpt_rag.serving.api_errors import ClientGoneError
from memgpt_rag.serving.task import Event, Found, Task

Result = TypeVar("Result")
_DISCONNECT_SECONDS = 0.25  # between two looks whether the client is still there


class Answers:
    """The events of one task, for the request that waits for them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.task: Task | None = None

    def put(self, event: Event) -> None:
        """Take an event from the engine's thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended with the server
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def events(self) -> AsyncIterator[Found | Piece | list[Choice]]:
        """Yield the events of the task, the choices last. The task is cancelled when the iteration ends.

        Raises:
            Exception: the one that ended the task.
        """
        assert self.task is not None
        try:
            while True:
                event = await self._events.get()
                if isinstance(event, BaseException):
                    raise event
                yield event
                if isinstance(event, list):
                    return
        finally:
            self.task.cancel()

    async def first(self, request: Request, events: AsyncIterator[Any]) -> Any:
        """Return the first event; a client that goes before it comes stops the task."""
        return await self._watched(request, anext(events))

    async def choices(self, request: Request, events: AsyncIterator[Any]) -> list[Choice]:
        """Return the choices; a client that goes before they come stops the task.

        Raises:
            Exception: the one that ended the task.
        """

        async def last() -> list[Choice]:
            async for event in events:
                if isinstance(event, list):
                    return event
            raise AssertionError("the choices come last")

        return await self._watched(request, last())

    async def _watched(self, request: Request, waiting: Awaitable[Result]) -> Result:
        work = asyncio.ensure_future(waiting)
        try:
            while not work.done():
                await asyncio.wait([work], timeout=_DISCONNECT_SECONDS)
                if not work.done() and await request.is_disconnected():
                    raise ClientGoneError
            return work.result()
        except BaseException:
            work.cancel()
            if self.task is not None:
                self.task.cancel()
            raise
