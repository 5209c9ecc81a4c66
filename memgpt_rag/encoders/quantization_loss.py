"""Loss by quantization of an encoder's network, measured on probe texts before it is accepted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from memgpt_rag.encoders.probe_texts import JUDGED_PASSAGES, JUDGED_QUERIES
from memgpt_rag.errors import ModelError
from memgpt_rag.io.cache_folder import make_private, warn_left_out
from memgpt_rag.io.json_file import number, read_json, replace_json

Encode = Callable[[Sequence[str]], Float[np.ndarray, "texts dimension"]]

# MiniLM in int8 lost .003 on torch, .005 on OpenVINO and .007 on ONNX Runtime, and with none of them more than .004 of nDCG@10
# (benchmarks/embedding.py quality).
MOST_LOSS = 0.01


@dataclass(frozen=True)
class Loss:
    """Distance of quantized vectors from those in fp32.

    Attributes:
        mean, worst: mean and maximum over the probe texts of one minus the cosine.
    """

    mean: float
    worst: float

    def require_small(self, name: str, way: str, most: float = MOST_LOSS) -> None:
        """Check that the mean loss is small; raises ModelError if searches would find other entries than in fp32."""
        if not self.mean <= most:
            raise ModelError(
                f"{name!r} loses too much in {way}: its vectors of known texts are {self.mean:.4f} from those in fp32 on average "
                f"(one minus the cosine; at most {most} is accepted), {self.worst:.4f} at worst; choose another precision or "
                "another backend."
            )


def judged(encode: Encode) -> Float[np.ndarray, "texts dimension"]:
    """Encode the probe texts into unit vectors."""
    vectors: np.ndarray = np.concatenate([encode(JUDGED_QUERIES), encode(JUDGED_PASSAGES)])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors


def loss_between(exact: Float[np.ndarray, "texts dimension"], rounded: Float[np.ndarray, "texts dimension"]) -> Loss:
    """Compute the loss of quantized unit vectors against those in fp32."""
    distances = 1 - (exact * rounded).sum(axis=1)
    return Loss(float(distances.mean()), float(distances.max()))


def cached_loss(folder: Path, key: str) -> Loss | None:
    """Return the cached loss of the same network and quantization; None if it was not measured yet."""
    try:
        fields = read_json(_file(folder, key), max_bytes=1000)
        return Loss(*(number(fields[name], name, -1, 2) for name in ("mean", "worst")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def cache_loss(folder: Path, key: str, loss: Loss) -> None:
    """Store a measured loss; if that fails, a warning is given and the next process measures it again."""
    if not math.isfinite(loss.mean):
        return
    try:
        make_private(folder)
        replace_json(_file(folder, key), asdict(loss))
    except OSError as error:
        warn_left_out(folder, error)


def _file(folder: Path, key: str) -> Path:
    texts = repr((JUDGED_QUERIES, JUDGED_PASSAGES))
    return folder / f"{hashlib.sha256(f'{key} {texts}'.encode()).hexdigest()[:24]}.json"
