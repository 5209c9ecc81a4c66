"""/v1/vector_stores/{id}/files and file_batches: which files a store holds, and whether they are indexed."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Literal

from fastapi import APIRouter, Request

from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.memories import ServedMemory
from memgpt_rag.serving.pages import Limit, Order, page
from memgpt_rag.serving.service import current_access, current_service
from memgpt_rag.serving.store_requests import AttachBatch, AttachFile, ChangeAttributes
from memgpt_rag.serving.store_search import entries_of_source
from memgpt_rag.serving.stores import FileInStore, VectorStore

router = APIRouter(tags=["vector stores"])
Status = Literal["in_progress", "completed", "failed", "cancelled"]


@router.post("/v1/vector_stores/{store_id}/files")
async def attach_file(request: Request, store_id: str, body: AttachFile) -> dict[str, Any]:
    """Have an uploaded file indexed into a vector store; its status says when a version with it is on disk."""
    access, stores = current_access(request), current_service(request).stores
    store = stores.get(store_id, access, write=True)
    file = stores.attach(store, stores.files.get(body.file_id, access), dict(body.attributes or {}))
    return file.to_json(store_id)


@router.get("/v1/vector_stores/{store_id}/files")
async def list_store_files(
    request: Request,
    store_id: str,
    limit: Limit = 20,
    after: str | None = None,
    before: str | None = None,
    order: Order = "desc",
    filter: Status | None = None,
) -> dict[str, Any]:
    """List the files of a vector store."""
    store = current_service(request).stores.get(store_id, current_access(request))
    return page(_files(store, filter), limit, after, before, order)


@router.get("/v1/vector_stores/{store_id}/files/{file_id}")
async def get_store_file(request: Request, store_id: str, file_id: str) -> dict[str, Any]:
    """Describe a file of a vector store, and how far its indexing is."""
    return _file(request, store_id, file_id)[1].to_json(store_id)


@router.post("/v1/vector_stores/{store_id}/files/{file_id}")
async def change_attributes(request: Request, store_id: str, file_id: str, body: ChangeAttributes) -> dict[str, Any]:
    """Give a file of a vector store other attributes."""
    store, file = _file(request, store_id, file_id, write=True)
    current_service(request).stores.set_attributes(store, file, dict(body.attributes or {}))
    return file.to_json(store_id)


@router.get("/v1/vector_stores/{store_id}/files/{file_id}/content")
async def get_store_file_content(request: Request, store_id: str, file_id: str) -> dict[str, Any]:
    """Return the text of a file as it was indexed, entry by entry."""
    service = current_service(request)
    _, file = _file(request, store_id, file_id)
    if file.status != "completed":
        raise ApiError(409, f"The file is {file.status.replace('_', ' ')}; its text is there when it is completed.")
    served: ServedMemory = service.memories.get(store_id, current_access(request))
    entries = await asyncio.to_thread(entries_of_source, served, file.source)
    data = [{"type": "text", "text": passage.text} for passage in entries]
    return {"object": "vector_store.file_content.page", "data": data, "has_more": False, "next_page": None}


@router.delete("/v1/vector_stores/{store_id}/files/{file_id}")
async def detach_file(request: Request, store_id: str, file_id: str) -> dict[str, Any]:
    """Delete a file's entries from a vector store; the file stays."""
    store, file = _file(request, store_id, file_id, write=True)
    await current_service(request).stores.detach(store, file)
    return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}


@router.post("/v1/vector_stores/{store_id}/file_batches")
async def attach_batch(request: Request, store_id: str, body: AttachBatch) -> dict[str, Any]:
    """Have several files indexed into a vector store together."""
    access, stores = current_access(request), current_service(request).stores
    store = stores.get(store_id, access, write=True)
    if (body.file_ids is None) == (body.files is None):
        raise ApiError(400, "Give file_ids or files, one of them.", param="file_ids")
    wanted = body.files or [AttachFile(file_id=id, attributes=body.attributes) for id in body.file_ids or ()]
    files = [(stores.files.get(one.file_id, access), dict(one.attributes or {})) for one in wanted]
    for file, attributes in files:
        stores.attach(store, file, attributes)
    return _batch(store, stores.batch(store, [file.id for file, _ in files]))


@router.get("/v1/vector_stores/{store_id}/file_batches/{batch_id}")
async def get_batch(request: Request, store_id: str, batch_id: str) -> dict[str, Any]:
    """Describe a batch of files, and how far their indexing is."""
    return _batch(current_service(request).stores.get(store_id, current_access(request)), batch_id)


@router.get("/v1/vector_stores/{store_id}/file_batches/{batch_id}/files")
async def list_batch_files(
    request: Request,
    store_id: str,
    batch_id: str,
    limit: Limit = 20,
    after: str | None = None,
    before: str | None = None,
    order: Order = "desc",
    filter: Status | None = None,
) -> dict[str, Any]:
    """List the files of a batch."""
    store = current_service(request).stores.get(store_id, current_access(request))
    ids = set(_batch_files(store, batch_id))
    return page([file for file in _files(store, filter) if file["id"] in ids], limit, after, before, order)


def _file(request: Request, store_id: str, file_id: str, *, write: bool = False) -> tuple[VectorStore, FileInStore]:
    stores = current_service(request).stores
    store = stores.get(store_id, current_access(request), write=write)
    return store, stores.file(store, file_id)


def _files(store: VectorStore, status: str | None) -> list[dict[str, Any]]:
    newest = sorted(store.files.values(), key=lambda file: (file.created_at, file.id), reverse=True)
    return [file.to_json(store.id) for file in newest if status in (None, file.status)]


def _batch_files(store: VectorStore, batch_id: str) -> list[str]:
    if batch_id not in store.batches:
        raise ApiError(404, f"There is no batch {batch_id[:80]!r} in {store.id!r}.", code="batch_not_found")
    return store.batches[batch_id]


def _batch(store: VectorStore, batch_id: str) -> dict[str, Any]:
    files = [store.files[id] for id in _batch_files(store, batch_id) if id in store.files]
    counts = Counter(file.status for file in files)
    names = ("in_progress", "completed", "failed", "cancelled")
    return {
        "id": batch_id,
        "object": "vector_store.files_batch",
        "created_at": min((file.created_at for file in files), default=store.created_at),
        "vector_store_id": store.id,
        "status": "in_progress" if counts["in_progress"] else "completed",
        "file_counts": {**{name: counts[name] for name in names}, "total": len(files)},
    }
