"""GET /view/{memory}: the document viewer, which citations open, and the PDF files that were uploaded."""

from __future__ import annotations

import asyncio
import hmac
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from memgpt_rag.serving.access import EVERYTHING
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.files import shown_name
from memgpt_rag.serving.memories import ServedMemory
from memgpt_rag.serving.openapi import content
from memgpt_rag.serving.originals import HEADERS as FILE_HEADERS
from memgpt_rag.serving.originals import original_pdf
from memgpt_rag.serving.pictures import HEADERS as PICTURE_HEADERS
from memgpt_rag.serving.pictures import entry_picture
from memgpt_rag.serving.service import current_service, current_visitor, viewer_links
from memgpt_rag.serving.viewer import HEADERS, cited_entry, document_page, signature

router = APIRouter(tags=["viewer"])
Entry = Annotated[str, Query(max_length=2000)]
Version = Annotated[int, Query(ge=1, lt=2**63)]
_PDF = "application/pdf"
_QUERY = ("entry", "version", "signed")
Signed = Annotated[str, Query(max_length=64)]


@router.get("/view/{memory}", response_class=HTMLResponse)
async def view_document(
    request: Request, memory: str, entry: Entry, version: Version | None = None, signed: Signed = ""
) -> HTMLResponse:
    """Show a document as it was indexed, with the cited entry marked."""
    served = _served(request, memory, entry, signed)

    def page() -> str:
        opened, cited = cited_entry(served, entry, version)
        has_file = original_pdf(current_service(request).stores, memory, cited) is not None
        query = urlencode({name: value for name, value in request.query_params.items() if name in _QUERY})
        address = f"{quote(memory, safe='')}/file?{query}#page={cited.first}" if has_file else ""
        links = viewer_links(request)
        return document_page(served, opened, cited, address, lambda passage: links.picture(served, passage))

    return HTMLResponse(await asyncio.to_thread(page), headers=HEADERS)


@router.get("/view/{memory}/file", response_class=FileResponse, responses=content(_PDF))
async def view_file(
    request: Request, memory: str, entry: Entry, version: Version | None = None, signed: Signed = ""
) -> FileResponse:
    """Show the uploaded PDF file that an entry was read from."""
    served = _served(request, memory, entry, signed)
    _, cited = await asyncio.to_thread(cited_entry, served, entry, version)
    path = await asyncio.to_thread(original_pdf, current_service(request).stores, memory, cited)
    if path is None:
        raise ApiError(404, "No PDF file of this entry is kept here; see its text.", code="file_not_found")
    named = f"inline; filename*=UTF-8''{quote(shown_name(cited.source))}"
    return FileResponse(path, media_type=_PDF, headers={**FILE_HEADERS, "content-disposition": named})


@router.get("/view/{memory}/picture", response_class=Response, responses=content("image/png"))
async def view_picture(
    request: Request, memory: str, entry: Entry, version: Version | None = None, signed: Signed = ""
) -> Response:
    """Show the picture of an entry."""
    served = _served(request, memory, entry, signed)

    def found() -> tuple[bytes, str]:
        return entry_picture(*cited_entry(served, entry, version))

    picture, kind = await asyncio.to_thread(found)
    return Response(picture, media_type=kind, headers=PICTURE_HEADERS)


def _served(request: Request, memory: str, entry: str, signed: str) -> ServedMemory:
    """Return the memory, for a client that may read it or has an address that was signed for this entry."""
    service, access = current_service(request), current_visitor(request)
    if access is None:  # a browser sends no key; the signature is one for this document alone
        assert service.secret is not None
        expected = signature(service.secret, memory, entry)
        if not hmac.compare_digest(expected.encode(), signed.encode("utf-8", "replace")):
            raise ApiError(401, "This address is not signed; open it from a citation, or send a key.")
        access = EVERYTHING
    return service.memories.get(memory, access)
