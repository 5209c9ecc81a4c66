"""Rerankers: slower and more accurate scores for the entries that a search found; higher is better.

A score is divided by the reranker's score scale, the mean margin of a question's own passage over others. So scores of
searches and of rerankers can be added, and β of memory attention has the same effect for all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from memgpt_rag.encoders.base import PAIRS
from memgpt_rag.errors import ModelError
from memgpt_rag.hub.bundled import encoder_folder
from memgpt_rag.hub.model_files import loading, require_all_whole, saved_setting
from memgpt_rag.passage import Passage
from memgpt_rag.plain_text import read_plain_text

if TYPE_CHECKING:
    from memgpt_rag.model import EntryStates, MemoryDecoder
    from memgpt_rag.model.prompt import Prompt


_KIND = "reranker"
# What the configuration of a model says whose tokens have vectors that were trained: file, key, values.
_TOKEN_VECTORS = (
    ("config_sentence_transformers.json", "model_type", ("MultiVectorEncoder", "ColBERT")),
    ("config.json", "architectures", ("['HF_ColBERT']",)),
)
# Limit of logits in memory: with a vocabulary such as Gemma's, a question of 300 tokens has 80 million a passage.
_MOST_LOGITS = 2**27
_MOST_ENTRIES = 8  # read at once


class Reranker(ABC):
    """Base class of rerankers, which score passages for a question.

    Attributes:
        weight: default weight of its scores relative to those of the search, from 0 to 1.
    """

    name: str
    weight: float

    @abstractmethod
    def rate(self, question: str, passages: Sequence[Passage]) -> Float[np.ndarray, " passages"]:
        """Score each passage for the question, on a scale of the reranker's own."""

    def scores(self, question: str, passages: Sequence[Passage]) -> Float[np.ndarray, " passages"]:
        """Score each passage for the question, in units of the score scale."""
        return self.rate(question, passages) / self.score_scale

    @cached_property
    def score_scale(self) -> float:
        """Return the mean margin of a question's own passage over others, in the language with the largest margin.

        Raises:
            ModelError: the reranker rates wrong passages higher.
        """
        margins = []
        for pairs in PAIRS.values():
            passages = [to_passage(text) for _, text in pairs]
            rated = np.stack([self.rate(question, passages) for question, _ in pairs])
            own = np.eye(len(pairs), dtype=bool)
            margins.append(float(rated[own].mean() - rated[~own].mean()))
        if max(margins) <= 0:
            raise ModelError(
                f"The reranker {self.name!r} rates wrong passages higher than right ones ({max(margins):.3g} on average); "
                "name a model that was trained to rank passages."
            )
        return max(margins)


class CrossEncoderReranker(Reranker):
    """A cross-encoder of sentence-transformers, by hub name or folder, which encodes question and passage together.

    Raises:
        ModelError: the model does not exist, lacks weights, or has several outputs for a pair.
    """

    weight = 0.8

    def __init__(self, name: str, *, device: str | None = None):
        from sentence_transformers import CrossEncoder

        with loading(_KIND, name), require_all_whole(_KIND, name, unused=()):  # a cross-encoder may use the pooler
            self._model = CrossEncoder(name, device=device, trust_remote_code=False)
        if (labels := self._model.num_labels) != 1:
            raise ModelError(
                f"The model {name!r} gives {labels} numbers for a pair of texts; a reranker gives one. Name a cross-encoder."
            )
        read_plain_text(self._model)
        self.name = name

    def rate(self, question: str, passages: Sequence[Passage]) -> Float[np.ndarray, " passages"]:
        import torch

        pairs = [(question, passage.titled_text) for passage in passages]
        # Without the sigmoid, which would saturate at 1 for all good passages.
        rated = self._model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
        return np.asarray(rated, np.float32)


