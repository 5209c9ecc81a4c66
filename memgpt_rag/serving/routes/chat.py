"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from memgpt_rag.answering.answer_row import Piece
from memgpt_rag.serving.answers import Answers
from memgpt_rag.serving.api_errors import api_error
from memgpt_rag.serving.chat_request import ChatRequest
from memgpt_rag.serving.chat_response import DONE, STREAM_HEADERS, ChatForm, server_event
from memgpt_rag.serving.dialogue import read_conversation
from memgpt_rag.serving.log import log_event
from memgpt_rag.serving.openapi import content
from memgpt_rag.serving.service import current_service, recent_turns, viewer_links

router = APIRouter(tags=["chat"])


@router.post("/v1/chat/completions", responses=content("text/event-stream"))
async def create_chat_completion(request: Request, body: ChatRequest) -> Response:
    """Answer the last message of a conversation from a memory, with citations."""
    service, answers = current_service(request), Answers()
    conversation = service.conversation(request, body.memory, body.user)
    asked = read_conversation(body.messages, await recent_turns(conversation), service.prompt)
    task = service.task(
        request,
        body.model,
        body.memory,
        asked,
        body.sampling(),
        body.n or 1,
        bool(body.stream),
        answers.put,
    )
    await service.recall(task, conversation, asked)
    answers.task = task
    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    form = ChatForm(body.model, task, viewer_links(request, body.user), include_usage, body.memory.trace)
    service.engine.submit(task)
    events = service.events(request, answers, task, conversation)
    if not body.stream:
        return JSONResponse(form.completion(await answers.choices(request, events)))
    # Nothing is sent before the first event: an error that comes instead of it has a status.
    began = await answers.first(request, events)
    return StreamingResponse(
        _stream(form, began, events, request.state.request_id),
        media_type="text/event-stream",
        headers=STREAM_HEADERS,
    )


async def _stream(form: ChatForm, began: Any, events: AsyncIterator[Any], request_id: str) -> AsyncIterator[str]:
    try:
        for chunk in form.opening():
            yield server_event(chunk)
        event = began
        while True:
            if isinstance(event, Piece):
                yield server_event(form.piece(event))
            else:
                for chunk in form.ending(event):
                    yield server_event(chunk)
                yield DONE
                return
            event = await anext(events)
    except Exception as error:
        fault = api_error(error, request_id)
        if fault.status == 500:
            log_event("failed", level=40, error=error, request=request_id)
        yield server_event(fault.body)
    finally:
        await events.aclose()  # type: ignore[attr-defined]
