"""What the nearest examples and the language model, which attends to them, say about texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memgpt_rag.io.printable import counted
from memgpt_rag.limits import MOST_ENTRIES, MOST_MEMORY_TOKENS, MOST_PAIRS, require_between
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.retrieval.retriever import Retrieved, Retriever
from memgpt_rag.tasks.classification.label_likelihood import label_log_likelihoods
from memgpt_rag.tasks.classification.label_words import LabelWords
from memgpt_rag.tasks.classification.mixture import Evidence

_ROWS = 8  # texts that are read at once, where their examples leave room


@dataclass(frozen=True)
class Neighbor:
    """A labelled example near a text.

    Attributes:
        found: its entry, with the score of the search.
        label: its label.
        share: part of the attention to all examples that went to it, while the text was read.
    """

    found: Retrieved
    label: str
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as commands and servers write it in JSON."""
        passage = self.found.passage
        return {
            "id": passage.id,
            "label": self.label,
            "place": passage.place,
            "score": self.found.score,
            "share": self.share,
        }


class ExampleReader:
    """Reads texts with the labelled examples that are nearest to them.

    Args:
        retriever: finds examples in a memory.
        model: from `example_model`.
        words: of the labels.
        column: metadata column of the labels.
        k: examples of each text.

    Raises:
        ValueError: k or the length of texts is out of bounds, or a text would have too many tokens of examples.
    """

    def __init__(
        self, retriever: Retriever, model: MemoryDecoder, words: Mapping[str, str], column: str, k: int, max_tokens: int
    ):
        require_between("k", k, 1, MOST_ENTRIES)
        require_between("max_tokens", max_tokens, 1, MOST_MEMORY_TOKENS)
        if k * max_tokens > MOST_MEMORY_TOKENS or _pairs(max_tokens, k * max_tokens) > MOST_PAIRS:
            raise ValueError(
                f"{counted(k, 'example', 'examples')} of {max_tokens:,} tokens have {k * max_tokens:,}, and meet a text in "
                f"{_pairs(max_tokens, k * max_tokens):,} pairs of tokens; expected at most {MOST_MEMORY_TOKENS:,}, and "
                f"{MOST_PAIRS:,}: take fewer examples (k), or shorter ones (max_tokens)."
            )
        self.retriever, self.model, self.column, self.k = retriever, model, column, k
        self.words = LabelWords(model.prompt, words, max_tokens)
        _ = self.words.label_ids  # words that are too long are refused now

    def neighbors(self, texts: Sequence[str], *, spare: int = 0) -> list[list[Retrieved]]:
        """Return the examples nearest to each text, best first.

        Args:
            spare: 0, or, for texts that are examples themselves, the most entries with the same text: those are left out.
        """
        found = self.retriever.retrieve(texts, self.k + spare)
        if not spare:
            return found
        return [
            [one for one in entries if one.passage.titled_text != text][: self.k]
            for text, entries in zip(texts, found, strict=True)
        ]

    def read(
        self, texts: Sequence[str], found: Sequence[Sequence[Retrieved]]
    ) -> tuple[Evidence, list[tuple[Neighbor, ...]]]:
        """Return what is known of texts, and the examples of each with their shares of the attention.

        Args:
            found: the examples of each text, best first; a text may have none.
        """
        asked = [self.words.text_ids(text) for text in texts]
        examples_read = [[self._example(one) for one in entries] for entries in found]
        size = self._rows_at_once(max(map(len, asked)), max(sum(map(len, examples)) for examples in examples_read))
        order = sorted(range(len(texts)), key=lambda place: len(asked[place]))  # little padding
        likelihoods = np.zeros((len(texts), len(self.words.labels)))
        shares: list[list[float]] = [[] for _ in texts]
        for start in range(0, len(order), size):
            places = order[start : start + size]
            scores = [[one.normalized_score for one in found[place]] for place in places]
            memory = self.model.make_memory([examples_read[place] for place in places], scores)
            batch = label_log_likelihoods(self.model, [asked[place] for place in places], memory, self.words.label_ids)
            likelihoods[places] = batch.cpu().numpy()
            for place, mass in zip(places, memory.entry_mass([1] * len(places)), strict=True):
                shares[place] = [one / (sum(mass) or 1.0) for one in mass]
        neighbors = [
            tuple(Neighbor(one, self.label(one), share) for one, share in zip(entries, text_shares, strict=True))
            for entries, text_shares in zip(found, shares, strict=True)
        ]
        return self._evidence(likelihoods, neighbors), neighbors

    def label(self, example: Retrieved) -> str:
        """Return the label of an example."""
        return str(example.passage.metadata[self.column])

    def _rows_at_once(self, longest: int, most: int) -> int:
        """Return how many texts are read together, by the tokens of the longest one and the most of one's examples."""
        room = min(MOST_MEMORY_TOKENS // max(most, 1), MOST_PAIRS // _pairs(longest, most))
        return self.model.rows_at_once(max(1, min(_ROWS, room)))

    def _example(self, example: Retrieved) -> tuple[int, ...]:
        return self.words.example_ids(example.passage.titled_text, self.label(example))

    def _evidence(self, likelihoods: np.ndarray, neighbors: Sequence[Sequence[Neighbor]]) -> Evidence:
        number = {label: place for place, label in enumerate(self.words.labels)}
        width = max(1, max(map(len, neighbors)))
        scores, labels = np.full((len(neighbors), width), -np.inf), np.zeros((len(neighbors), width), int)
        for row, near in enumerate(neighbors):
            scores[row, : len(near)] = [one.found.normalized_score for one in near]
            labels[row, : len(near)] = [number[one.label] for one in near]
        return Evidence(likelihoods, scores, labels)


def _pairs(text: int, examples: int) -> int:
    """Return how many pairs of tokens meet in attention."""
    return text * (text + examples)


def example_model(model: MemoryDecoder) -> MemoryDecoder:
    """Return a model as it was pretrained, which reads examples after the beginning-of-text token alone; weights are shared.

    A reader was trained to answer questions. All examples are attended to alike: that nearer ones are more like the text is what
    their vote says already.
    """
    begin = model.tokenizer.bos_token_id
    prefix_ids, config = () if begin is None else (begin,), MemoryAttentionConfig()
    if model.reader is None and (model.prefix_ids, model.config) == (prefix_ids, config):
        return model  # with the states that it has computed
    plain = model.without_reader()
    plain.config, plain.prefix_ids = config, prefix_ids
    return plain
