"""Any sentence-transformers model as an encoder: by hub name or folder, with a choice of backend and precision."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from memgpt_rag.encoders.backends import network_digest, put_on, require_known
from memgpt_rag.encoders.base import Encoder, Vectors
from memgpt_rag.encoders.batching import in_batches
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.quantization_loss import (
    cache_loss,
    cached_loss,
    judged,
    loss_between,
)
from memgpt_rag.encoders.token_counts import counter
from memgpt_rag.hub.bundled import ENCODERS
from memgpt_rag.hub.model_files import loading, require_all_whole
from memgpt_rag.io.cache_folder import cache_folder
from memgpt_rag.plain_text import plain_tokenizer, read_plain_text

# Surrogates, which are no characters; Python strings may contain them if they come from a terminal or from JSON.
_HALF = re.compile("[\ud800-\udfff]")
# A text is cut at this number of characters for each token of the model's maximum length; usual texts have about five.
# A tokenizer processes the whole text before it truncates, and takes a hundred bytes a character.
CHARACTERS_PER_TOKEN = 100


class SentenceTransformersEncoder(Encoder):
    """A sentence-transformers model, by hub name or folder. Texts beyond its maximum length are truncated silently.

    Texts are read as plain text; control tokens, such as [SEP], come from the model alone.

    Args:
        config: the model and how it embeds; its name is kept in the fingerprint, its dimension does not count here.
        folder: folder to load instead of the name, for models that come as packages.
        device: torch device; None for a GPU if available.

    Raises:
        ModelError: the model does not exist, lacks weights, or loses too much at that precision.
        MissingPackageError: the backend is not installed.
        ValueError: the backend or precision is unknown.
    """

    def __init__(self, config: EncoderConfig, *, folder: Path | None = None, device: str | None = None):
        from sentence_transformers import SentenceTransformer

        self.backend, self.precision = self._way = require_known(config.backend, config.precision)
        if self.backend != "torch":
            device = "cpu"
        name, kind = config.name, "embedding model"
        with loading(kind, name, folder, packages=ENCODERS), require_all_whole(kind, name):
            self._model = SentenceTransformer(str(folder or name), device=device, trust_remote_code=False)
        prompts = self._model.prompts or {}
        document_prompt = next((prompts[key] for key in ("document", "passage", "corpus") if prompts.get(key)), "")
        self.name = name
        self.normalized = config.normalize
        self.query_prompt = prompts.get("query", "") or "" if config.query_prompt is None else config.query_prompt
        self.passage_prompt = document_prompt if config.passage_prompt is None else config.passage_prompt
        longest = self._model.max_seq_length or 0
        self.max_tokens = int(longest) if math.isfinite(longest) else 0
        self._count = counter(self._model.tokenizer)
        read_plain_text(self._model, keep=(self.query_prompt, self.passage_prompt))
        if self._way != ("torch", "fp32"):
            self._change_network()

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, self.query_prompt, "query")

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, self.passage_prompt, "document")

    def count_tokens(self, text: str) -> int:
        try:
            return self._count(text)
        except TypeError as error:
            raise explained(error, [text]) from error

    @property
    def room(self) -> int:
        """Return the maximum length of prompt and text together in tokens, without special tokens."""
        return self.max_tokens - int(self._model.tokenizer.num_special_tokens_to_add())

    def token_places(self, text: str) -> list[tuple[int, int]]:
        """Return the start and end of each token of a text, in characters."""
        return list(self._without_truncation.encode(text, add_special_tokens=False).offsets)

    @cached_property
    def _without_truncation(self) -> Any:
        """A copy of the tokenizer, since the model's own truncates."""
        return plain_tokenizer(self._model.tokenizer)

    def _encode(self, texts: Sequence[str], prompt: str, task: str) -> Vectors:
        if self.max_tokens:
            texts = [text[: self.max_tokens * CHARACTERS_PER_TOKEN] for text in texts]
        try:
            return self._encode_all(texts, prompt, task)
        except TypeError as error:
            raise explained(error, texts) from error

    def _encode_all(self, texts: Sequence[str], prompt: str, task: str) -> Vectors:
        encode = self._model.encode_query if task == "query" else self._model.encode_document

        def batch(texts: list[str]) -> Vectors:
            vectors: Vectors = encode(
                texts,
                prompt=prompt,
                batch_size=len(texts),
                normalize_embeddings=self.normalized,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            return vectors.astype(np.float32, copy=False)

        if len(texts) == 1:
            return batch(list(texts))
        return in_batches(batch, texts, self._count, max_tokens=self.max_tokens)

    def _change_network(self) -> None:
        """Move the network to the backend and precision, and check that the loss is small."""
        folder, key = cache_folder("networks"), network_digest(self._model, *self._way)
        loss = cached_loss(folder, f"{key} {self.precision}")
        exact = judged(self.encode_passages) if loss is None else None
        put_on(self._model, self.name, *self._way, key)
        if loss is None and exact is not None:
            loss = loss_between(exact, judged(self.encode_passages))
            cache_loss(folder, f"{key} {self.precision}", loss)
        assert loss is not None
        loss.require_small(self.name, f"{self.precision} on {self.backend}")


def explained(error: TypeError, texts: Sequence[str]) -> Exception:
    """Return a clear error for a surrogate in a text, which a tokenizer reports as a wrong type."""
    for text in texts:
        if half := _HALF.search(text):
            return ValueError(
                f"A text to embed has half a character ({half[0]!r}) at position {half.start()}: {text[:80]!r}; it is no Unicode, "
                "and comes from a wrong encoding or a cut. Remove it."
            )
    return error
