"""Pictures: the text that is recognised in them (extra `ocr`); without the extra a note says that they are left out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.sources.clean_text import join_wrapped_lines
from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.pages.ocr import INSTALL, MOST_PIXELS, Recognised, is_installed, recognise
from memgpt_rag.errors import SourceError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

_MOST_SOURCE_PIXELS = 64_000_000  # of a picture that is decoded: up to 256 MB
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
    """Yield the pictures of a file as arrays.

    Raises:
        SourceError: it is no picture, or a damaged or too large one.
    """
    from PIL import Image, ImageSequence

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # what is too large is refused here
            file = Image.open(str(path), formats=("PNG", "JPEG", "TIFF", "WEBP", "BMP"))
        with file:
            file.draft("RGB", _largest(file.width, file.height))  # a photograph is decoded no larger than is needed
            pictures = ImageSequence.Iterator(file) if file.format == "TIFF" else [file]
            for number, picture in enumerate(pictures, 1):
                pixels = picture.width * picture.height
                if pixels > _MOST_SOURCE_PIXELS or number > _MOST_PICTURES:
                    raise SourceError(
                        f"{name} is too large a picture ({pixels:,} pixels, picture {number}), expected at most "
                        f"{_MOST_SOURCE_PIXELS:,} and {_MOST_PICTURES:,}; make it smaller, or leave it out with --exclude."
                    )
                yield _pixels(picture)
    # Pillow reports a damaged header by any of these.
    except (OSError, ValueError, TypeError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).splitlines()[0].replace(str(path), name) if str(error) else type(error).__name__
        raise SourceError(
            f"{name} cannot be read as a picture: {reason}; mend it, or leave it out with --exclude."
        ) from error


def _pixels(picture: Image) -> np.ndarray[Any, Any]:
    """Return a picture as blue, green and red, the right way up, on white, no larger than is needed."""
    import numpy as np
    from PIL import Image, ImageOps

    transparent = picture.mode in ("P", "PA", "LA", "RGBA", "RGBa", "La")
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 bits and more
        picture = ImageOps.autocontrast(picture.convert("F").point(lambda value: value / 257).convert("L"))
    small = picture.convert("RGBA" if transparent else "RGB")
    small.thumbnail(_largest(small.width, small.height))
    turned = ImageOps.exif_transpose(small)
    if transparent:
        white = Image.new("RGBA", turned.size, "white")
        white.alpha_composite(turned)
        turned = white.convert("RGB")
    return np.ascontiguousarray(np.asarray(turned)[:, :, ::-1])


def _largest(width: int, height: int) -> tuple[int, int]:
    """Return the size into which a picture is scaled, if it is larger."""
    factor = min(1.0, (MOST_PIXELS / (width * height)) ** 0.5)
    return max(int(width * factor), 1), max(int(height * factor), 1)
