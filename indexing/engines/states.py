"""Computes the states of entries in the form in which they are stored, in any process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from memgpt_rag.memory.storage.states import StatesShape
from memgpt_rag.model.stored import to_array
from memgpt_rag.state_codes import Codes, encode, stored_rounding

if TYPE_CHECKING:
    from memgpt_rag.fingerprint import StatesFingerprint
    from memgpt_rag.model import MemoryDecoder

TokenIds = tuple[int, ...]
# Computes the states of the entries in each block, and yields them in stored form, entry by entry.
StatesEncoder = Callable[[Iterable[list[TokenIds]]], Iterator[Codes]]


def encoded_states(
    model: MemoryDecoder, fingerprint: StatesFingerprint, blocks: Iterable[list[TokenIds]]
) -> Iterator[Codes]:
    """Yield the states of the entries in each block, as they are stored under a fingerprint; a block is computed together."""
    dtype, rounding = StatesShape.of(fingerprint).dtype, stored_rounding(fingerprint)
    for block in blocks:
        for states in model.entry_states(block):
            yield encode(to_array(states, model), dtype, rounding)
