"""Base class of encoders, which embed texts and describe themselves in a fingerprint that is stored in a memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float

from memgpt_rag.errors import ModelError
from memgpt_rag.fingerprint import (
    PROBE_PASSAGE,
    PROBE_QUERY,
    EncoderFingerprint,
    encode_probe,
    is_score_scale,
)

Vectors = Float[np.ndarray, "texts dimension"]

# Questions with their passages, one topic each: the mean margin of right over wrong pairs is the unit of an encoder's
# scores. It is measured in two languages, and the larger one is used, so that a monolingual encoder is measured in its own.
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
    """Embeds queries and passages as vectors of one space."""

    name: str
    normalized: bool
    query_prompt: str
    passage_prompt: str
    max_tokens: int
    backend: str = "torch"
    precision: str = "fp32"

    @abstractmethod
    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Encode queries, with the query prompt, into vectors of shape [texts, dimension]."""

    @abstractmethod
    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Encode passages, with the passage prompt, into vectors of shape [texts, dimension]."""

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of `text`, without the prompt and the special tokens that a model adds."""

    @cached_property
    def fingerprint(self) -> EncoderFingerprint:
        """Return the fingerprint by which a memory recognizes the encoder of its keys."""
        score_scale = round(max(self._score_scale(pairs) for pairs in PAIRS.values()), 4)
        if not is_score_scale(score_scale):
            raise ModelError(
                f"The encoder {self.name!r} cannot search: of eight questions and their passages, the right ones score {score_scale} "
                "above the wrong ones on average. Name a model that was trained to embed questions and passages."
            )
        return self._described(score_scale)

    def _described(self, score_scale: float) -> EncoderFingerprint:
        query, passage = self.encode_queries([PROBE_QUERY])[0], self.encode_passages([PROBE_PASSAGE])[0]
        return EncoderFingerprint(
            name=self.name,
            dimension=len(query),
            normalized=self.normalized,
            query_prompt=self.query_prompt,
            passage_prompt=self.passage_prompt,
            max_tokens=self.max_tokens,
            score_scale=score_scale,
            query_probe=encode_probe(query),
            passage_probe=encode_probe(passage),
            backend=self.backend,
            precision=self.precision,
        )

    def _score_scale(self, pairs: list[tuple[str, str]]) -> float:
        """Return the mean margin of a question's score with its own passage over the scores with the others."""
        queries, passages = zip(*pairs, strict=True)
        asked, read = self.encode_queries(queries), self.encode_passages(passages)
        distances = np.linalg.norm(asked[:, None] - read[None], axis=-1)
        return mean_margin(asked @ read.T if self.normalized else -distances)


def mean_margin(scores: np.ndarray) -> float:
    """Return the mean of the diagonal of a matrix of scores minus that of the rest."""
    own = np.eye(len(scores), dtype=bool)
    return float(scores[own].mean() - scores[~own].mean())
