"""GET /view/{memory}: the document viewer, which citations open."""

from __future__ import annotations

import asyncio
import hmac
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from memgpt_rag.serving.access import EVERYTHING
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.service import service_of, visitor_of
from memgpt_rag.serving.viewer import HEADERS, document_page, signature

router = APIRouter(tags=["viewer"])


@router.get("/view/{memory}", response_class=HTMLResponse)
async def view_document(
    request: Request,
    memory: str,
    entry: Annotated[str, Query(max_length=2000)],
    version: Annotated[int, Query(ge=1, lt=2**63)] | None = None,
    signed: Annotated[str, Query(max_length=64)] = "",
) -> HTMLResponse:
    """Show a document as it was indexed, with the cited entry marked."""
    service = service_of(request)
    access = visitor_of(request)
    if access is None:  # a browser sends no key; the signature is one for this document alone
        assert service.secret is not None
        expected = signature(service.secret, memory, entry)
        if not hmac.compare_digest(expected.encode(), signed.encode("utf-8", "replace")):
            raise ApiError(401, "This address is not signed; open it from a citation, or send a key.")
        access = EVERYTHING
    served = service.memories.get(memory, access)
    page = await asyncio.to_thread(document_page, served, entry, version)
    return HTMLResponse(page, headers=HEADERS)
