"""Metadata of our models for a leaderboard of MTEB."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mteb
from mteb.models import ModelMeta

from memgpt_rag.fingerprint import EncoderFingerprint
from memgpt_rag.hub.bundled import E5_ENCODER, MINILM_ENCODER

# The models whose weights the packages hold, as MTEB knows them.
_ORIGINS = {
    E5_ENCODER: "intfloat/multilingual-e5-small",
    MINILM_ENCODER: "sentence-transformers/all-MiniLM-L6-v2",
}
# What is true of a search if it is true of its encoder's model.
_KEPT = (
    *("languages", "n_parameters", "n_embedding_parameters", "license", "open_weights", "public_training_code"),
    *("public_training_data", "reference", "training_datasets", "release_date", "citation"),
)
_KINDS = {"dense": ["dense"], "bm25": ["sparse"], "hybrid": ["hybrid"], "sparse": ["sparse"]}


def model_meta(fingerprint: EncoderFingerprint, search: str, settings: Mapping[str, Any], revision: str) -> ModelMeta:
    """Return the metadata of a search with an encoder.

    What MTEB knows of the encoder's model, such as the datasets that it was trained on, is taken over. What it does not know
    stays open.

    Args:
        search: its name, such as "hybrid".
        settings: settings of the search that its name does not tell.
        revision: tells two models of one name apart.
    """
    origin = _ORIGINS.get(fingerprint.name, fingerprint.name)
    try:
        known = mteb.get_model_meta(origin).model_dump(include=set(_KEPT))
        known["adapted_from"] = origin
    except KeyError:
        known = dict.fromkeys(_KEPT)
    kind, _, again = search.partition("+")
    folder = Path(fingerprint.name)
    name = folder.name if folder.is_dir() else fingerprint.name.replace("/", "-")
    return ModelMeta(
        loader=None,
        name=f"memgpt_rag/{search}-{name}",
        revision=revision,
        memory_usage_mb=None,
        max_tokens=fingerprint.max_tokens or None,
        embed_dim=fingerprint.dimension,
        framework=["PyTorch", "Sentence Transformers"],
        similarity_fn_name="cosine" if fingerprint.normalized else "euclidean",
        use_instructions=bool(fingerprint.query_prompt or fingerprint.passage_prompt),
        model_type=["hybrid"] if again else _KINDS[kind],
        experiment_kwargs=dict(settings) or None,
        **known,
    )
