"""Encoders of memories as embedding models of LlamaIndex, and embedding models of LlamaIndex as encoders of memories."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import PrivateAttr

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.config import DEFAULT_ENCODER, EncoderConfig
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.integrations.embedding_function import RUNNING, FunctionEncoder, object_name


class MemGPTEmbedding(BaseEmbedding):  # type: ignore[misc]
    """Embeds with an encoder of this library, so that what an index stores is a memory that every other part can ask.

    Args:
        encoder: the encoder, or its name or configuration as `load_encoder` takes it.
        fields: of the embedding model, such as embed_batch_size.

    Example:
        >>> len(MemGPTEmbedding().get_query_embedding("Where are boats rented?"))
        384
    """

    _encoder: Encoder = PrivateAttr()

    def __init__(self, encoder: Encoder | EncoderConfig | str = DEFAULT_ENCODER, **fields: Any):
        loaded = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
        super().__init__(model_name=loaded.name, **fields)
        self._encoder = loaded

    @property
    def encoder(self) -> Encoder:
        """The encoder."""
        return self._encoder

    def _get_query_embedding(self, query: str) -> list[float]:
        with RUNNING:
            vectors: list[list[float]] = self._encoder.encode_queries([query]).tolist()
        return vectors[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        with RUNNING:
            vectors: list[list[float]] = self._encoder.encode_passages(texts).tolist()
        return vectors

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


def model_encoder(model: BaseEmbedding) -> Encoder:
    """Return an embedding model of LlamaIndex as the encoder of a memory."""
    if isinstance(model, MemGPTEmbedding):
        return model.encoder
    return FunctionEncoder(
        object_name(model),
        lambda texts: [model.get_query_embedding(text) for text in texts],
        model.get_text_embedding_batch,
    )
