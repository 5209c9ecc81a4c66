"""An encoder as a model of MTEB, for tasks that compare texts by their vectors."""

from __future__ import annotations

from typing import Any

from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.types import PromptType

from memgpt_rag.encoders.base import Encoder, Vectors
from memgpt_rag.evaluation.data.dataset import digest
from memgpt_rag.integrations.mteb.model_meta import model_meta


class MemGPTEncoder(AbsEncoder):  # type: ignore[misc]
    """Embeds the texts of tasks with an encoder and its own prompts.

    Documents are embedded as passages. Queries, and the texts of tasks that have no documents, are embedded as queries, as E5 and
    its like ask for.

    Attributes:
        mteb_model_meta: metadata for a leaderboard.

    Example:
        >>> mteb.evaluate(MemGPTEncoder(load_encoder()), mteb.get_tasks(tasks=["STSBenchmark"]))
    """

    def __init__(self, encoder: Encoder):
        self.encoder = encoder
        fingerprint = encoder.fingerprint
        revision = digest(fingerprint.to_json())[:16]
        self.mteb_model_meta: ModelMeta = model_meta(fingerprint, "dense", {}, revision)

    def encode(self, inputs: Any, *, prompt_type: PromptType | None = None, **settings: Any) -> Vectors:
        """Return the vector of each text, in order.

        Args:
            inputs: batches of texts.
            prompt_type: whether they are documents; all else are queries.
            settings: of MTEB, which this model does not need.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        if prompt_type == PromptType.document:
            return self.encoder.encode_passages(texts)
        return self.encoder.encode_queries(texts)
