"""The OpenAPI document: as FastAPI makes it, with the errors that this server gives and the key that it takes."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_FAULT = {"$ref": "#/components/schemas/Error"}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "One sentence."},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_OURS = {"HTTPValidationError", "ValidationError"}


def content(kind: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route whose success may have a body of another media type than JSON."""
    return {200: {"description": "Successful Response", "content": {kind: {}}}}


def openapi_maker(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return what makes the OpenAPI document of an application, once."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title="memgpt_rag", version=version("memgpt_rag"), routes=app.routes)
            for methods in made["paths"].values():
                for operation in methods.values():
                    operation["responses"].pop("422", None)
                    for status, about in (
                        ("4XX", "The request is not answered."),
                        ("5XX", "The server cannot answer."),
                    ):
                        content = {"application/json": {"schema": _FAULT}}
                        operation["responses"][status] = {"description": about, "content": content}
            parts = made.setdefault("components", {})
            schemas = {name: schema for name, schema in parts.get("schemas", {}).items() if name not in _OURS}
            parts["schemas"] = {**schemas, "Error": _ERROR}
            parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            made["security"] = [{}, {"key": []}]
            app.openapi_schema = made
        return app.openapi_schema

    return document
