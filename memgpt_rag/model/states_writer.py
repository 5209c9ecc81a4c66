"""Computes the states of entries with the pretrained decoder, after a shared prefix that is read once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from memgpt_rag.model.attention import MemoryValues
from memgpt_rag.model.delimiters import Delimiters
from memgpt_rag.model.entry_reading import LayerStates, read_entries, read_prefix
from memgpt_rag.model.states import EntryStates, StatesCache
from memgpt_rag.model.whole_cache import repeated


class StatesWriter:
    """Computes states of entries and keeps the latest.

    Args:
        decoder: a retrofitted decoder, without any adapter: what it computes does not depend on who reads it.
        cache_bytes: limit of the states that are kept.
    """

    def __init__(self, decoder: PreTrainedModel, cache_bytes: int):
        self.decoder = decoder
        self.cache = StatesCache(cache_bytes)
        self._prefix_ids: tuple[int, ...] = ()
        self._delimiters: Delimiters | None = None
        self._prefix: DynamicCache | None = None
        self._layers: tuple[int, ...] = ()

    @property
    def prefix_ids(self) -> tuple[int, ...]:
        """Tokens before every entry and question. Setting them forgets all states, which were read after the old ones."""
        return self._prefix_ids

    @prefix_ids.setter
    def prefix_ids(self, prefix_ids: Sequence[int]) -> None:
        self._prefix_ids = tuple(prefix_ids)
        self._forget()

    @property
    def delimiters(self) -> Delimiters | None:
        """Trained vectors behind the prefix and behind every entry. Setting them forgets all states."""
        return self._delimiters

    @delimiters.setter
    def delimiters(self, delimiters: Delimiters | None) -> None:
        self._delimiters = delimiters
        self._forget()

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers whose states are kept. Setting others forgets all states."""
        return self._layers

    @layers.setter
    def layers(self, layers: Sequence[int]) -> None:
        if set(layers) != set(self._layers):
            self.cache.clear()
        self._layers = tuple(layers)

    @property
    def prefix_tokens(self) -> int:
        """Positions of the prefix: its tokens, and the vectors behind them."""
        return len(self._prefix_ids) + (0 if self._delimiters is None else len(self._delimiters.prefix))

    def states_of(self, entries: Sequence[Sequence[int]], *, batch_size: int = 16) -> list[EntryStates]:
        """States of each entry; see `MemoryDecoder.states_of`."""
        wanted = [tuple(token_ids) for token_ids in entries]
        if () in wanted:
            raise ValueError(f"Entry {wanted.index(())} has no tokens.")
        cached = {token_ids: self.cache.get(token_ids) for token_ids in wanted}
        found = {token_ids: states for token_ids, states in cached.items() if states is not None}
        missing = sorted((token_ids for token_ids in cached if token_ids not in found), key=len)
        for start in range(0, len(missing), batch_size):
            batch = missing[start : start + batch_size]
            for token_ids, states in zip(batch, self._compute(batch), strict=True):
                found[token_ids] = states
                self.cache.put(token_ids, states)
        return [found[token_ids] for token_ids in wanted]

    def read_prefix(self) -> DynamicCache:
        """Return a cache of one row that has seen the prefix and the vectors behind it; gradients flow through it."""
        return read_prefix(self.decoder, self._prefix_ids, self._delimiters)

    @torch.no_grad()
    def prefix_cache(self, rows: int) -> DynamicCache:
        """A cache that has seen the prefix, which is read once."""
        if self._prefix is None:
            self._prefix = self.read_prefix()
        return repeated(self._prefix, rows)

    @torch.no_grad()
    def read_after_prefix(self, batch: Sequence[tuple[int, ...]]) -> dict[int, LayerStates]:
        """Layer → keys and values of prefix and entries, as `read_entries` gives them, without gradients."""
        return read_entries(self.decoder, self.prefix_cache(len(batch)), batch, self._delimiters)

    def _compute(self, batch: list[tuple[int, ...]]) -> list[EntryStates]:
        before, states = self.prefix_tokens, self.read_after_prefix(batch)
        behind = 0 if self._delimiters is None else len(self._delimiters.entry)

        def row_states(part: int, row: int) -> dict[int, Tensor]:
            own = slice(before, before + len(batch[row]) + behind)
            return {layer: states[layer][part][row, :, own].clone() for layer in self._layers}

        return [
            EntryStates(
                row_states(0, row), {layer: MemoryValues(values) for layer, values in row_states(1, row).items()}
            )
            for row in range(len(batch))
        ]

    def _forget(self) -> None:
        self._prefix = None
        self.cache.clear()
