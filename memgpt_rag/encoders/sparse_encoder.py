"""Any SparseEncoder of sentence-transformers, such as SPLADE, by hub name or folder: texts as sparse vectors over a vocabulary."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from memgpt_rag.encoders.base import PAIRS, mean_margin
from memgpt_rag.encoders.sentence_encoder import CHARACTERS_PER_TOKEN, explained
from memgpt_rag.encoders.token_counts import counter
from memgpt_rag.errors import ModelError
from memgpt_rag.fingerprint import PROBE_PASSAGE, PROBE_QUERY, SparseFingerprint, SparseVector, is_score_scale
from memgpt_rag.hub.bundled import SPARSE_ENCODERS, sparse_encoder_folder
from memgpt_rag.hub.model_files import loading, require_all_whole, saved_setting
from memgpt_rag.plain_text import read_plain_text

_KIND = "sparse encoder"
# Texts at once. A network of this kind has a logit for each token and each word of its vocabulary: on a CPU, those of one text alone
# stay in the cache, which took 93 ms a text for `splade-tiny`, and 126 ms with four at once.
_TEXTS_ON_CPU, _TEXTS_ON_GPU = 1, 16


class SparseTextEncoder:
    """Embeds queries and passages as sparse vectors, which are compared by dot product (Formal et al. 2021, "SPLADE: Sparse Lexical
    and Expansion Model for First Stage Ranking").

    Prompts and what else tells queries from passages are the model's own. A text beyond its maximum length is cut off there, as
    sentence-transformers does.

    Args:
        name: hub name or folder, or the name of one that comes as a package.
        device: torch device; None for a GPU if available.

    Raises:
        ModelError: the model does not exist, lacks weights, or is no sparse encoder whose vectors are compared by dot product.
    """

    def __init__(self, name: str, *, device: str | None = None):
        from sentence_transformers import SparseEncoder

        folder = sparse_encoder_folder(name)
        source = str(folder or name)
        with loading(_KIND, name, folder, packages=SPARSE_ENCODERS), require_all_whole(_KIND, name):
            self._model = SparseEncoder(source, device=device, trust_remote_code=False)
            _require_sparse(name, source)
        if (similarity := self._model.similarity_fn_name) != "dot":
            raise ModelError(
                f"The sparse encoder {name!r} compares its vectors by {similarity}, and sparse search by dot product; name another one."
            )
        self.name = name
        longest = self._model.max_seq_length or 0
        self.max_tokens = int(longest) if math.isfinite(longest) else 0
        self._document_prompt = self._model.prompts.get("document") or ""
        self._count = counter(self._model.tokenizer)
        read_plain_text(self._model, keep=[prompt for prompt in self._model.prompts.values() if prompt])
        self._batch_size = _TEXTS_ON_CPU if self._model.device.type == "cpu" else _TEXTS_ON_GPU
        self.dimension = int(self._tensor(self._model.encode_query, [PROBE_QUERY]).shape[1])

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        """Encode queries into sparse vectors; raises ModelError if a component is no number."""
        return self._vectors(self._model.encode_query, texts)

    def encode_passages(self, texts: Sequence[str]) -> list[SparseVector]:
        """Encode passages into sparse vectors; raises ModelError if a component is no number."""
        return self._vectors(self._model.encode_document, texts)

    def is_cut(self, text: str) -> bool:
        """Return whether a passage is longer than what the model reads."""
        marks = int(self._model.tokenizer.num_special_tokens_to_add(False))
        return bool(self.max_tokens) and self._count(self._document_prompt + text) + marks > self.max_tokens

    @cached_property
    def fingerprint(self) -> SparseFingerprint:
        """Return the fingerprint by which a memory recognizes the encoder of its sparse vectors.

        Raises:
            ModelError: the model finds wrong passages rather than right ones.
        """
        score_scale = round(max(self._margin(pairs) for pairs in PAIRS.values()), 4)
        if not is_score_scale(score_scale):
            raise ModelError(
                f"The sparse encoder {self.name!r} cannot search: of eight questions and their passages, the right ones score "
                f"{score_scale} above the wrong ones on average. Name a model that was trained to find passages."
            )
        probes = (*self.encode_queries([PROBE_QUERY]), *self.encode_passages([PROBE_PASSAGE]))
        query, passage = ({name: round(weight, 4) for name, weight in probe.items()} for probe in probes)
        return SparseFingerprint(self.name, self.dimension, self.max_tokens, score_scale, query, passage)

    def _margin(self, pairs: list[tuple[str, str]]) -> float:
        """Return the mean margin of a question's score with its own passage over the scores with the others."""
        questions, passages = zip(*pairs, strict=True)
        vectors = self.encode_passages(passages)
        return mean_margin(np.array([[dot(asked, one) for one in vectors] for asked in self.encode_queries(questions)]))

    def _vectors(self, encode: Callable[..., Any], texts: Sequence[str]) -> list[SparseVector]:
        if not texts:
            return []
        found = self._tensor(encode, texts)
        (rows, components), weights = found.indices().numpy(), found.values().float().numpy()
        if not np.isfinite(weights).all():
            raise ModelError(
                f"The sparse encoder {self.name!r} computes weights that are no numbers; copy or download it again, or name another one."
            )
        ends = np.searchsorted(rows, np.arange(1, len(texts)))
        return [
            dict(zip(map(str, own.tolist()), own_weights.tolist(), strict=True))
            for own, own_weights in zip(np.split(components, ends), np.split(weights, ends), strict=True)
        ]

    def _tensor(self, encode: Callable[..., Any], texts: Sequence[str]) -> Any:
        if self.max_tokens:
            texts = [text[: self.max_tokens * CHARACTERS_PER_TOKEN] for text in texts]
        try:
            found = encode(list(texts), batch_size=self._batch_size, save_to_cpu=True, show_progress_bar=False)
        except TypeError as error:
            raise explained(error, texts) from error
        return found.coalesce()


def dot(one: SparseVector, other: SparseVector) -> float:
    """Return the dot product of two sparse vectors."""
    return sum(weight * other[name] for name, weight in one.items() if name in other)


def _require_sparse(name: str, source: str) -> None:
    """Check that a model was saved as a SparseEncoder, or is a masked language model, which SPLADE is.

    Any other model would be loaded, too: sentence-transformers adds layers of random weights to it.
    """
    saved = saved_setting(source, "config_sentence_transformers.json", "model_type")
    architectures = saved_setting(source, "config.json", "architectures") or []
    if saved != "SparseEncoder" and (saved or not any(str(one).endswith("ForMaskedLM") for one in architectures)):
        raise ModelError(
            f"{name!r} is no sparse encoder: it was saved neither as a SparseEncoder of sentence-transformers nor as a masked language "
            "model; name one such as SPLADE."
        )
