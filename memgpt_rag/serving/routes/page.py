"""GET /: the page for people. Its files are open; the data that they show need a key where the server has keys."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.service import current_service

router = APIRouter(tags=["page"], include_in_schema=False)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing from elsewhere, no script or style within the HTML, and no text that becomes HTML.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


@router.get("/")
async def index(request: Request) -> Response:
    """Return the page."""
    return _response(request, "index.html")


@router.get("/page/settings.json")
async def page_settings(request: Request) -> JSONResponse:
    """Return what the page must know of the server before it asks for data."""
    settings = current_service(request).settings
    known: dict[str, Any] = {
        "files": settings.files is not None,
        "max_upload_bytes": settings.max_upload_bytes,
        "version": version("memgpt_rag"),
    }
    return JSONResponse(known, headers=HEADERS)


@router.get("/page/{name}")
async def page_file(request: Request, name: str) -> Response:
    """Return a file of the page."""
    return _response(request, name)


def _response(request: Request, name: str) -> Response:
    if name not in _contents():
        raise ApiError(404, f"The page has no file {name[:80]!r}.")
    content, kind, tag = _contents()[name]
    headers = {**HEADERS, "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


@cache
def _contents() -> dict[str, tuple[bytes, str, str]]:
    """Return the files of the page by their names, each with its type and its ETag."""
    found = {}
    for file in files("memgpt_rag.serving").joinpath("page").iterdir():
        kind = _TYPES.get(f".{file.name.rpartition('.')[2]}")
        if kind is not None:
            content = file.read_bytes()
            found[file.name] = content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return found
