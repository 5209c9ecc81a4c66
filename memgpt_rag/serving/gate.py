"""What every request passes: an id, its size and form, where it comes from, its key, and a line in the log."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memgpt_rag.io.json_file import parse_json
from memgpt_rag.serving.access import Access, Keys
from memgpt_rag.serving.api_errors import ApiError, ClientGoneError, api_error
from memgpt_rag.serving.log import log_event
from memgpt_rag.serving.metrics import Metrics
from memgpt_rag.serving.settings import ServerSettings, is_loopback

# Paths that need no key: they tell nothing of any memory.
OPEN_PATHS = {"/", "/health", "/ready", "/openapi.json"}
OPEN_FOLDER = "/page/"  # files of the page
SIGNED_PATHS = "/view/"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UPLOAD = "multipart/form-data"
_MARGIN = 2**16  # of a form around its file


class Gate:
    """Refuses what no endpoint is to see, and reports what fails inside as an error of the API.

    A browser's page of another origin is refused, also where there are no keys: no header allows cross-origin requests, and
    those that a browser sends without asking, such as a form, are not answered.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, keys: Keys, metrics: Metrics):
        self._app, self._settings, self._keys, self._metrics = app, settings, keys, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, began = Headers(scope=scope), time.perf_counter()
        wanted = headers.get("x-request-id", "")
        request_id = wanted if _REQUEST_ID.fullmatch(wanted) else secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            self._check_origin(headers)
            state["access"] = self._access(scope, headers)
            received = await self._body(scope, headers, receive)
            await self._app(scope, received, answer)
        except ClientGoneError:
            status = status or 499
        except Exception as error:
            fault = api_error(error, request_id)
            if fault.status == 500:
                log_event("failed", level=40, error=error, request=request_id)
            if status:  # the response has begun: the connection ends in its middle, so that the client sees it
                raise
            await _respond(answer, fault)
        finally:
            access, seconds = state.get("access"), time.perf_counter() - began
            pattern = getattr(scope.get("route"), "path", "other")
            self._metrics.requested(scope["method"], pattern, status, seconds)
            log_event(
                "request",
                request=request_id,
                method=scope["method"],
                path=scope["path"],
                status=status,
                seconds=round(seconds, 4),
                client=access.name if access is not None else None,
            )

    def _access(self, scope: Scope, headers: Headers) -> Access | None:
        """Return what the client may do; None where the endpoint needs no key, or the address stands in for it."""
        authorization, path = headers.get("authorization"), scope["path"]
        is_open = path in OPEN_PATHS or path.startswith(OPEN_FOLDER)
        if is_open or (self._keys and authorization is None and path.startswith(SIGNED_PATHS)):
            return None
        return self._keys.access(authorization)

    def _check_origin(self, headers: Headers) -> None:
        """Raises ApiError: a page of another site asks, or a name that is not this machine's leads here."""
        host = headers.get("host", "")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise ApiError(403, "Pages of other sites may not use this server.", code="cross_origin")
        if self._settings.is_local and not self._keys and not _is_local_host(host):
            raise ApiError(403, "This server answers under the name of its own machine only.", code="wrong_host")

    async def _body(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """Return what gives the body to the application: checked JSON, or a file as it comes, within its limits.

        Raises:
            ApiError: 400, 408, 413 or 415.
        """
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            return receive
        length = headers.get("content-length", "")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        upload = kind == _UPLOAD
        most = self._settings.max_upload_bytes + _MARGIN if upload else self._settings.max_body_bytes
        if length.isdigit() and int(length) > most:
            raise _too_large(int(length), most)
        if upload:
            return _limited(scope, receive, most, self._settings.body_seconds)
        try:
            body = await asyncio.wait_for(_read(receive, most), self._settings.body_seconds)
        except asyncio.TimeoutError:
            raise ApiError(408, "The body of the request did not arrive in time; send it again.") from None
        if body:
            if kind != "application/json" and not kind.endswith("+json"):
                raise ApiError(415, f"The body is {kind or 'of no type'!r}; send application/json.")
            try:
                parse_json(body)
            except ValueError as error:
                raise ApiError(400, f"The body is no JSON that can be read: {error}.", code="invalid_json") from None
        return _given(body, receive)


def _is_local_host(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    return is_loopback(name)


def _too_large(length: int, most: int) -> ApiError:
    return ApiError(413, f"The body has {length:,} bytes; expected at most {most:,}.", code="too_large")


async def _read(receive: Receive, most: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_large(len(body), most)
        if not message.get("more_body"):
            return bytes(body)


def _given(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body which has been read, and then what comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _limited(scope: Scope, receive: Receive, most: int, seconds: float) -> Receive:
    """Return a `receive` that refuses more than so many bytes, and a client that sends nothing for so long.

    The refusal is kept as `fault` of the request's state, since FastAPI reports every fault of a form as the same.
    """
    total, complete = 0, False

    async def limited() -> Message:
        nonlocal total, complete
        if complete:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), seconds)
        except asyncio.TimeoutError:
            scope["state"]["fault"] = fault = ApiError(408, "The file did not arrive in time; send it again.")
            raise fault from None
        total += len(message.get("body", b""))
        if total > most:
            scope["state"]["fault"] = fault = _too_large(total, most)
            raise fault
        complete = not message.get("more_body")
        return message

    return limited


async def _respond(send: Send, error: ApiError) -> None:
    body = json.dumps(error.body, ensure_ascii=False).encode()
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *((name.encode(), value.encode()) for name, value in error.headers.items()),
    ]
    start: dict[str, Any] = {"type": "http.response.start", "status": error.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
