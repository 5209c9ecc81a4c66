"""/v1/files: upload, list, describe, fetch and delete files."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import FileResponse

from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.openapi import content
from memgpt_rag.serving.pages import Limit, Order, page
from memgpt_rag.serving.service import current_access, current_service

router = APIRouter(tags=["files"])
_BYTES = "application/octet-stream"


@router.post("/v1/files")
async def upload_file(
    request: Request,
    file: Annotated[UploadFile, File()],
    purpose: Annotated[str, Form(max_length=64)] = "assistants",
) -> dict[str, Any]:
    """Keep a file of any format that memgpt-index reads, for vector stores."""
    access, files = current_access(request), current_service(request).stores.files
    if not access.write:
        raise ApiError(403, "Your key may not upload files.", code="read_only")
    kept = await asyncio.to_thread(files.create, file.filename, file.file, purpose, access)
    return kept.to_json()


@router.get("/v1/files")
async def list_files(
    request: Request,
    limit: Limit = 10_000,
    after: str | None = None,
    order: Order = "desc",
    purpose: str | None = None,
) -> dict[str, Any]:
    """List the files that were uploaded."""
    files = current_service(request).stores.files.all(current_access(request))
    return page([file.to_json() for file in files if purpose in (None, file.purpose)], limit, after, order=order)


@router.get("/v1/files/{file_id}")
async def get_file(request: Request, file_id: str) -> dict[str, Any]:
    """Describe a file."""
    return current_service(request).stores.files.get(file_id, current_access(request)).to_json()


@router.get("/v1/files/{file_id}/content", response_class=FileResponse, responses=content(_BYTES))
async def get_file_content(request: Request, file_id: str) -> FileResponse:
    """Return the bytes of a file, for download; no browser shows them."""
    files = current_service(request).stores.files
    file = files.get(file_id, current_access(request))
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename)}",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
    }
    return FileResponse(files.path(file), media_type=_BYTES, headers=headers)


@router.delete("/v1/files/{file_id}")
async def delete_file(request: Request, file_id: str) -> dict[str, Any]:
    """Delete a file that no vector store holds."""
    access, stores = current_access(request), current_service(request).stores
    file = stores.files.get(file_id, access)
    if not access.write:
        raise ApiError(403, "Your key may not delete files.", code="read_only")
    if holders := stores.holders(file):
        raise ApiError(409, f"The file is in the vector store {holders[0]!r}; delete it there first.", code="in_use")
    await asyncio.to_thread(stores.files.delete, file)
    return {"id": file.id, "object": "file", "deleted": True}
