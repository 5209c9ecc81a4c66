"""POST /v1/responses, with the tool `file_search`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from memgpt_rag.answering.answer_row import Piece
from memgpt_rag.answering.choice import Choice
from memgpt_rag.answering.dialogue import Turn
from memgpt_rag.serving.answers import Answers
from memgpt_rag.serving.api_errors import api_error
from memgpt_rag.serving.chat_response import STREAM_HEADERS, server_event
from memgpt_rag.serving.dialogue import read_conversation
from memgpt_rag.serving.log import log_event
from memgpt_rag.serving.openapi import content
from memgpt_rag.serving.responses_form import ResponseForm
from memgpt_rag.serving.responses_request import ResponseRequest
from memgpt_rag.serving.service import current_access, current_service, recent_turns, viewer_links
from memgpt_rag.serving.store_search import ranked_search
from memgpt_rag.serving.task import Found

router = APIRouter(tags=["responses"])


@router.post("/v1/responses", responses=content("text/event-stream"))
async def create_response(request: Request, body: ResponseRequest) -> Response:
    """Answer from a vector store, with citations of files; the next request may go on from it by its id."""
    service, answers, tool = current_service(request), Answers(), body.tool
    store = None if tool is None else service.stores.get(tool.vector_store_ids[0], current_access(request))
    fields = body.fields()
    conversation = service.conversation(request, fields, body.user)
    client = current_access(request).name, body.user or ""
    earlier = await recent_turns(conversation) or service.responses.turns(body.previous_response_id, *client)
    asked = read_conversation(body.messages, earlier, service.prompt)
    task = service.task(request, body.model, fields, asked, body.sampling(), 1, bool(body.stream), answers.put)
    if tool is not None:
        kind = body.memory.search
        task.search = ranked_search(service.memories, task.memory, kind, tool.ranking_options)
    await service.recall(task, conversation, asked)
    task.tells_found = True
    answers.task = task
    form = ResponseForm(body, task, viewer_links(request, body.user), store)
    service.engine.submit(task)
    events = service.events(request, answers, task, conversation)
    if body.store is not False and conversation is None:

        def keep(choice: Choice) -> None:
            service.responses.add(form.id, *client, [*asked.earlier, Turn(task.question, choice.text)])

        events = _kept(events, keep)
    found = await answers.first(request, events)
    assert isinstance(found, Found)
    if body.stream:
        return StreamingResponse(
            _stream(form, found, events, request.state.request_id),
            media_type="text/event-stream",
            headers=STREAM_HEADERS,
        )
    (choice,) = await answers.choices(request, events)
    return JSONResponse(form.response(choice, found.entries))


async def _kept(events: AsyncIterator[Any], keep: Callable[[Choice], None]) -> AsyncIterator[Any]:
    """Yield the events of a task; its choice is kept before it is yielded."""
    try:
        async for event in events:
            if isinstance(event, list):
                keep(event[0])
            yield event
    finally:
        await events.aclose()  # type: ignore[attr-defined]


async def _stream(form: ResponseForm, found: Found, events: AsyncIterator[Any], request_id: str) -> AsyncIterator[str]:
    def sent(event: dict[str, Any]) -> str:
        return server_event(event, event["type"])

    try:
        for event in form.opening(found.entries):
            yield sent(event)
        async for event in events:
            if isinstance(event, Piece):
                yield sent(form.piece(event))
            else:
                for last in form.ending(event[0]):
                    yield sent(last)
    except Exception as error:
        fault = api_error(error, request_id)
        if fault.status == 500:
            log_event("failed", level=40, error=error, request=request_id)
        yield sent(form.failure(fault.message, fault.code))
    finally:
        await events.aclose()  # type: ignore[attr-defined]
