"""What each token of an answer attended to: the tokens of each entry, and where both stand in their texts.

Knows numbers and places; knows no models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

Span = tuple[int, int]  # start and end in a text, in characters (Unicode code points)

# Where a text may be divided between two entries: around white space and Chinese or Japanese characters, but not within a number.
_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f\u3001\u3002\uff01-\uff0f\uff1a-\uff20"
_WORD = re.compile(rf"[〇零一二三四五六七八九十百千万萬亿億两兩]+|[{_HAN}]|[^\s{_HAN}]+")


@dataclass(frozen=True, eq=False)
class EntryTrace:
    """What an answer's tokens gave to the tokens of one entry.

    Attributes:
        weights: attention weights, each the mean over the layers that attend to memory and over their heads, 0 to 1. Weights
            on all entries and on the words around them add up to at most 1 for each answer token.
        spans: characters of the passage's text in each entry token; empty for the title and for what stands around the text.
    """

    weights: Float[np.ndarray, "answer_tokens entry_tokens"]
    spans: tuple[Span, ...]

    @cached_property
    def mass(self) -> Float[np.ndarray, " answer_tokens"]:
        """What each answer token gave to the entry as a whole, 0 to 1."""
        return np.asarray(self.weights.sum(1))


@dataclass(frozen=True, eq=False)
class AttentionTrace:
    """What each token of an answer attended to.

    Attributes:
        text: of the answer.
        spans: characters of the answer's text that each of its tokens wrote; one behind the other, some empty.
        entries: one per entry that was read, in the order of the answer's citations.
    """

    text: str
    spans: tuple[Span, ...]
    entries: tuple[EntryTrace, ...]

    @cached_property
    def shares(self) -> Float[np.ndarray, "answer_tokens entries"]:
        """Each entry's part of the attention that an answer token gave to memory, 0 to 1; 0 where it gave none."""
        return _shares(self._masses)

    @cached_property
    def first_entry(self) -> Int[np.ndarray, " answer_tokens"]:
        """Place of the entry with the greatest share of the word that an answer token belongs to; -1 where it gave none anything.

        The tokens of a word or number have one entry, so that "31,800" is never cited in two halves.
        """
        if not self.entries:
            return np.full(len(self.spans), -1)
        words = np.zeros((max(self._words, default=-1) + 1, len(self.entries)))
        np.add.at(words, self._words, self._masses)
        shares = _shares(words)[self._words]
        return np.where(shares.max(1) > 0, shares.argmax(1), -1)

    @cached_property
    def _masses(self) -> Float[np.ndarray, "answer_tokens entries"]:
        if not self.entries:
            return np.zeros((len(self.spans), 0))
        return np.stack([entry.mass for entry in self.entries], axis=1)

    @cached_property
    def _words(self) -> list[int]:
        """Number of the word that each token belongs to; tokens that write parts of the same word have the same."""
        inside = {place for word in _WORD.finditer(self.text) for place in range(word.start() + 1, word.end())}
        numbers, number = [], -1
        for start, _ in self.spans:
            number += number < 0 or start not in inside
            numbers.append(number)
        return numbers

    def entry_spans(self, entry: int) -> list[Span]:
        """Maximal runs of the answer's words that give the greatest share to one entry.

        Args:
            entry: its place among the entries.
        """
        return joined([span for span, first in zip(self.spans, self.first_entry, strict=True) if first == entry])

    def entry_weights(self, entry: int, start: int = 0, end: int | None = None) -> Float[np.ndarray, " entry_tokens"]:
        """What a part of the answer gave to each token of an entry: the mean over the tokens that wrote it.

        Args:
            start: of the part, in characters of the answer's text.
            end: behind its last character; None for the end of the text.
        """
        last = self.spans[-1][1] if self.spans and end is None else end or 0
        weights = self.entries[entry].weights
        wrote = [place for place, (a, b) in enumerate(self.spans) if a < b and a < last and start < b]
        return np.asarray(weights[wrote].mean(0) if wrote else np.zeros(weights.shape[1], weights.dtype))


def _shares(masses: Float[np.ndarray, "rows entries"]) -> Float[np.ndarray, "rows entries"]:
    total = masses.sum(1, keepdims=True)
    return np.asarray(masses / np.where(total > 0, total, 1))


def joined(spans: Sequence[Span]) -> list[Span]:
    """Join spans in ascending order that touch or overlap; empty ones go."""
    found: list[Span] = []
    for start, end in spans:
        if start == end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found
