"""Requests of many texts: a block of them at a time, so that questions to the memories go on between two blocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from fastapi import Request

from memgpt_rag.serving.service import Service

Result = TypeVar("Result")


async def answered_in_blocks(
    request: Request, service: Service, texts: Sequence[str], size: int, answer: Callable[[Sequence[str]], list[Result]]
) -> list[Result]:
    """Return the answers of texts; those that would begin after the server's deadline, or when the client is gone, are left out.

    Args:
        size: of a block.
        answer: called in the engine's thread with each block, returns an answer for each of its texts.
    """
    end, answers = time.monotonic() + service.settings.deadline_seconds, list[Result]()
    while len(answers) < len(texts) and time.monotonic() < end and not await request.is_disconnected():
        block = texts[len(answers) : len(answers) + size]
        answers += await asyncio.wrap_future(service.engine.call(partial(answer, block)))
    return answers
