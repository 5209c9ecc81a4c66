"""Pictures: the text that is recognised in them (extra `ocr`); without the extra a note says that they are left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.sources.clean_text import join_wrapped_lines
from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.pages.ocr import INSTALL, MOST_PIXELS, Recognised, is_installed, recognise
from memgpt_rag.errors import SourceError
from memgpt_rag.io.pictures import opened_picture, require_picture_size, upright

if TYPE_CHECKING:
    import numpy as np

_MOST_PICTURES = 1_000  # of a file, such as a fax in TIFF


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read the text of a picture, or of each picture of a TIFF file; blocks are numbered by picture as pages.

    Raises:
        SourceError: the file is no picture, or a damaged or too large one.
    """
    if not is_installed():
        yield Note(name, f"a picture, which is left out; install the extra `ocr` to read its text: {INSTALL}")
        return
    builder, found = BlockBuilder(), Recognised([], 0, 0)
    for number, picture in enumerate(_pictures(path, name), 1):
        options.on_progress(0.0)
        part = recognise(picture)
        text = "\n".join(line.text for line in part.lines)
        for _, _, paragraph in join_wrapped_lines(text):
            builder.text(paragraph, number, number)
        found = Recognised([*found.lines, *part.lines], found.doubtful + part.doubtful, found.dropped + part.dropped)
    if not found.lines:
        yield Note(name, "a picture in which no text was found")
        return
    if found.doubtful:
        yield Note(name, f"{found.doubtful:,} of {len(found.lines):,} lines that were recognised are doubtful")
    if found.dropped:
        yield Note(name, f"{found.dropped:,} lines that are too unclear are left out")
    yield Document(name, "", "", "page", builder.blocks())


def _pictures(path: Path, name: str) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the pictures of a file as arrays of blue, green and red.

    Raises:
        SourceError: it is no picture, or a damaged or too large one.
    """
    import numpy as np
    from PIL import ImageSequence

    with opened_picture(str(path), name) as file:
        file.draft("RGB", _largest(file.width, file.height))  # a photograph is decoded no larger than is needed
        pictures = ImageSequence.Iterator(file) if file.format == "TIFF" else [file]
        for number, picture in enumerate(pictures, 1):
            require_picture_size(picture, name if number == 1 else f"{name}, picture {number:,},")
            if number > _MOST_PICTURES:
                raise SourceError(f"{name} holds more than {_MOST_PICTURES:,} pictures; split it, or leave it out.")
            yield np.ascontiguousarray(np.asarray(upright(picture, _largest(*picture.size)))[:, :, ::-1])


def _largest(width: int, height: int) -> tuple[int, int]:
    """Return the size into which a picture is scaled, if it is larger."""
    factor = min(1.0, (MOST_PIXELS / (width * height)) ** 0.5)
    return max(int(width * factor), 1), max(int(height * factor), 1)
