"""Configuration of an encoder, as passed between commands, jobs and workers. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_rag.choices import Backend, Precision
from memgpt_rag.fingerprint import EncoderFingerprint
from memgpt_rag.hub.bundled import E5_ENCODER

DEFAULT_ENCODER = E5_ENCODER


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder to load, and how it embeds.

    Attributes:
        name: a sentence-transformers name or folder, or a model that comes as a package.
        query_prompt, passage_prompt: texts to put before each text; None for those of the model's own configuration.
        normalize: scale vectors to unit length, as required for cosine.
        backend: inference backend; "openvino" and "onnx" need packages of their own, and run on CPUs.
        precision: precision of the network; the loss by quantization is measured, and refused if it is large.
        dimension: number of leading components of a vector to keep (Matryoshka); None for all.
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
        """Return the configuration with which the passages of a memory were embedded.

        Args:
            name: name of the encoder, see `memgpt_rag.encoders.load.memory_encoder_name`.
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
