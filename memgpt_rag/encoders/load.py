"""Loads encoders: any sentence-transformers model by name or folder, or one that comes as a package.

Backends are imported when an encoder is loaded, so that a command's help does not wait for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.config import DEFAULT_ENCODER, EncoderConfig
from memgpt_rag.encoders.picture_encoder import PictureEncoder
from memgpt_rag.errors import ModelError
from memgpt_rag.fingerprint import PROBE_QUERY, EncoderFingerprint
from memgpt_rag.hub.bundled import E5_ENCODER, ENCODERS, encoder_folder
from memgpt_rag.hub.named_models import require_named
from memgpt_rag.io.pictures import require_pillow

if TYPE_CHECKING:
    from memgpt_rag.encoders.sparse_encoder import SparseTextEncoder


def load_encoder(config: EncoderConfig | str = DEFAULT_ENCODER) -> Encoder:
    """Load an encoder.

    Args:
        config: the encoder and how it embeds, or only its name or folder.

    Raises:
        ModelError: the model does not exist, or loses too much at that precision.
        MissingPackageError: the package of the model or of the backend is not installed.
        ValueError: an option that the encoder does not support.

    Example:
        >>> encoder = load_encoder(EncoderConfig("all-MiniLM-L6-v2", precision="int8"))
        >>> encoder.encode_queries(["Where are boats rented?"]).shape
        (1, 384)
    """
    from memgpt_rag.encoders.dual_encoder import SETTINGS
    from memgpt_rag.encoders.sentence_encoder import SentenceTransformersEncoder
    from memgpt_rag.encoders.truncated import TruncatedEncoder
    from memgpt_rag.encoders.windows import WindowedEncoder

    config = EncoderConfig(config) if isinstance(config, str) else config
    if (Path(config.name) / SETTINGS).is_file():
        raise ModelError(
            f"{config.name!r} embeds pictures and is for memories of pictures; name a model that embeds texts."
        )
    plain = SentenceTransformersEncoder(config, folder=encoder_folder(config.name))
    # The earlier engine for E5 read texts to their end; windows keep that for existing memories.
    encoder: Encoder = WindowedEncoder(plain) if config.name == E5_ENCODER else plain
    if config.dimension is None:
        return encoder
    whole = encoder.encode_queries([PROBE_QUERY]).shape[1]
    if not 0 < config.dimension <= whole:
        raise ValueError(
            f"dimension is {config.dimension}; vectors of {config.name} have {whole} numbers, of which the first can be kept."
        )
    return encoder if config.dimension == whole else TruncatedEncoder(encoder, config.dimension)


def load_memory_encoder(
    stored: EncoderFingerprint, name: str | None = None, *, memories: Sequence[Path] = ()
) -> Encoder:
    """Load the encoder of a memory, with its prompts, to embed questions.

    Questions are embedded in fp32 by torch, independent of the passages' backend: one question takes milliseconds in any
    backend, fp32 is more accurate, and no further package is needed.

    Args:
        stored: fingerprint of the encoder in the memory's manifest.
        name: name or folder of the encoder, if it does not come as a package.
        memories: folders of the memories; nothing is loaded from inside of them.

    Raises:
        ModelError: the model does not exist; or only the memory names it, and it does not come as a package.
    """
    from memgpt_rag.encoders.truncated import TruncatedEncoder

    if stored.picture_probe:
        return load_picture_encoder(memory_encoder_name(stored, name, memories))
    config = EncoderConfig(
        memory_encoder_name(stored, name, memories), stored.query_prompt, stored.passage_prompt, stored.normalized
    )
    encoder = load_encoder(config)
    shorter = stored.dimension < encoder.encode_queries([PROBE_QUERY]).shape[1]
    return TruncatedEncoder(encoder, stored.dimension) if shorter else encoder


def memory_encoder_name(stored: EncoderFingerprint, name: str | None, memories: Sequence[Path] = ()) -> str:
    """Return the name of a memory's encoder, as `require_named` allows it: bundled, or named by the user.

    Raises:
        ModelError: it is neither.
    """
    return require_named(stored.name, name, bundled=ENCODERS, what="encoder", option="--encoder", memories=memories)


def load_sparse_encoder(name: str) -> SparseTextEncoder:
    """Load a sparse encoder, such as SPLADE.

    Args:
        name: a SparseEncoder of sentence-transformers, by hub name or folder, or one that comes as a package.

    Raises:
        ModelError: the model does not exist, is damaged, or is no sparse encoder.
        MissingPackageError: the package of the model is not installed.
    """
    from memgpt_rag.encoders.sparse_encoder import SparseTextEncoder

    return SparseTextEncoder(name)


def load_picture_encoder(name: str) -> PictureEncoder:
    """Load an encoder of pictures and texts.

    Args:
        name: folder that `memgpt-rag images train` wrote, or a model of sentence-transformers that embeds pictures, such as CLIP, by
            hub name or folder.

    Raises:
        ModelError: the model does not exist, is damaged, or embeds texts only.
        MissingPackageError: Pillow, or what the model needs beside it, is not installed.
    """
    from memgpt_rag.encoders.clip_encoder import ClipEncoder
    from memgpt_rag.encoders.dual_encoder import SETTINGS, DualEncoder

    require_pillow()
    if name in ENCODERS:
        raise ModelError(
            f"{name!r} embeds texts only; name a model that embeds pictures, such as a folder that memgpt-rag images train wrote."
        )
    if not (Path(name) / SETTINGS).is_file():
        return ClipEncoder(name)
    return DualEncoder.load(Path(name), text_encoder=_bundled_text_encoder)


def _bundled_text_encoder(stored: EncoderFingerprint) -> Encoder:
    """Load the text encoder that a dual encoder names, which must come as a package."""
    if stored.name not in ENCODERS:
        raise ModelError(
            f"The dual encoder was trained with the text encoder {stored.name!r}, which does not come as a package "
            f"({', '.join(ENCODERS)}); load it in Python with DualEncoder.load and text_encoder=."
        )
    return load_encoder(EncoderConfig.matching(stored, stored.name))
