"""What reading a file gives, and its form between processes: JSON. Nothing is pickled."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

from indexing.job_log import Reject
from indexing.sources.document import Block, Document, DocumentPicture, Note


@dataclass(frozen=True)
class Fault:
    """A file that could not be read, which fails the job after all others were read."""

    reason: str


@dataclass(frozen=True)
class Progress:
    """How much of a file was read: its share, from 0 to 1."""

    done: float


Item: TypeAlias = Document | DocumentPicture | Note | Progress | Reject | Fault


def to_frame(items: list[Item]) -> bytes:
    """Return items as JSON; halves of characters, which a text may hold, survive."""
    return json.dumps([_packed(item) for item in items], ensure_ascii=False, default=_date).encode(
        "utf-8", "surrogatepass"
    )


def from_frame(frame: bytes) -> list[Item]:
    """Return the items of a frame."""
    return [_KINDS[kind](fields) for kind, fields in json.loads(frame.decode("utf-8", "surrogatepass"))]


def _packed(item: Item) -> tuple[str, Any]:
    if isinstance(item, Document):
        blocks = [(one.text, one.first, one.last, one.headings, one.kind, one.header) for one in item.blocks]
        return "document", (item.source, item.record, item.title, item.unit, blocks, dict(item.metadata))
    if isinstance(item, DocumentPicture):
        return "picture", {**vars(item), "data": base64.b64encode(item.data).decode("ascii")}
    return type(item).__name__.lower(), vars(item)


def _date(value: Any) -> dict[str, str]:
    if isinstance(value, date):
        return {"date": value.isoformat()}
    raise TypeError(f"{type(value).__name__} is no metadata.")


def _document(fields: Any) -> Document:
    source, record, title, unit, blocks, metadata = fields
    made = tuple(
        Block(text, first, last, tuple(headings), kind, header) for text, first, last, headings, kind, header in blocks
    )
    columns = {
        name: date.fromisoformat(value["date"]) if isinstance(value, dict) else value
        for name, value in metadata.items()
    }
    return Document(source, record, title, unit, made, columns)


def _picture(fields: Any) -> DocumentPicture:
    data, headings = base64.b64decode(fields.pop("data")), tuple(fields.pop("headings"))
    return DocumentPicture(**fields, data=data, headings=headings)


_KINDS: dict[str, Callable[[Any], Item]] = {
    "document": _document,
    "picture": _picture,
    "progress": lambda fields: Progress(**fields),
    "note": lambda fields: Note(**fields),
    "reject": lambda fields: Reject(**fields),
    "fault": lambda fields: Fault(**fields),
}
