"""What becomes a picture of a memory, and what is refused: every file comes from somebody else."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from pictures import bomb, encoded, png
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from memgpt_rag.errors import MissingPackageError, SourceError
from memgpt_rag.io import pictures
from memgpt_rag.io.pictures import KEPT_SIDE, kept_picture, read_picture


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(("format", "kept"), [("PNG", "PNG"), ("JPEG", "JPEG"), ("WEBP", "PNG"), ("GIF", "PNG"), ("BMP", "PNG"), ("TIFF", "PNG")])  # fmt: skip
def test_every_format_of_the_list_is_kept_as_png_or_jpeg(format, kept):
    found = opened(kept_picture(encoded(Image.new("RGB", (30, 20), (200, 30, 40)), format), "a"))
    assert (found.format, found.size, found.mode) == (kept, (30, 20), "RGB")
    assert np.abs(np.asarray(found).astype(int) - (200, 30, 40)).max() <= 6


def test_a_large_picture_is_scaled_down_and_keeps_its_proportions():
    assert opened(kept_picture(png(size=(3000, 1500)), "a")).size == (KEPT_SIDE, KEPT_SIDE // 2)


def test_a_picture_is_turned_upright_and_loses_its_metadata():
    picture, exif = Image.new("RGB", (40, 20), "white"), Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "the address of somebody"  # turned by a quarter
    picture.paste((0, 0, 0), (0, 0, 20, 20))
    kept = kept_picture(encoded(picture, "JPEG", exif=exif.tobytes(), quality=95), "a")
    assert b"somebody" not in kept and not opened(kept).getexif()
    found = np.asarray(opened(kept).convert("L"))
    assert found.shape == (40, 20) and found[:18].max() < 60 and found[22:].min() > 200  # the left half is above now
    shown = PngInfo()
    shown.add_text("Comment", "the address of somebody")
    assert b"somebody" not in kept_picture(encoded(Image.new("RGB", (4, 4)), pnginfo=shown), "a")


def test_what_is_transparent_is_white():
    clear = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
    assert opened(kept_picture(encoded(clear), "a")).getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no picture", r"it is none, or in no format that is read \(PNG, JPEG, WEBP, GIF, BMP, TIFF\)"),
        (b"", "it is none, or in no format"),
        (b"%PDF-1.7", "it is none, or in no format"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "it is none, or in no format"),
        (png(size=(60, 60))[:60], "."),
        (b"\x89PNG\r\n\x1a\n", "."),
    ],
)
def test_what_is_no_picture_is_one_sentence(data, reason):
    with pytest.raises(
        SourceError, match=rf"^a\.png cannot be read as a picture: {reason}.*; mend it, or leave it out\.$"
    ):
        kept_picture(data, "a.png")


def test_a_bomb_is_refused_by_its_header():
    with pytest.raises(
        SourceError,
        match=r"^a\.png (is too large a picture|cannot be read as a picture: Image size) \(10,?000,?000,?000 pixels",
    ):
        kept_picture(bomb(), "a.png")
    with pytest.raises(
        SourceError,
        match=r"^a\.png is too large a picture \(81,000,000 pixels, 9,000 × 9,000\), expected at most 64,000,000",
    ):
        kept_picture(bomb(9_000, 9_000), "a.png")


def test_too_many_bytes_and_too_narrow_a_picture_are_refused(monkeypatch):
    with pytest.raises(SourceError, match=r"^a is 600 × 2 pixels, too narrow for a picture; leave it out\.$"):
        kept_picture(png(size=(600, 2)), "a")
    monkeypatch.setattr(pictures, "MOST_PICTURE_BYTES", 10)
    with pytest.raises(SourceError, match=r"^a has \d+ bytes, expected at most 10 of a picture"):
        kept_picture(png(), "a")


def test_a_file_that_is_not_there_and_a_missing_pillow_are_sentences(tmp_path, monkeypatch):
    with pytest.raises(SourceError, match=r"^a\.png cannot be read: No such file or directory; name a picture"):
        read_picture(tmp_path / "a.png", "a.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'memgpt_rag\[images\]'"):
        kept_picture(png.__doc__.encode(), "a")
