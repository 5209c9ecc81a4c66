"""How to load an encoder: one value that commands, jobs and workers pass on. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_rag.choices import Backend, Precision
from memgpt_rag.fingerprint import EncoderFingerprint
from memgpt_rag.hub.bundled import E5_ENCODER

DEFAULT_ENCODER = E5_ENCODER


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder and how it embeds.

    Attributes:
        name: a sentence-transformers name or folder, or a model that comes as a package.
        query_prompt, passage_prompt: texts to put in front; None for those of the model's own configuration.
        normalize: scale vectors to unit length, as cosine needs.
        backend: the program that runs its network; "openvino" and "onnx" are packages of their own, for CPUs.
        precision: numbers that the network computes in; what rounding loses is measured, and refused where it is much.
        dimension: keep only the first so many numbers of a vector (Matryoshka); None for all.
    """

    name: str = DEFAULT_ENCODER
    query_prompt: str | None = None
    passage_prompt: str | None = None
    normalize: bool = True
    backend: Backend = "torch"
    precision: Precision = "fp32"
    dimension: int | None = None

    @classmethod
    def matching(cls, stored: EncoderFingerprint, name: str) -> EncoderConfig:
        """Return what embeds passages as those of a memory were embedded.

        Args:
            name: of the encoder, see `memgpt_rag.encoders.load.memory_encoder_name`.
        """
        return cls(
            name,
            stored.query_prompt,
            stored.passage_prompt,
            stored.normalized,
            stored.backend,  # type: ignore[arg-type]  # checked when it is loaded
            stored.precision,  # type: ignore[arg-type]
            stored.dimension,
        )
