"""Rerankers with the interface of a CrossEncoder of sentence-transformers: `predict` and `rank`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Float

from memgpt_rag.retrieval.rerankers import Reranker, load_reranker, to_passage

Pair = Sequence[str]  # a question and a text


class MemGPTCrossEncoder:
    """Rates pairs of a question and a text with any reranker: a cross-encoder, late interaction, or the language model itself.

    Scores are the reranker's own, higher is better: of a cross-encoder what it puts out, without a sigmoid.

    Example:
        >>> model = MemGPTCrossEncoder.load("tokens:all-MiniLM-L6-v2")
        >>> model.rank("What does a boat cost?", ["The gate opens at six.", "A boat costs 40 yuan."], top_k=1)[0]["corpus_id"]
        1
    """

    def __init__(self, reranker: Reranker):
        from sentence_transformers import CrossEncoderModelCardData

        self.reranker = reranker
        self.model_card_data = (
            CrossEncoderModelCardData()
        )  # where evaluators of sentence-transformers write their figures

    @classmethod
    def load(cls, name: str) -> MemGPTCrossEncoder:
        """Load a cross-encoder by hub name or folder or, after "tokens:", a model for late interaction.

        Raises:
            ModelError: the model does not exist, or is no reranker.
        """
        return cls(load_reranker(name))

    def predict(
        self,
        inputs: Sequence[Pair] | Pair,
        *,
        activation_fn: Callable[[Any], Any] | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        prompt_name: str | None = None,
    ) -> Any:
        """Return the score of each pair, as an array in their order; of a single pair, its score.

        Args:
            activation_fn: applied to the scores, as a tensor; None for none.
            convert_to_numpy, convert_to_tensor: return an array; or, before that, one tensor; or, with neither, a list of tensors.
            batch_size, show_progress_bar: of sentence-transformers; they change no score and are not needed here.

        Raises:
            ValueError: something that is no pair of texts, or a prompt, which no reranker has.
        """
        if prompt_name is not None:
            raise ValueError(f"prompt_name is {prompt_name!r}; a reranker has no prompts, give None.")
        single = len(inputs) == 2 and all(isinstance(text, str) for text in inputs)
        scores: Any = self._scores([inputs] if single else inputs)  # type: ignore[list-item]  # checked there
        if activation_fn is not None or convert_to_tensor or not convert_to_numpy:
            import torch

            scores = torch.from_numpy(scores)
            scores = scores if activation_fn is None else activation_fn(scores)
            scores = scores if convert_to_tensor else scores.numpy() if convert_to_numpy else list(scores)
        return scores[0] if single else scores

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        **settings: Any,
    ) -> list[dict[str, Any]]:
        """Return the documents, best first: their places as "corpus_id", their scores and, if asked for, their texts.

        Args:
            top_k: most documents; None for all.
            settings: of `predict`.
        """
        scores = self.predict([(query, document) for document in documents], **settings)
        order = sorted(range(len(documents)), key=lambda at: -float(scores[at]))[
            :top_k
        ]  # equal ones in the order given
        return [
            {"corpus_id": at, "score": scores[at], **({"text": documents[at]} if return_documents else {})}
            for at in order
        ]

    def _scores(self, pairs: Sequence[Pair]) -> Float[np.ndarray, " pairs"]:
        """Rate the texts of each question together."""
        for number, pair in enumerate(pairs):
            if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
                raise ValueError(f"The input {number} is {pair!r:.60}; expected a question and a text.")
        found = [np.zeros(0, np.float32)]
        for question, group in groupby(pairs, key=lambda pair: pair[0]):
            found.append(self.reranker.rate(question, [to_passage(text) for _, text in group]))
        return np.concatenate(found)
