"""Runs the application as a deployment of Ray Serve: several replicas, on one machine or many, behind one address.

Each replica is the whole application, with models of its own, and reads the memories' folders, which all of its machines see.
None of them writes but a rollback: memories grow by memgpt-index, and every replica takes a new version over by itself.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import ASGIApp

from memgpt_rag.errors import ClusterError, first_line
from memgpt_rag.memory.ray_shards import cluster
from memgpt_rag.serving.server import MOST_OTHERS
from memgpt_rag.serving.settings import ServerSettings

APPLICATION = "memgpt_rag"
_SHUTDOWN_SECONDS = 30
_ERROR_LINE = re.compile(r"[\w.]+(Error|Exception): ")


def run_replicas(
    make_app: Callable[[], ASGIApp], settings: ServerSettings, count: int, on_ready: Callable[[], object]
) -> None:
    """Serve an application from processes of a Ray cluster until SIGINT or SIGTERM.

    The cluster is the one that RAY_ADDRESS names, or one that is started on this machine and ends with the server.

    Args:
        make_app: makes the application of a replica, in its process; what it refers to is sent there.
        count: replicas. One that ends is replaced.
        on_ready: called when all replicas serve.

    Raises:
        ClusterError: no cluster answers, or a replica cannot start there.
        MissingPackageError: Ray is not installed.
    """
    with cluster(), _signals_interrupt():
        from ray import serve
        from ray.serve.config import HTTPOptions

        logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
        try:
            serve.start(http_options=HTTPOptions(host=settings.host, port=settings.port))
            serve.run(_deployment(make_app, settings, count).bind(), name=APPLICATION, route_prefix="/")
            on_ready()
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
        except RuntimeError as error:
            raise ClusterError(f"The replicas cannot start: {_reason(error)}") from error
        finally:
            serve.delete(APPLICATION)  # other applications of the cluster go on


def _deployment(make_app: Callable[[], ASGIApp], settings: ServerSettings, count: int) -> Any:
    from ray import serve
    from ray.serve.schema import LoggingConfig

    def build() -> ASGIApp:  # Ray takes a function, and calls it in the replica
        return make_app()

    class Replica:
        pass

    return serve.deployment(
        serve.ingress(build)(Replica),
        name=APPLICATION,
        num_replicas=count,
        # A replica has a queue of its own and answers 429 when that is full; it is given what that takes, and more.
        max_ongoing_requests=settings.max_waiting + MOST_OTHERS,
        graceful_shutdown_timeout_s=_SHUTDOWN_SECONDS,
        ray_actor_options={"num_cpus": 1},
        logging_config=LoggingConfig(enable_access_log=False),
    )


def _reason(error: RuntimeError) -> str:
    """Return why no replica starts: the last line of the error that Ray Serve reports of one."""
    from ray import serve

    application = serve.status().applications.get(APPLICATION)
    messages = [] if application is None else [one.message for one in application.deployments.values()]
    lines = [line for message in messages for line in message.splitlines() if _ERROR_LINE.match(line)]
    return lines[-1].partition(": ")[2] if lines else f"{first_line(error)}; see the logs of Ray Serve."


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Inside the block, SIGTERM interrupts as SIGINT does, once; Ray would end the process at once."""

    def interrupt(*_: object) -> None:
        for kind in before:
            signal.signal(kind, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {kind: signal.signal(kind, interrupt) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
