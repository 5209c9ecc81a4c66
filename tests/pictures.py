"""Pictures for tests: drawn, hostile, and an encoder of pictures small enough to compute by hand."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from hashing import HashEncoder
from PIL import Image

from memgpt_rag.encoders.picture_encoder import PictureEncoder
from memgpt_rag.io.pictures import pixels


def png(color: tuple[int, int, int] | str = "red", size: tuple[int, int] = (12, 8)) -> bytes:
    """A picture of one color."""
    return encoded(Image.new("RGB", size, color))


def encoded(picture: Image.Image, format: str = "PNG", **settings: object) -> bytes:
    written = io.BytesIO()
    picture.save(written, format, **settings)
    return written.getvalue()


def bomb(width: int = 100_000, height: int = 100_000) -> bytes:
    """A PNG file of a few hundred bytes whose header promises ten billion pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


class ColorEncoder(PictureEncoder, HashEncoder):
    """Embeds a picture as the HashEncoder embeds the name of its color: what is found can be computed by hand."""

    fingerprint = PictureEncoder.fingerprint
    names: ClassVar = {(255, 0, 0): "red", (0, 128, 0): "green", (0, 0, 255): "blue"}

    def encode_pictures(self, pictures: Sequence[bytes]) -> np.ndarray:
        return self.encode_passages([self.names.get(pixels(one).getpixel((0, 0)), "another") for one in pictures])

    def picture_scale(self) -> float:
        return 1.0


def pairs_file(folder: Path, **texts: str | list[str]) -> Path:
    """A file of pairs: pictures of the colors that are named, with texts."""
    lines = []
    for color, text in texts.items():
        (folder / f"{color}.png").write_bytes(png(color))
        said = [text] if isinstance(text, str) else text
        lines.append(json.dumps({"image": f"{color}.png", "text": said}, ensure_ascii=False))
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
