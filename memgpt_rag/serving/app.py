"""The application: endpoints behind the gate, with the engine and the look-out for new versions as long as it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from memgpt_rag.serving.access import Keys
from memgpt_rag.serving.api_errors import ApiError, validation_error
from memgpt_rag.serving.conversations import Conversations
from memgpt_rag.serving.engine import Engine
from memgpt_rag.serving.files import FileStore
from memgpt_rag.serving.gate import Gate
from memgpt_rag.serving.index_jobs import IndexJobs
from memgpt_rag.serving.log import log_event
from memgpt_rag.serving.memories import Memories, Models
from memgpt_rag.serving.metrics import Metrics
from memgpt_rag.serving.openapi import openapi_maker
from memgpt_rag.serving.routes import (
    chat,
    classify,
    conversations,
    files,
    graph,
    images,
    memory,
    page,
    responses,
    status,
    store_files,
    summarise,
    translate,
    vector_stores,
    vectors,
    view,
)
from memgpt_rag.serving.service import Service, refresh
from memgpt_rag.serving.settings import ServerSettings
from memgpt_rag.serving.stores import VectorStores

if TYPE_CHECKING:
    from memgpt_rag.serving.telemetry import Telemetry

ROUTES = (
    status,
    chat,
    responses,
    conversations,
    vectors,
    classify,
    translate,
    summarise,
    graph,
    images,
    memory,
    files,
    vector_stores,
    store_files,
    view,
)


def create_app(settings: ServerSettings, models: Models, keys: Keys, telemetry: Telemetry | None = None) -> FastAPI:
    """Return the application, with its memories opened.

    Args:
        telemetry: makes spans of the answers.

    Raises:
        MemgptRagError: a memory cannot be opened now.
    """
    memories = Memories(models, settings.memories)
    for name in memories:
        memories.open(name)
    for fault in memories.faults.values():
        raise fault
    metrics = Metrics()
    engine = Engine(memories, metrics.answered, max_rows=settings.max_rows, max_waiting=settings.max_waiting)
    sparse = models.search.sparse_encoder
    kept = None if settings.files is None else FileStore(settings.files / "files")
    stores = VectorStores(
        None if settings.files is None else settings.files / "stores",
        kept,
        memories,
        IndexJobs(settings.index_arguments, None if sparse is None else sparse.name),
        partial(refresh, engine, memories),
    )
    for name in memories:
        if memories.opened(name) is None and memories.is_stale(name):
            memories.open(name)
    remembered = None if settings.conversations is None else Conversations(settings.conversations)
    service = Service(settings, memories, engine, stores, keys.secret, metrics, remembered, telemetry)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        workers = [asyncio.create_task(work) for work in (_refresh(service), stores.run())]
        log_event("started", memories=list(memories), model=service.model_name)
        try:
            yield
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await asyncio.to_thread(engine.close)
            if telemetry is not None:
                await asyncio.to_thread(telemetry.close)
            log_event("stopped")

    app = FastAPI(title="memgpt_rag", docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False)
    app.state.service = service
    for routes in (*ROUTES, *([page] if settings.page else [])):
        app.include_router(routes.router)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.openapi = openapi_maker(app)  # type: ignore[method-assign]  # as FastAPI's documentation has it
    app.add_middleware(Gate, settings=settings, keys=keys, metrics=metrics)
    return app


async def _refresh(service: Service) -> None:
    """Look for new versions of the memories, and exchange them between two steps."""
    memories = service.memories
    while True:
        await asyncio.sleep(service.settings.refresh_seconds)
        for name in memories:
            if await asyncio.to_thread(memories.is_stale, name):
                await service.refresh(name)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _response(validation_error([dict(one) for one in error.errors()]))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if (fault := getattr(request.state, "fault", None)) is not None:
        return _response(fault)
    sentences = {
        404: f"There is no {request.method} {request.url.path[:100]} here.",
        405: f"{request.url.path[:100]} does not take {request.method}.",
    }
    sentence = sentences.get(error.status_code, f"{error.detail}".rstrip(".") + ".")
    return _response(ApiError(error.status_code, sentence))


def _response(error: ApiError) -> Response:
    return JSONResponse(error.body, error.status, headers=error.headers)
