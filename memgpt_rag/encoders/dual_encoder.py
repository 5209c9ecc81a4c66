"""A small dual encoder: a convolutional network for pictures, and a linear map on the vectors of a frozen text encoder.

`memgpt-rag images train` makes one from pictures and their texts where no CLIP can be reached. Its folder holds plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from memgpt_rag.encoders.base import Encoder, Vectors
from memgpt_rag.encoders.picture_encoder import PictureEncoder
from memgpt_rag.errors import ModelError, first_line
from memgpt_rag.fingerprint import EncoderFingerprint
from memgpt_rag.io.json_file import number, read_json, replace_json
from memgpt_rag.io.pictures import pixels

SETTINGS, WEIGHTS = "dual_encoder.json", "dual_encoder.safetensors"
SIDE = 64  # pixels of a picture that the network sees
_KIND, _VERSION = "memgpt_rag dual encoder", 1
_MAX_BYTES = 2**20  # of its settings
_MOST_WIDTH, _MOST_DIMENSION = 256, 4096
_BATCH = 64
_LEVELS = 3  # each halves the picture and doubles the channels


class DualNetwork(nn.Module):
    """Maps pictures, and vectors of texts, to unit vectors of one space.

    Args:
        width: channels of the first convolution.
        dimension: of the space.
        text_dimension: of the text encoder's vectors.
    """

    center: Tensor

    def __init__(self, width: int, dimension: int, text_dimension: int):
        super().__init__()
        self.width, self.dimension = width, dimension
        levels = [_block(width << level, width << (level + 1)) for level in range(_LEVELS)]
        self.pictures = nn.Sequential(
            _convolution(3, width, stride=2),
            *levels,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(width << _LEVELS, dimension),
        )
        self.texts = nn.Sequential(nn.Dropout(0.1), nn.Linear(text_dimension, dimension, bias=False))
        self.register_buffer("center", torch.zeros(text_dimension))  # mean of the texts that it was trained on

    def embed_pictures(self, seen: Float[Tensor, "n 3 side side"]) -> Float[Tensor, "n dimension"]:
        """Return the vectors of pictures whose pixels lie between 0 and 1."""
        return nn.functional.normalize(self.pictures((seen - 0.5) / 0.25), dim=-1)

    def embed_texts(self, vectors: Float[Tensor, "n text_dimension"]) -> Float[Tensor, "n dimension"]:
        """Return the vectors of texts, given those of the text encoder."""
        return nn.functional.normalize(self.texts(vectors - self.center), dim=-1)


class DualEncoder(PictureEncoder):
    """Embeds pictures and texts with a `DualNetwork`.

    Args:
        text_encoder: embeds texts, as queries.
        score_scale: how much higher texts score with their own pictures than with others', as measured after training.
        name: for the fingerprint.
    """

    normalized, query_prompt, passage_prompt = True, "", ""

    def __init__(self, network: DualNetwork, text_encoder: Encoder, score_scale: float, *, name: str = "dual encoder"):
        self.network, self.text_encoder, self.score_scale, self.name = network.eval(), text_encoder, score_scale, name
        self.max_tokens = text_encoder.max_tokens

    @classmethod
    def load(cls, folder: Path, *, text_encoder: Encoder | Callable[[EncoderFingerprint], Encoder]) -> DualEncoder:
        """Load what `save` wrote.

        Args:
            text_encoder: the one that it was trained with, or what loads it by its fingerprint.

        Raises:
            ModelError: the folder holds none, or a damaged one, or one of another text encoder.
            MismatchError: the text encoder is another one.
        """
        try:
            settings = _checked(read_json(folder / SETTINGS, max_bytes=_MAX_BYTES))
            stored = settings["text_encoder"]
            network = DualNetwork(settings["width"], settings["dimension"], stored.dimension)
            network.load_state_dict(load_file(folder / WEIGHTS))
        except FileNotFoundError as error:
            missing = next((name for name in (SETTINGS, WEIGHTS) if not (folder / name).is_file()), "a file")
            raise ModelError(
                f"{folder} holds no whole dual encoder: {missing} is missing; train one with: memgpt-rag images train"
            ) from error
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"The dual encoder in {folder} is damaged ({first_line(error)}); copy or train it again."
            ) from error
        if not isinstance(text_encoder, Encoder):
            text_encoder = text_encoder(stored)
        stored.require_match(text_encoder.fingerprint, "is loaded", "Give the text encoder that it was trained with.")
        return cls(network, text_encoder, settings["score_scale"], name=str(folder))

    def save(self, folder: Path) -> None:
        """Write settings and weights into a folder; the settings come last, so that without them nothing is there.

        Raises:
            OSError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SETTINGS).unlink(missing_ok=True)
        save_file(
            {name: value.contiguous() for name, value in self.network.state_dict().items()}, str(folder / WEIGHTS)
        )
        replace_json(
            folder / SETTINGS,
            {
                "kind": _KIND,
                "version": _VERSION,
                "width": self.network.width,
                "dimension": self.network.dimension,
                "score_scale": self.score_scale,
                "text_encoder": self.text_encoder.fingerprint.to_json(),
            },
        )

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self.embed_vectors(self.text_encoder.encode_queries(texts))

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return self.encode_queries(texts)

    @torch.inference_mode()
    def embed_vectors(self, vectors: Vectors) -> Vectors:
        """Return the vectors of texts, given those of the text encoder."""
        return np.asarray(self.network.embed_texts(torch.from_numpy(np.array(vectors))).numpy())

    @torch.inference_mode()
    def encode_pictures(self, pictures: Sequence[bytes]) -> Vectors:
        parts = [
            self.network.embed_pictures(seen_pictures(pictures[start : start + _BATCH]).float() / 255).numpy()
            for start in range(0, len(pictures), _BATCH)
        ]
        return np.concatenate(parts)

    def count_tokens(self, text: str) -> int:
        return self.text_encoder.count_tokens(text)

    def picture_scale(self) -> float:
        return self.score_scale


def seen_pictures(pictures: Sequence[bytes]) -> Tensor:
    """Return pictures as the network sees them, whole and on white: uint8 [pictures, 3, SIDE, SIDE].

    Raises:
        SourceError: one is no picture.
    """
    from PIL import ImageOps

    seen = np.empty((len(pictures), SIDE, SIDE, 3), np.uint8)
    for place, picture in enumerate(pictures):
        seen[place] = np.asarray(ImageOps.pad(pixels(picture), (SIDE, SIDE), color="white"))
    return torch.from_numpy(seen).permute(0, 3, 1, 2)


def _convolution(channels: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def _block(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(_convolution(channels, out, stride=2), _convolution(out, out, stride=1))


def _checked(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict) or found.get("kind") != _KIND or found.get("version") != _VERSION:
        raise ValueError(f"{SETTINGS} is not of kind {_KIND!r}, version {_VERSION}")
    return {
        "width": int(number(found["width"], "width", 1, _MOST_WIDTH)),
        "dimension": int(number(found["dimension"], "dimension", 1, _MOST_DIMENSION)),
        "score_scale": number(found["score_scale"], "score_scale", 1e-4, 2),
        "text_encoder": EncoderFingerprint.from_json(found["text_encoder"]),
    }
