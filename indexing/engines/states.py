"""Computes the states of entries in the form in which they are stored, in any process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from memgpt_rag.choices import StatesType
from memgpt_rag.memory.storage.states import Codes, encode
from memgpt_rag.model.stored import to_array

if TYPE_CHECKING:
    from memgpt_rag.model import MemoryDecoder

TokenIds = tuple[int, ...]
# Computes the states of the entries in each block, and yields them in stored form, entry by entry.
StatesOf = Callable[[Iterable[list[TokenIds]]], Iterator[Codes]]


def states_of(model: MemoryDecoder, dtype: StatesType, blocks: Iterable[list[TokenIds]]) -> Iterator[Codes]:
    """Yield the states of the entries in each block; the entries of a block are computed together."""
    for block in blocks:
        for states in model.states_of(block):
            yield encode(to_array(states, model), dtype)
