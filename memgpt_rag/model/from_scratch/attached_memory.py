"""What is attached to a model from scratch: whether to use it, what was found for a text, and its token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from memgpt_rag.choices import USES_OF_MEMORY, UseMemory
from memgpt_rag.plain_text import plain_ids


class Lookup(Protocol):
    """What finds texts for a text, as `memgpt_rag.retrieval.retriever.Retriever` does: each with `score` and `passage.text`."""

    def retrieve(self, questions: Sequence[str], k: int) -> Sequence[Sequence[Any]]:
        """Return the k best texts for each question, best first."""
        ...


@dataclass(frozen=True)
class Attached:
    """A memory as a model asks it.

    Args:
        memory: what finds texts; or the texts themselves, all of which are read.
        k: texts to look up at once.
        use_memory: "auto" leaves out what scores below `min_score`; "never" leaves the memory out.
        min_score: lowest score of what "auto" reads.
        max_tokens: tokens of a text that are read; the rest is cut off.

    Raises:
        ValueError: no such decision.
    """

    memory: Lookup | Sequence[str]
    tokenizer: PreTrainedTokenizerBase
    k: int
    use_memory: UseMemory
    min_score: float
    max_tokens: int

    def __post_init__(self) -> None:
        if self.use_memory not in USES_OF_MEMORY:
            raise ValueError(f"use_memory is {self.use_memory!r}; expected one of {', '.join(USES_OF_MEMORY)}.")

    def neighbors(
        self, asked: Sequence[Sequence[Sequence[int]]]
    ) -> Int[Tensor, "batch chunks k neighbor_tokens"] | None:
        """What was found for each piece of token ids, −1 where no token stands; nothing is found for an empty one."""
        if self.use_memory == "never":
            return None
        pieces: list[str] = [self.tokenizer.decode(piece) for row_pieces in asked for piece in row_pieces]
        found = [[self._ids(text) for text in piece_ids] for piece_ids in self._texts(pieces)]
        k, longest = max(map(len, found)), max((len(ids) for piece_ids in found for ids in piece_ids), default=0)
        padded = torch.full((len(found), k, longest), -1)
        for place, piece_ids in enumerate(found):
            for number, ids in enumerate(piece_ids):
                padded[place, number, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        return padded.view(len(asked), len(asked[0]), k, longest)

    def _texts(self, asked: Sequence[str]) -> list[list[str]]:
        if isinstance(self.memory, Sequence):
            return [list(self.memory) if text.strip() else [] for text in asked]
        known = [text for text in asked if text.strip()]
        lowest = self.min_score if self.use_memory == "auto" else float("-inf")
        found = iter(self.memory.retrieve(known, self.k) if known else ())
        return [
            [one.passage.text for one in next(found) if one.score >= lowest] if text.strip() else [] for text in asked
        ]

    @cached_property
    def _read(self) -> Callable[[str], list[int]]:
        return plain_ids(self.tokenizer)

    def _ids(self, text: str) -> list[int]:
        return self._read(text)[: self.max_tokens]
