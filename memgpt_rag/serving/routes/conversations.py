"""/v1/conversations: the conversations that the server remembers, listed, exported and forgotten."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse, Response

from memgpt_rag.passage import Passage
from memgpt_rag.serving.chat_request import Strict, UserName
from memgpt_rag.serving.conversations import Conversation, stored_turn
from memgpt_rag.serving.openapi import content
from memgpt_rag.serving.pages import Limit, Order, page
from memgpt_rag.serving.service import current_access, current_service
from memgpt_rag.serving.store_requests import Metadata

router = APIRouter(tags=["conversations"])
_LINES = "application/jsonl"
User = Annotated[str, Query(max_length=256)]


class NewConversation(Strict):
    """The body of POST /v1/conversations."""

    user: UserName | None = None
    metadata: Metadata | None = None


@router.post("/v1/conversations")
async def create_conversation(request: Request, body: NewConversation) -> dict[str, Any]:
    """Begin a conversation under an id that nobody can guess. Chats may also begin one under a name of their own."""
    kept = current_service(request).kept_conversations
    id = f"conv_{secrets.token_hex(16)}"
    return (await asyncio.to_thread(kept.begun, id, current_access(request), body.user or "", body.metadata)).to_json()


@router.get("/v1/conversations")
async def list_conversations(
    request: Request,
    user: User = "",
    limit: Limit = 20,
    after: str | None = None,
    before: str | None = None,
    order: Order = "desc",
) -> dict[str, Any]:
    """List the conversations of a key and a user."""
    found = current_service(request).kept_conversations.all(current_access(request), user)
    return page([one.to_json() for one in found], limit, after, before, order)


@router.get("/v1/conversations/{conversation}")
async def get_conversation(request: Request, conversation: str, user: User = "") -> dict[str, Any]:
    """Describe a conversation."""
    return _named(request, conversation, user).to_json()


@router.get("/v1/conversations/{conversation}/items")
async def list_conversation_items(
    request: Request,
    conversation: str,
    user: User = "",
    limit: Limit = 20,
    after: str | None = None,
    order: Order = "desc",
) -> dict[str, Any]:
    """List the messages of a conversation."""
    turns = await asyncio.to_thread(_named(request, conversation, user).turns)
    items = [item for turn in turns for item in _items(turn)]
    return page(items[::-1], limit, after, None, order)


@router.get("/v1/conversations/{conversation}/export", response_class=Response, responses=content(_LINES))
async def export_conversation(request: Request, conversation: str, user: User = "") -> PlainTextResponse:
    """Return all turns as JSON Lines, the first one first."""
    found = _named(request, conversation, user)
    lines = [json.dumps(dict(turn.metadata), ensure_ascii=False) for turn in await asyncio.to_thread(found.turns)]
    return PlainTextResponse("".join(f"{line}\n" for line in lines), media_type=_LINES)


@router.delete("/v1/conversations/{conversation}")
async def delete_conversation(request: Request, conversation: str, user: User = "") -> dict[str, Any]:
    """Forget a conversation: its turns are removed from the disk."""
    kept = current_service(request).kept_conversations
    await asyncio.to_thread(kept.forget, _named(request, conversation, user))
    return {"id": conversation, "object": "conversation.deleted", "deleted": True}


def _named(request: Request, id: str, user: str) -> Conversation:
    return current_service(request).kept_conversations.get(id, current_access(request), user)


def _items(turn: Passage) -> list[dict[str, Any]]:
    """Return the two messages of a turn as OpenAI's clients read them."""
    said = stored_turn(turn)
    parts = (
        ("user", {"type": "input_text", "text": said.question}),
        ("assistant", {"type": "output_text", "text": said.answer, "annotations": [], "logprobs": []}),
    )
    return [
        {"id": f"msg_{turn.id}-{role}", "type": "message", "role": role, "status": "completed", "content": [part]}
        for role, part in parts
    ]
