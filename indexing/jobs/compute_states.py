"""Computes the states of a memory's entries with the language model that will read them, and stores them in the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.engines.states import StatesEncoder, TokenIds, encoded_states
from memgpt_rag.choices import StatesType
from memgpt_rag.errors import MismatchError
from memgpt_rag.io.console import progress_bar
from memgpt_rag.memory import Memory, add_states
from memgpt_rag.memory.storage.states import StatesShape
from memgpt_rag.model.stored import states_fingerprint
from memgpt_rag.state_codes import Codes

if TYPE_CHECKING:
    from memgpt_rag.fingerprint import StatesFingerprint
    from memgpt_rag.model import MemoryDecoder

# Entries that are computed together, sorted by length, so that batches have little padding.
_BLOCK = 128


def compute_states(
    folder: Path,
    model: MemoryDecoder,
    *,
    dtype: StatesType = "int8",
    elsewhere: Callable[[StatesFingerprint], AbstractContextManager[StatesEncoder]] | None = None,
    progress: bool = False,
) -> int:
    """Compute and store the states of every entry, in the layers in which the model attends to memory.

    Args:
        folder: folder of a memory. States that this model computed before are kept, so that only later entries are computed;
            those of another model or type are replaced when all new ones are stored.
        elsewhere: computes the states in other processes, given the model's fingerprint; None for this process.

    Returns:
        The size of the computed states in bytes.

    Raises:
        MemoryFormatError: the folder holds no memory, or a damaged one.
        BusyError: another job is writing there.
        ModelError: the model's states cannot be stored.
    """
    memory, prompt = Memory.open(folder), model.prompt
    model.prefix_ids = prompt.prefix_ids
    fingerprint, tokens = _fingerprint(memory, model, dtype), 0

    def lengths(rows: Iterable[int]) -> list[int]:
        nonlocal tokens
        token_counts = [
            model.stored_rows(prompt.entry_ids(passage)) for row in rows for passage in memory.passages([row])
        ]
        tokens += sum(token_counts)
        return token_counts

    def blocks(rows: Sequence[int]) -> Iterator[list[TokenIds]]:
        for start in range(0, len(rows), _BLOCK):
            yield [prompt.entry_ids(passage) for passage in memory.passages(rows[start : start + _BLOCK])]

    with (
        nullcontext(partial(encoded_states, model, fingerprint))
        if elsewhere is None
        else elsewhere(fingerprint) as read
    ):

        def states(rows: Sequence[int]) -> Iterator[Codes]:
            entries = read(blocks(rows))
            return iter(progress_bar(iterable=entries, desc="states", total=len(rows), unit=" entries", shown=progress))

        add_states(memory, fingerprint, lengths, states)
    return tokens * StatesShape.of(fingerprint).bytes_per_token


def _fingerprint(memory: Memory, model: MemoryDecoder, dtype: StatesType) -> StatesFingerprint:
    """Return the fingerprint of the stored states if this model computed them with the same type; else a new one."""
    stored, own = memory.manifest.states, states_fingerprint(model, dtype=dtype)
    if stored is not None and (stored.layers, stored.dtype) == (own.layers, own.dtype):
        try:
            stored.require_match(own)
        except MismatchError:
            return own
        return stored
    return own
