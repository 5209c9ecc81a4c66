"""Makes docs/reference/http.md from the server's OpenAPI document; docs/generate_reference.py writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from memgpt_rag.serving.app import ROUTES
from memgpt_rag.serving.openapi import openapi_maker

Schema = dict[str, Any]
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}


def page() -> str:
    """Return the page."""
    app = FastAPI()
    for routes in ROUTES:
        app.include_router(routes.router)
    document = openapi_maker(app)()
    parts = [
        "# HTTP",
        "What the [server](../guide/serve.md) answers. This page is generated from its OpenAPI document, which every server has at "
        "`/openapi.json`. Errors have a status of 400 or more and the body of [Error](#error).",
    ]
    tags: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tags.setdefault(operation["tags"][0], []).append(_operation(f"{method.upper()} {path}", operation))
    for tag, operations in tags.items():
        parts += [f"## {tag[0].upper()}{tag[1:]}", *operations]
    parts.append("## Objects")
    for name, schema in document["components"]["schemas"].items():
        parts += [f"### {_title(name)}", *_object(schema)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _operation(title: str, operation: Schema) -> str:
    parts = [f"### {title}", operation.get("description", "")]
    rows = [
        (f"`{one['name']}`", one["in"], _type(one["schema"]) + ("" if one["required"] else _default(one["schema"])))
        for one in operation.get("parameters", [])
    ]
    if rows:
        parts.append(_table(("Parameter", "in", "type"), rows))
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"Body: {_type(body['schema'])}{'' if kind == 'application/json' else f', as `{kind}`'}.")
    for kind in operation["responses"]["200"].get("content", {}):
        if kind != "application/json":
            parts.append(f"Answers with `{kind}`{', where asked to stream' if kind == 'text/event-stream' else ''}.")
    return "\n\n".join(part for part in parts if part)


def _object(schema: Schema) -> Iterator[str]:
    about, _, attributes = schema.get("description", "").partition("Attributes:")
    meanings = dict(re.findall(r"^ *(\w+): (.*?)$(?=\n *\w+:|\n*\Z)", attributes, re.MULTILINE | re.DOTALL))
    yield about.strip()
    required = schema.get("required", ())
    rows = [
        (
            f"`{name}`",
            _type(one) + (", required" if name in required else _default(one)),
            meanings.get(name, one.get("description", "")),
        )
        for name, one in schema.get("properties", {}).items()
    ]
    columns = ("Field", "type", "meaning") if any(row[2] for row in rows) else ("Field", "type")
    yield _table(columns, [row[: len(columns)] for row in rows])


def _type(schema: Schema) -> str:
    """Return a schema in words."""
    if "$ref" in schema:
        name = _title(schema["$ref"].rpartition("/")[2])
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one != {"type": "null"})
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    kind = schema.get("type", "any value")
    if isinstance(kind, list):
        kind = " or ".join(kind)
    if kind == "array":
        kind = f"list of {_type(schema.get('items', {}))}"
    bounds = [words.format(_number(schema[name])) for name, words in _BOUNDS.items() if name in schema]
    return ", ".join([kind, *bounds])


def _default(schema: Schema) -> str:
    value = schema.get("default")
    if value in (None, "") or isinstance(value, dict):
        return ""
    return f"; default `{value}`" if isinstance(value, str) else f"; default {str(value).lower()}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 10**15 else f"{value:g}"


def _title(name: str) -> str:
    return "UploadForm" if name.startswith("Body_upload_file") else name


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    cells = [[" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in rows]
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in cells)])
