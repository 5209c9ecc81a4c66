"""Runs the application on uvicorn until a signal stops it."""

from __future__ import annotations

import signal

import uvicorn
from starlette.types import ASGIApp

from memgpt_rag.serving.settings import ServerSettings

_SHUTDOWN_SECONDS = 30
MOST_OTHERS = 512  # connections beside those that wait for an answer


def http_server(app: ASGIApp, settings: ServerSettings) -> uvicorn.Server:
    """Return a server for an application; `run` of it returns when it was stopped.

    A stopped server takes no more connections, ends the answers that are on their way, and closes.
    """
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.max_waiting + MOST_OTHERS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=2**16,
        http="h11",
        ws="none",
        lifespan="on",
    )
    return uvicorn.Server(config)


def run_until_stopped(server: uvicorn.Server) -> None:
    """Run a server until SIGINT or SIGTERM, which uvicorn would raise once more when it has ended in order."""
    before = {kind: signal.signal(kind, lambda *_: None) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
