"""Pictures of entries, as browsers show them."""

from __future__ import annotations

import pyarrow.compute as pc

from memgpt_rag.memory import Memory
from memgpt_rag.memory.storage.pictures import media_type
from memgpt_rag.passage import Passage
from memgpt_rag.serving.api_errors import ApiError

# A browser shows it as a picture and as nothing else, whatever is in it.
HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-store",
}


def has_picture(memory: Memory, passage: Passage) -> bool:
    """Return whether an entry of a memory has a picture."""
    return any(map(memory.has_picture, _rows(memory, passage)))


def entry_picture(memory: Memory, passage: Passage) -> tuple[bytes, str]:
    """Return the picture of an entry, and its media type.

    Raises:
        ApiError: 404 where the entry has none.
        MemoryFormatError: the file of pictures is damaged.
    """
    for picture in memory.pictures(_rows(memory, passage)):
        if picture is not None:
            return picture, str(media_type(picture))
    raise ApiError(404, "This entry has no picture; see its text.", code="picture_not_found")


def _rows(memory: Memory, passage: Passage) -> list[int]:
    if not memory.manifest.has_pictures:
        return []
    rows: list[int] = memory.rows(pc.field("id") == passage.id)[:1].tolist()
    return rows
