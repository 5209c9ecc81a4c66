"""Pictures that others made: decoded within bounds, in formats of a list, with one sentence for what is none.

A memory keeps no picture as it came. What is kept was decoded here and encoded anew: the right way up, without metadata, and no
larger than is looked at.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from memgpt_rag.errors import MissingPackageError, SourceError, first_line
from memgpt_rag.limits import MOST_PICTURE_BYTES, MOST_PICTURE_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

INSTALL = "pip install 'memgpt_rag[images]'"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
KEPT_SIDE = 1024  # pixels of the longer side of a picture that is kept
_QUALITY = 90  # of JPEG
_TRANSPARENT = ("P", "PA", "LA", "RGBA", "RGBa", "La")
_MOST_PROPORTION = 200  # a longer side that has more times the pixels of the other one is a line, not a picture


def require_pillow() -> None:
    """Raises MissingPackageError: Pillow is not installed."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise MissingPackageError("pillow", "Reading pictures", INSTALL) from error


class _File(io.FileIO):
    """A file whose `read` allocates no more than the bytes that are left; a damaged header can ask for gigabytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(os.fstat(self.fileno()).st_size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


@contextmanager
def opened_picture(file: str | io.BytesIO, name: str) -> Iterator[Image]:
    """Open a picture, whose pixels are decoded when they are asked for inside the block.

    Args:
        name: its name in messages.

    Raises:
        SourceError: it is no picture of a format in `FORMATS`, or a damaged one; also where that is found out inside the block.
        MissingPackageError: Pillow is not installed.
    """
    require_pillow()
    from PIL import Image

    try:
        with _File(file) if isinstance(file, str) else file as source:
            with warnings.catch_warnings():
                # What is too large is refused by its pixels.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                picture = Image.open(source, formats=FORMATS)
            with picture:
                yield picture
    # Pillow reports a damaged header by any of these.
    except (OSError, ValueError, TypeError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = _reason(error).replace(str(file), name)
        raise SourceError(f"{name} cannot be read as a picture: {reason}; mend it, or leave it out.") from error


def require_picture_size(picture: Image, name: str) -> None:
    """Raises SourceError: a picture would take too much memory to decode; its header alone has been read."""
    pixels = picture.width * picture.height
    if pixels > MOST_PICTURE_PIXELS:
        raise SourceError(
            f"{name} is too large a picture ({pixels:,} pixels, {picture.width:,} × {picture.height:,}), expected at most "
            f"{MOST_PICTURE_PIXELS:,}; make it smaller, or leave it out."
        )


def upright(picture: Image, most: tuple[int, int]) -> Image:
    """Return a picture in red, green and blue, the right way up, on white, scaled down to a size where it is larger."""
    from PIL import Image, ImageOps

    transparent = picture.mode in _TRANSPARENT
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 bits and more
        picture = ImageOps.autocontrast(picture.convert("F").point(lambda value: value / 257).convert("L"))
    small = picture.convert("RGBA" if transparent else "RGB")
    small.thumbnail(most)
    turned = ImageOps.exif_transpose(small)
    if not transparent:
        return turned
    white = Image.new("RGBA", turned.size, "white")
    white.alpha_composite(turned)
    return white.convert("RGB")


def kept_picture(data: bytes, name: str) -> bytes:
    """Return a picture in the form in which a memory keeps it: JPEG if it was one, else PNG.

    Args:
        data: of a file in one of `FORMATS`; of several pictures in it, the first one.

    Raises:
        SourceError: it is no picture, a damaged one, or one of too many bytes or pixels.
        MissingPackageError: Pillow is not installed.
    """
    if len(data) > MOST_PICTURE_BYTES:
        raise SourceError(
            f"{name} has {len(data):,} bytes, expected at most {MOST_PICTURE_BYTES:,} of a picture; make it smaller, or leave it out."
        )
    with opened_picture(io.BytesIO(data), name) as picture:
        require_picture_size(picture, name)
        if max(picture.size) > _MOST_PROPORTION * min(picture.size):
            raise SourceError(
                f"{name} is {picture.width:,} × {picture.height:,} pixels, too narrow for a picture; leave it out."
            )
        photograph = picture.format in ("JPEG", "MPO")  # cameras write several JPEG pictures as one MPO
        picture.draft("RGB", (KEPT_SIDE, KEPT_SIDE))  # a photograph is decoded no larger than is needed
        kept, written = upright(picture, (KEPT_SIDE, KEPT_SIDE)), io.BytesIO()
        kept.info.clear()
        kept.save(
            written, "JPEG" if photograph else "PNG", **({"quality": _QUALITY} if photograph else {"optimize": True})
        )
    return written.getvalue()


def read_picture(path: Path, name: str) -> bytes:
    """Return the picture in a file, as `kept_picture`.

    Raises:
        SourceError: the file cannot be read, or as `kept_picture`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_PICTURE_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror}; name a picture that is there.") from error
    return kept_picture(data, name)


def pixels(data: bytes, name: str = "A picture of the memory") -> Image:
    """Return a picture that `kept_picture` returned, decoded.

    Raises:
        SourceError: it is none.
    """
    with opened_picture(io.BytesIO(data), name) as picture:
        require_picture_size(picture, name)
        return picture.convert("RGB")


def _reason(error: Exception) -> str:
    """What Pillow says, without the address of a buffer."""
    said = first_line(error)
    return (
        "it is none, or in no format that is read (" + ", ".join(FORMATS) + ")"
        if said.startswith("cannot identify")
        else said
    )