class LateInteractionReranker(Reranker):
    """Late interaction with a model of sentence-transformers: each question token is matched to its nearest one of the passage.

    The score is the mean over the question's tokens of the highest dot product with a token of the passage (Khattab and Zaharia
    2020, ColBERT). A MultiVectorEncoder was trained for this, and its own prompts, expansion and skipped words count. Of any other
    embedding model the token vectors are taken, in unit length, and no further training is needed. The vectors of the latest
    `max_cached` passages are cached.

    Raises:
        ModelError: the model does not exist.
    """

    weight = 0.5

    def __init__(self, name: str, *, device: str | None = None, max_cached: int = 4096):
        from sentence_transformers import MultiVectorEncoder, SentenceTransformer

        folder = encoder_folder(name)
        source = str(folder or name)
        with loading(_KIND, name, folder), require_all_whole(_KIND, name):
            if _has_token_vectors(source):
                self._model: Any = MultiVectorEncoder(source, device=device, trust_remote_code=False)
                read_plain_text(self._model, keep=[prompt for prompt in self._model.prompts.values() if prompt])
                asked, passages = self._model.encode_query, self._model.encode_document
            else:
                self._model = SentenceTransformer(source, device=device, trust_remote_code=False)
                read_plain_text(self._model)
                asked = passages = partial(self._model.encode, output_value="token_embeddings")
        self.name = f"tokens of {name}"
        self._unit = asked is passages
        self._encode_question = partial(self._vectors, asked)
        self._encode_passage = lru_cache(max_cached)(partial(self._vectors, passages))

    def rate(self, question: str, passages: Sequence[Passage]) -> Float[np.ndarray, " passages"]:
        asked = self._encode_question(question)
        return np.array(
            [float((asked @ self._encode_passage(one.titled_text).T).max(axis=1).mean()) for one in passages],
            np.float32,
        )

    def _vectors(self, encode: Callable[..., Any], text: str) -> Float[np.ndarray, "tokens dimension"]:
        found: np.ndarray = encode(text or " ", show_progress_bar=False).float().cpu().numpy()
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12) if self._unit else found


class LikelihoodReranker(Reranker):
    """Question likelihood under the language model, given the passage.

    The score is the mean log-likelihood of the question's tokens, with memory attention to the passage alone (Sachan et al.
    2022, Improving Passage Retrieval with Zero-Shot Question Generation). States of passages are computed once, and stored
    in the model's cache.

    Args:
        model: the language model, with the prefix of `prompt`.
        max_tokens: length at which a passage is truncated; passages from the index job are shorter.
    """

    weight = 0.3

    def __init__(self, model: MemoryDecoder, prompt: Prompt, *, max_tokens: int = 256, batch_size: int = 8):
        self.name = f"likelihood of {model.name}"
        self._model, self._prompt, self._max_tokens, self._batch_size = model, prompt, max_tokens, batch_size

    def rate(self, question: str, passages: Sequence[Passage]) -> Float[np.ndarray, " passages"]:
        rated = [np.zeros(0, np.float32)]
        for start in range(0, len(passages), self._batch_size):
            batch = passages[start : start + self._batch_size]
            entries = [self._prompt.first_entry_ids(passage, self._max_tokens) for passage in batch]
            rated.append(
                question_log_likelihoods(self._model, self._prompt, question, self._model.entry_states(entries))
            )
        return np.concatenate(rated)


def question_log_likelihoods(
    model: MemoryDecoder, prompt: Prompt, question: str, entries: Sequence[EntryStates]
) -> Float[np.ndarray, " entries"]:
    """Return the mean log-likelihood of a question's tokens, in nats, with memory attention to each entry alone.

    Args:
        entries: states of each, computed behind the prefix of `prompt`.

    Raises:
        ValueError: the question is too long, or no text.
    """
    import torch

    before, asked = prompt.asked_ids(question)
    ids = torch.tensor([[*before, *asked]], device=model.decoder.device)
    kept = torch.arange(len(before) - 1, ids.shape[1] - 1, device=ids.device)
    vocabulary = model.decoder.config.get_text_config().vocab_size
    size = max(1, min(_MOST_ENTRIES, _MOST_LOGITS // (len(asked) * vocabulary)))
    said, found = torch.tensor(asked, device=ids.device), list[float]()
    for start in range(0, len(entries), size):
        batch = entries[start : start + size]
        rows = ids.expand(len(batch), -1)
        with torch.inference_mode():
            memory = model.memory_from_states([[states] for states in batch], [[0.0]] * len(batch))
            logits = model(rows, torch.ones_like(rows), memory=memory, logits_to_keep=kept).logits
            if logits.shape[1] != len(kept):  # some decoders compute all of them, whatever is asked for
                logits = logits[:, kept]
            # Row by row, since each needs a copy of its logits in fp32.
            found += [-float(torch.nn.functional.cross_entropy(row.float(), said)) for row in logits]
    return np.array(found, np.float32)


def load_reranker(name: str) -> Reranker:
    """Load a cross-encoder by hub name or folder or, after "tokens:", a MultiVectorEncoder or embedding model for late interaction.

    Raises:
        ModelError: the model does not exist, or is no reranker.
    """
    kind, _, model = name.partition(":")
    return LateInteractionReranker(model) if kind == "tokens" and model else CrossEncoderReranker(name)


def _has_token_vectors(source: str) -> bool:
    """Return whether a model was saved as a MultiVectorEncoder, or as a ColBERT of PyLate or of Stanford."""
    return any(str(saved_setting(source, file, key)) in kinds for file, key, kinds in _TOKEN_VECTORS)


def to_passage(text: str) -> Passage:
    """Return a text as a passage from nowhere."""
    return Passage("", text, "", "", "", "line", 1, 1, 0, len(text))
