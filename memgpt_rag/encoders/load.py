"""Loads encoders: any sentence-transformers model by name or folder, or one that comes as a package.

What runs them is imported when one is loaded, so that a command's help does not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.fingerprint import PROBE_QUERY, EncoderFingerprint
from memgpt_rag.hub.bundled import E5_ENCODER, ENCODERS, encoder_folder
from memgpt_rag.hub.named_models import require_named

DEFAULT_ENCODER = E5_ENCODER


def load_encoder(
    name: str = DEFAULT_ENCODER,
    *,
    query_prompt: str | None = None,
    passage_prompt: str | None = None,
    normalize: bool = True,
    backend: str = "torch",
    precision: str = "fp32",
    dimension: int | None = None,
) -> Encoder:
    """Load an encoder by name or folder.

    Args:
        backend: the program that runs its network: "torch", "openvino" or "onnx".
        precision: numbers that it computes in: "fp32", "bf16" or "int8".
        dimension: of a vector, its first so many numbers; None for all.

    Raises:
        ModelError: no such model, or one that loses too much at that precision.
        MissingPackageError: it comes as a package, or runs on one, that is not installed.
        ValueError: something asked of an encoder that it cannot give.
    """
    from memgpt_rag.encoders.sentence_encoder import SentenceTransformersEncoder
    from memgpt_rag.encoders.truncated import TruncatedEncoder
    from memgpt_rag.encoders.windows import WindowedEncoder

    plain = SentenceTransformersEncoder(
        name,
        folder=encoder_folder(name),
        query_prompt=query_prompt,
        passage_prompt=passage_prompt,
        normalize=normalize,
        backend=backend,
        precision=precision,
    )
    # What E5 embedded before it was a model like the others, its engine had read to the end.
    encoder: Encoder = WindowedEncoder(plain) if name == E5_ENCODER else plain
    if dimension is None:
        return encoder
    whole = encoder.encode_queries([PROBE_QUERY]).shape[1]
    if not 0 < dimension <= whole:
        raise ValueError(
            f"dimension is {dimension}; vectors of {name} have {whole} numbers, of which the first can be kept."
        )
    return encoder if dimension == whole else TruncatedEncoder(encoder, dimension)


def load_memory_encoder(
    stored: EncoderFingerprint, name: str | None = None, *, memories: Sequence[Path] = ()
) -> Encoder:
    """The encoder that embedded a memory, with its prompts, to ask it.

    Questions are embedded in fp32 by torch, whatever embedded the passages: one question takes milliseconds in any way, its
    vector is the better one, and whoever asks need not have what the job had.

    Args:
        stored: the memory's fingerprint of it.
        name: name or folder of the encoder, where it does not come as a package.
        memories: folders of the memories that are asked, from inside of which nothing is loaded.

    Raises:
        ModelError: no such model, or one that only the memory names and that does not come as a package.
    """
    from memgpt_rag.encoders.truncated import TruncatedEncoder

    encoder = load_encoder(
        encoder_name(stored, name, memories),
        query_prompt=stored.query_prompt,
        passage_prompt=stored.passage_prompt,
        normalize=stored.normalized,
    )
    shorter = stored.dimension < encoder.encode_queries([PROBE_QUERY]).shape[1]
    return TruncatedEncoder(encoder, stored.dimension) if shorter else encoder


def encoder_name(stored: EncoderFingerprint, name: str | None, memories: Sequence[Path] = ()) -> str:
    """Return the name of a memory's encoder, as `require_named` allows it: bundled, or named by the user.

    Raises:
        ModelError: neither.
    """
    return require_named(stored.name, name, bundled=ENCODERS, what="encoder", option="--encoder", memories=memories)
