"""Computes the states of a memory's entries with the language model that will read them, and stores them beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from memgpt_rag.memory import Memory, StatesType, add_states
from memgpt_rag.memory.states import StatesShape
from memgpt_rag.model.stored import states_fingerprint, to_array
from memgpt_rag.prompt import Prompt

if TYPE_CHECKING:
    from memgpt_rag.model import MemoryDecoder

# Entries that are read together, the shortest first, so that little of a batch is padding.
_BLOCK = 128


def compute_states(folder: Path, model: MemoryDecoder, *, dtype: StatesType = "int8", progress: bool = False) -> int:
    """Store the states of every entry, in the layers in which the model attends to memory.

    Args:
        folder: of a memory; states that it had are replaced when all new ones are there.

    Returns:
        Bytes of the states.

    Raises:
        MemoryFormatError: no memory there, or a damaged one.
        ModelError: the model's states cannot be stored.
    """
    memory, prompt = Memory.open(folder), Prompt(model.tokenizer)
    model.prefix_ids = prompt.prefix_ids
    fingerprint = states_fingerprint(model, dtype=dtype)
    blocks = [range(start, min(start + _BLOCK, len(memory))) for start in range(0, len(memory), _BLOCK)]
    lengths = [len(prompt.entry_ids(passage)) for block in blocks for passage in memory.passages(block)]

    def states() -> Iterator[np.ndarray]:
        with tqdm(total=len(memory), desc="states", unit=" entries", disable=None if progress else True) as bar:
            for block in blocks:
                of_block = model.states_of([prompt.entry_ids(passage) for passage in memory.passages(block)])
                yield from map(to_array, of_block)
                bar.update(len(block))

    add_states(folder, fingerprint, lengths, states())
    return sum(lengths) * StatesShape.of(fingerprint).bytes_per_token
