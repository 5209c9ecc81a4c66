"""/v1/summarise: a memory is summarised, or a text is written about what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from memgpt_rag.answering.row_control import Deadline
from memgpt_rag.choices import (
    DEFAULT_K,
    DEFAULT_PART_TOKENS,
    DEFAULT_PARTS,
    DEFAULT_RETRIEVE_EVERY,
    Outline,
)
from memgpt_rag.limits import MOST_CHARACTERS, MOST_ENTRIES, MOST_NEW_TOKENS, MOST_PARTS
from memgpt_rag.serving.chat_request import Strict
from memgpt_rag.serving.filters import condition
from memgpt_rag.serving.memories import ServedMemory
from memgpt_rag.serving.service import Service, current_access, current_service
from memgpt_rag.serving.store_search import StoreAttributes
from memgpt_rag.tasks.summaries.outline import Section
from memgpt_rag.tasks.summaries.summarize import SummaryOptions, outline, write
from memgpt_rag.tasks.summaries.summary import Part
from memgpt_rag.tasks.summaries.writer import Writer

router = APIRouter(tags=["summaries"])


class SummariseRequest(Strict):
    """The body of POST /v1/summarise; `model` is the name of a memory, and the rest as of `memgpt-rag summarise`.

    With `outline_only`, nothing is written: `data` has the sections.
    """

    model: Annotated[str, Field(max_length=200)]
    about: Annotated[str, Field(max_length=MOST_CHARACTERS)] = ""
    filter: str | dict[str, Any] | None = None
    outline: Outline = "auto"
    outline_only: bool = False
    parts: Annotated[int, Field(ge=1, le=MOST_PARTS)] = DEFAULT_PARTS
    part_tokens: Annotated[int, Field(ge=8, le=MOST_NEW_TOKENS)] = DEFAULT_PART_TOKENS
    k: Annotated[int, Field(ge=1, le=MOST_ENTRIES)] = DEFAULT_K
    retrieve_every: Annotated[int, Field(ge=1, le=MOST_NEW_TOKENS)] | None = DEFAULT_RETRIEVE_EVERY


@router.post("/v1/summarise")
async def summarise(request: Request, body: SummariseRequest) -> dict[str, Any]:
    """Summarise a memory: parts by its outline, their sentences, and the passages that each sentence rests on.

    The part that is being written at the server's deadline ends there, and further ones are left out; then `complete` is false.
    """
    service, access = current_service(request), current_access(request)
    served = service.memories.get(service.memory_name(body.model, None, access), access)
    service.require_length("part_tokens", body.part_tokens)
    where = condition(body.filter, "filter", StoreAttributes(served, service.stores.known(served.name)))
    options = SummaryOptions(where=where, **body.model_dump(exclude={"model", "filter", "outline_only"}))
    end, complete = time.monotonic() + service.settings.deadline_seconds, False
    parts, data = _Parts(service, served, options, Deadline(end)), list[dict[str, Any]]()
    if body.outline_only:
        planned = await asyncio.wrap_future(service.engine.call(parts.outline))
        data = [{"object": "summary.section", "index": place, **one.to_dict()} for place, one in enumerate(planned)]
        return {"object": "list", "data": data, "complete": True, "model": served.name}
    # A part at a time, so that questions to the memories go on between two of them.
    while time.monotonic() < end and not await request.is_disconnected():
        part = await asyncio.wrap_future(service.engine.call(parts.following))
        if complete := part is None:
            break
        data.append({"object": "summary.part", "index": len(data), **part.to_dict()})
    return {"object": "list", "data": data, "complete": complete, "model": served.name}


class _Parts:
    """The parts of a summary, each written when it is asked for, in the engine's thread."""

    def __init__(self, service: Service, served: ServedMemory, options: SummaryOptions, deadline: Deadline):
        self._service, self._served, self._options, self._deadline = service, served, options, deadline
        self._parts: Iterator[Part] | None = None

    def outline(self) -> list[Section]:
        """Return the sections that the parts are about."""
        with self._served.named(), self._service.memories.lock:  # the encoder embeds
            return outline(self._writer, self._options)

    def following(self) -> Part | None:
        """Return the next part; None behind the last one."""
        with self._served.named(), self._service.memories.lock:
            if self._parts is None:
                self._parts = write(self._writer, outline(self._writer, self._options), self._options, self._deadline)
            return next(self._parts, None)

    @property
    def _writer(self) -> Writer:
        return self._service.writers.get(self._served)
