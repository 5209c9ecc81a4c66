"""/v1/memory: what a memory holds, its versions, and the way back to an earlier one."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from memgpt_rag.memory import Manifest, list_versions, roll_back
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.chat_request import Strict
from memgpt_rag.serving.memories import ServedMemory
from memgpt_rag.serving.service import current_access, current_service

router = APIRouter(tags=["memory"])


class Rollback(Strict):
    """The body of POST /v1/memory/rollback."""

    memory: str
    version: Annotated[int, Field(ge=1, lt=2**63)]


@router.get("/v1/memory/info")
async def memory_info(request: Request, memory: str | None = None) -> dict[str, Any]:
    """Say what a memory holds and how it was built; the first one where none is named."""
    return _info(_served(request, memory))


@router.get("/v1/memory/versions")
async def memory_versions(request: Request, memory: str | None = None) -> dict[str, Any]:
    """List the versions of a memory that can be restored, the present one last."""
    served = _served(request, memory)
    manifests = await asyncio.to_thread(list_versions, served.folder)
    return {"object": "list", "data": [_version(manifest) for manifest in manifests]}


@router.post("/v1/memory/rollback")
async def memory_rollback(request: Request, body: Rollback) -> dict[str, Any]:
    """Make an earlier version of a memory the present one again, as a version of its own."""
    service, access = current_service(request), current_access(request)
    served = service.memories.get(body.memory, access)
    if not access.writes(body.memory):
        raise ApiError(403, f"Your key may not change the memory {body.memory!r}.", code="read_only")
    kept = [manifest.commit for manifest in await asyncio.to_thread(list_versions, served.folder)]
    if body.version not in kept[:-1]:
        found = ", ".join(map(str, kept[:-1])) or "none"
        raise ApiError(400, f"The memory has no earlier version {body.version:,}; it has {found}.", param="version")
    await asyncio.to_thread(roll_back, served.folder, body.version)
    await service.refresh(body.memory)
    return _info(service.memories.get(body.memory, access))


def _served(request: Request, name: str | None) -> ServedMemory:
    service, access = current_service(request), current_access(request)
    return service.memories.get(service.memory_name(service.model_name, name, access), access)


def _info(served: ServedMemory) -> dict[str, Any]:
    manifest = served.memory.manifest
    return {
        "name": served.name,
        "version": manifest.commit,
        "entries": manifest.entries,
        "bytes": sum(file.bytes for segment in manifest.segments for file in segment.files.values()),
        "deleted_rows": sum(segment.deleted for segment in manifest.segments),
        "segments": len(manifest.segments),
        "metric": manifest.metric,
        "encoder": {"name": manifest.encoder.name, "dimension": manifest.encoder.dimension},
        "splitting": manifest.splitting,
        "metadata": manifest.metadata,
        "lexical": manifest.words is not None,
        "sparse": None if manifest.sparse is None else {"encoder": manifest.sparse.name},
        "states": None if manifest.states is None else {"model": manifest.states.model, "dtype": manifest.states.dtype},
        "language_model": served.rag.model.name.rstrip("/").rpartition("/")[2],
        "job": manifest.job,
    }


def _version(manifest: Manifest) -> dict[str, Any]:
    return {"version": manifest.commit, "entries": manifest.entries, "job": manifest.job}
