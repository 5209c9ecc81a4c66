"""Captions, and what a reader of pictures does with one that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Callable

from indexing.job_log import Reject
from indexing.sources.document import DocumentPicture, Note
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import SourceError

MOST_PICTURES = 1_000  # of a file
_CAPTION = re.compile(
    r"(?:(?:figure|fig\.?|picture|photo|photograph|image|illustration|diagram|chart|plate|map)\s*[\dA-Z][\w.–-]*\b"
    r"|[图圖]\s*[\d一二三四五六七八九十])",
    re.IGNORECASE,
)
_MOST_CAPTION = 1_000  # characters


def is_caption(text: str) -> bool:
    """Return whether a text begins as captions do: "Figure 3", "Fig. 2b", "图 1"."""
    return bool(_CAPTION.match(text.strip()))


def caption_text(*texts: str) -> str:
    """Return the first text that is not empty on one line, shortened where it is far longer than a caption."""
    return next((line[:_MOST_CAPTION] for text in texts if (line := " ".join(text.split()))), "")


def read_or_reject(
    read: Callable[[], DocumentPicture], name: str, place: str, options: ReadOptions
) -> DocumentPicture | Note:
    """Return a picture; where it cannot be read, it becomes a reject by name if there are rejects, and a note says so.

    Raises:
        SourceError: it cannot be read, and there are no rejects.
    """
    try:
        return read()
    except SourceError as error:
        if options.on_reject is None:
            raise
        options.on_reject(Reject(name, place, str(error)))
        return Note(name, f"the picture in {place} is among the rejects")


def require_few(number: int, name: str) -> None:
    """Raises SourceError: a file has more pictures than are read from one."""
    if number > MOST_PICTURES:
        raise SourceError(f"{name} has more than {MOST_PICTURES:,} pictures; split it, or leave it out with --exclude.")
