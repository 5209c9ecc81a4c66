"""Encoders: texts become the vectors that a memory is searched by.

Any sentence-transformers model by name or folder, or one that comes as a package. Every encoder says what it is in a
fingerprint, which a memory keeps and compares.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from memgpt_rag.bundled import E5_ENCODER, ENCODERS, encoder_folder
from memgpt_rag.errors import ModelError
from memgpt_rag.fingerprint import PROBE_PASSAGE, PROBE_QUERY, EncoderFingerprint, encode_probe, is_contrast
from memgpt_rag.named_models import require_named

DEFAULT_ENCODER = E5_ENCODER

Vectors = Float[np.ndarray, "texts dimension"]

# Questions with their passages, one topic each: how far the right pair stands above the wrong ones is the unit of this
# encoder's scores. Two languages, and the better one counts, so that an encoder of one language is measured in its own.
PAIRS = {
    "en": [
        (
            "When did the lighthouse burn down?",
            "In 1871 a storm lamp fell over and the lighthouse burned to the ground.",
        ),
        (
            "What do the bees of the valley feed on?",
            "The valley's bees live on heather, which flowers there until October.",
        ),
        (
            "How do I reset the router?",
            "Hold the small button on the router's back for ten seconds; all settings return to those of the factory.",
        ),
        (
            "Who composed the opera about the miller?",
            "Anna Reuter wrote the music of the opera The Miller's Debt in one winter.",
        ),
    ],
    "zh": [
        ("灯塔是什么时候烧毁的？", "1871年，一盏风灯翻倒，灯塔被烧成平地。"),
        ("山谷里的蜜蜂吃什么？", "山谷里的蜜蜂以石楠花为食，石楠花在那里一直开到十月。"),
        ("怎样重置路由器？", "按住路由器背面的小按钮十秒钟，所有设置就会恢复出厂状态。"),
        ("那部关于磨坊主的歌剧是谁作曲的？", "安娜·罗伊特用一个冬天为歌剧《磨坊主的债》谱了曲。"),
    ],
}


class Encoder(ABC):
    """Turns queries and passages into vectors of one space."""

    name: str
    normalised: bool
    query_prompt: str
    passage_prompt: str
    max_tokens: int
    backend: str = "torch"
    precision: str = "fp32"

    @abstractmethod
    def encode_queries(self, texts: Sequence[str]) -> Vectors: ...

    @abstractmethod
    def encode_passages(self, texts: Sequence[str]) -> Vectors: ...

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Tokens of `text` itself, without the prompt and the marks that a model adds."""

    @cached_property
    def fingerprint(self) -> EncoderFingerprint:
        query, passage = self.encode_queries([PROBE_QUERY])[0], self.encode_passages([PROBE_PASSAGE])[0]
        contrast = round(max(self._contrast(pairs) for pairs in PAIRS.values()), 4)
        if not is_contrast(contrast):
            raise ModelError(
                f"The encoder {self.name!r} cannot search: of eight questions and their passages, the right ones score {contrast} "
                "above the wrong ones on average. Name a model that was trained to embed questions and passages."
            )
        return EncoderFingerprint(
            name=self.name,
            dimension=len(query),
            normalised=self.normalised,
            query_prompt=self.query_prompt,
            passage_prompt=self.passage_prompt,
            max_tokens=self.max_tokens,
            score_contrast=contrast,
            query_probe=encode_probe(query),
            passage_probe=encode_probe(passage),
            backend=self.backend,
            precision=self.precision,
        )

    def _contrast(self, pairs: list[tuple[str, str]]) -> float:
        """How much higher a question scores with its own passage than with the others, on average."""
        queries, passages = zip(*pairs, strict=True)
        asked, told = self.encode_queries(queries), self.encode_passages(passages)
        distances = np.linalg.norm(asked[:, None] - told[None], axis=-1)
        scores = asked @ told.T if self.normalised else -distances
        own = np.eye(len(pairs), dtype=bool)
        return float(scores[own].mean() - scores[~own].mean())


def load_encoder(
    name: str = DEFAULT_ENCODER,
    *,
    query_prompt: str | None = None,
    passage_prompt: str | None = None,
    normalise: bool = True,
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
    from memgpt_rag.encoding.sentence_encoder import SentenceTransformersEncoder
    from memgpt_rag.encoding.shortened import ShortenedEncoder
    from memgpt_rag.encoding.windows import WindowedEncoder

    plain = SentenceTransformersEncoder(
        name,
        folder=encoder_folder(name),
        query_prompt=query_prompt,
        passage_prompt=passage_prompt,
        normalise=normalise,
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
    return encoder if dimension == whole else ShortenedEncoder(encoder, dimension)


def load_encoder_of(stored: EncoderFingerprint, name: str | None = None, *, memories: Sequence[Path] = ()) -> Encoder:
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
    from memgpt_rag.encoding.shortened import ShortenedEncoder

    encoder = load_encoder(
        encoder_name(stored, name, memories),
        query_prompt=stored.query_prompt,
        passage_prompt=stored.passage_prompt,
        normalise=stored.normalised,
    )
    shorter = stored.dimension < encoder.encode_queries([PROBE_QUERY]).shape[1]
    return ShortenedEncoder(encoder, stored.dimension) if shorter else encoder


def encoder_name(stored: EncoderFingerprint, name: str | None, memories: Sequence[Path] = ()) -> str:
    """Return the name of a memory's encoder, as `require_named` allows it: bundled, or named by the user.

    Raises:
        ModelError: neither.
    """
    return require_named(stored.name, name, bundled=ENCODERS, what="encoder", option="--encoder", memories=memories)
