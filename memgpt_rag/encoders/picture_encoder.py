"""Base class of encoders that embed pictures and texts as vectors of one space."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property

import numpy as np

from memgpt_rag.encoders.base import Encoder, Vectors
from memgpt_rag.errors import ModelError
from memgpt_rag.fingerprint import PROBE_PIXELS, EncoderFingerprint, encode_probe, is_score_scale


class PictureEncoder(Encoder):
    """Embeds pictures as passages are embedded, so that texts find them and they find texts."""

    @abstractmethod
    def encode_pictures(self, pictures: Sequence[bytes]) -> Vectors:
        """Encode pictures, as `memgpt_rag.io.pictures.kept_picture` returns them, into vectors of shape [pictures, dimension].

        Raises:
            SourceError: one of them is no picture.
        """

    @abstractmethod
    def picture_scale(self) -> float:
        """Return how much higher a text scores with its own picture than with others', the unit of scores."""

    @cached_property
    def fingerprint(self) -> EncoderFingerprint:
        """Return the fingerprint by which a memory recognizes the encoder of its pictures."""
        score_scale = round(self.picture_scale(), 4)
        if not is_score_scale(score_scale):
            raise ModelError(
                f"The encoder {self.name!r} cannot search: texts score {score_scale} higher with their own pictures than with others' on "
                "average. Name a model that was trained on pictures and their texts."
            )
        probe = self.encode_pictures([probe_picture()])[0]
        return replace(self._described(score_scale), picture_probe=encode_probe(probe))


@cache
def probe_picture() -> bytes:
    """Return the picture whose vector tells encoders apart: a gradient."""
    side = np.arange(PROBE_PIXELS, dtype=np.uint8)
    x, y = np.meshgrid(side, side)
    return drawn(np.stack([8 * x, 8 * y, 255 - 4 * x - 4 * y], axis=-1))


def drawn(pixels: np.ndarray) -> bytes:
    """Return pixels in red, green and blue, [height, width, 3], as a picture."""
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()
