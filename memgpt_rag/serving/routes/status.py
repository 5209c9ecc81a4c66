"""GET /health, /ready, /metrics and /v1/models: whether the server works, and what it serves."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.metrics import CONTENT_TYPE
from memgpt_rag.serving.service import Service, current_access, current_service

router = APIRouter(tags=["status"])


@router.get("/health")
async def health(request: Request) -> dict[str, str]:
    """Say whether the process works."""
    if not current_service(request).engine.is_alive:
        raise ApiError(503, "The engine has stopped; start the server again.")
    return {"status": "ok"}


@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    """Say whether requests are answered: the engine runs, and every memory can be opened."""
    service = current_service(request)
    if not service.engine.is_alive:
        raise ApiError(503, "The engine has stopped; start the server again.")
    if faults := len(service.memories.faults):
        raise ApiError(503, f"{faults} of the memories cannot be opened; see the server's log.", retry_after=5)
    return {"status": "ready"}


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """List what may stand in `model`: each memory, and the language model, which answers from the first memory."""
    service, access = current_service(request), current_access(request)
    names = [service.model_name, *(name for name in service.memories if access.reads(name))]
    return {"object": "list", "data": [_model(service, name) for name in dict.fromkeys(names)]}


@router.get("/v1/models/{model}")
async def get_model(request: Request, model: str) -> dict[str, Any]:
    """Describe a model."""
    service = current_service(request)
    if model != service.model_name:
        service.memory_name(model, None, current_access(request))
    return _model(service, model)


def _model(service: Service, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": service.started, "owned_by": "memgpt_rag"}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> PlainTextResponse:
    """Return the server's numbers in Prometheus's text format."""
    service = current_service(request)
    return PlainTextResponse(service.metrics.text(service.engine, service.memories), media_type=CONTENT_TYPE)
