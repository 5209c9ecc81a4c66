"""/v1/vector_stores: create, change, list and delete stores, and search in them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.pages import Limit, Order, page
from memgpt_rag.serving.service import current_access, current_service, viewer_links
from memgpt_rag.serving.store_requests import ChangeStore, CreateStore, SearchStore
from memgpt_rag.serving.store_search import search_store
from memgpt_rag.serving.stores import VectorStore, VectorStores

router = APIRouter(tags=["vector stores"])


@router.post("/v1/vector_stores")
async def create_store(request: Request, body: CreateStore) -> dict[str, Any]:
    """Create a vector store: a memory of its own, filled with files."""
    access, stores = current_access(request), current_service(request).stores
    files = [stores.files.get(id, access) for id in body.file_ids or ()]
    store = stores.create(body.name or "", body.metadata or {}, access)
    for file in files:
        stores.attach(store, file, {})
    return _json(stores, store)


@router.get("/v1/vector_stores")
async def list_stores(
    request: Request, limit: Limit = 20, after: str | None = None, before: str | None = None, order: Order = "desc"
) -> dict[str, Any]:
    """List the vector stores, the memories of the server's start among them."""
    stores = current_service(request).stores
    return page([_json(stores, store) for store in stores.all(current_access(request))], limit, after, before, order)


@router.get("/v1/vector_stores/{store_id}")
async def get_store(request: Request, store_id: str) -> dict[str, Any]:
    """Describe a vector store."""
    stores = current_service(request).stores
    return _json(stores, stores.get(store_id, current_access(request)))


@router.post("/v1/vector_stores/{store_id}")
async def change_store(request: Request, store_id: str, body: ChangeStore) -> dict[str, Any]:
    """Give a vector store another name or other metadata."""
    stores = current_service(request).stores
    store = stores.get(store_id, current_access(request), write=True)
    stores.change(store, body.name, body.metadata)
    return _json(stores, store)


@router.delete("/v1/vector_stores/{store_id}")
async def delete_store(request: Request, store_id: str) -> dict[str, Any]:
    """Delete a vector store with its memory; its files stay."""
    stores = current_service(request).stores
    await stores.delete(stores.get(store_id, current_access(request), write=True))
    return {"id": store_id, "object": "vector_store.deleted", "deleted": True}


@router.post("/v1/vector_stores/{store_id}/search")
async def search(request: Request, store_id: str, body: SearchStore) -> dict[str, Any]:
    """Search a vector store: by vectors, by words or by both, among the entries that a filter matches."""
    service, access = current_service(request), current_access(request)
    store = service.stores.get(store_id, access)
    try:
        served = service.memories.get(store_id, access)
    except ApiError as error:
        if error.code == "memory_empty":  # nothing was indexed yet, so nothing is found
            empty = {"object": "vector_store.search_results.page", "search_query": body.queries, "data": []}
            return {**empty, "has_more": False, "next_page": None}
        raise
    return await search_store(service.memories, served, store, body, viewer_links(request))


def _json(stores: VectorStores, store: VectorStore) -> dict[str, Any]:
    return store.to_json(stores.usage_bytes(store))
