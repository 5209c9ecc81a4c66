"""The states of entries, as they are stored, wherever they are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from memgpt_rag.choices import StatesType
from memgpt_rag.memory.storage.states import Codes, encode
from memgpt_rag.model.stored import to_array

if TYPE_CHECKING:
    from memgpt_rag.model import MemoryDecoder

TokenIds = tuple[int, ...]
# Gives the states of the entries in one block after another, as they are stored, entry by entry.
StatesOf = Callable[[Iterable[list[TokenIds]]], Iterator[Codes]]


def states_of(model: MemoryDecoder, dtype: StatesType, blocks: Iterable[list[TokenIds]]) -> Iterator[Codes]:
    """States of the entries in each block, read together."""
    for block in blocks:
        for states in model.states_of(block):
            yield encode(to_array(states), dtype)
