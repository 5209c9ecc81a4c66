"""Computes the states of entries with the pretrained decoder, after a shared prefix that is read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from memgpt_rag.model.attention import MemoryValues
from memgpt_rag.model.delimiters import Delimiters
from memgpt_rag.model.entry_reading import LayerStates, read_entries, read_prefix
from memgpt_rag.model.layer_kinds import probe_ids
from memgpt_rag.model.states import AttendedMemory, EntryStates, StatesCache, StateShapes
from memgpt_rag.model.whole_cache import StateCache, has_recurrent_layers, recurrent_states, repeated, whole_cache


class StatesWriter:
    """Computes states of entries and keeps the latest.

    Args:
        decoder: a retrofitted decoder, without any adapter: what it computes does not depend on who reads it.
        cache_bytes: limit of the states that are kept.
    """

    def __init__(self, decoder: PreTrainedModel, cache_bytes: int):
        self.decoder = decoder
        # Whether any layer keeps a state in place of its tokens, which padding would change.
        self.is_recurrent = has_recurrent_layers(whole_cache(decoder))
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

    def entry_states(self, entries: Sequence[Sequence[int]], *, batch_size: int = 16) -> list[EntryStates]:
        """States of each entry; see `MemoryDecoder.entry_states`."""
        wanted = [tuple(token_ids) for token_ids in entries]
        if () in wanted:
            raise ValueError(f"Entry {wanted.index(())} has no tokens.")
        cached = {token_ids: self.cache.get(token_ids) for token_ids in wanted}
        found = {token_ids: states for token_ids, states in cached.items() if states is not None}
        missing = sorted((token_ids for token_ids in cached if token_ids not in found), key=len)
        for batch in self._batches(missing, batch_size):
            for token_ids, states in zip(batch, self._compute(batch), strict=True):
                found[token_ids] = states
                self.cache.put(token_ids, states)
        return [found[token_ids] for token_ids in wanted]

    def state_shapes(self, layers: Sequence[int]) -> StateShapes:
        """Return the sizes of the states of an entry in some layers, as those of a few tokens have them."""
        self.layers = tuple(layers)
        return StateShapes.of(self.entry_states([probe_ids(self.decoder)[0].tolist()])[0])

    def read_prefix(self) -> DynamicCache:
        """Return a cache of one row that has seen the prefix and the vectors behind it; gradients flow through it."""
        return read_prefix(self.decoder, self._prefix_ids, self._delimiters)

    @torch.no_grad()
    def prefix_cache(self, rows: int) -> DynamicCache:
        """A cache that has seen the prefix, which is read once."""
        if self._prefix is None:
            self._prefix = self.read_prefix()
        return repeated(self._prefix, rows)

    def begin(self, memory: AttendedMemory, rows: int) -> DynamicCache:
        """Return a cache that has seen the prefix and, in recurrent layers, the entries of each row of the memory.

        Args:
            rows: a multiple of the memory's, where a search keeps several beams a question.
        """
        cache = self.prefix_cache(rows)
        if memory.recurrent and not recurrent_states(cache):
            raise ValueError(
                "Recurrent layers go on from the state after a prefix, and there is none; give prefix_ids."
            )
        if not memory.is_empty and isinstance(cache, StateCache) and not memory.recurrent:
            raise ValueError(
                'With recurrent="prefix", entries do not reach a model without attention; choose "combined".'
            )
        if memory.recurrent:
            beams = rows // len(memory.num_entries)
            has_entries = torch.tensor([count > 0 for count in memory.num_entries]).repeat_interleave(beams)
            for key, present in recurrent_states(cache).items():
                mine = memory.recurrent[key].repeat_interleave(beams, 0).to(present.dtype)
                chosen = has_entries.to(present.device).view(-1, *[1] * (present.dim() - 1))
                present.copy_(torch.where(chosen, mine, present))
        return cache

    @torch.no_grad()
    def read_after_prefix(self, batch: Sequence[tuple[int, ...]]) -> dict[int, LayerStates]:
        """Layer → keys and values of prefix and entries, as `read_entries` gives them, without gradients."""
        return read_entries(self.decoder, self.prefix_cache(len(batch)), batch, self._delimiters)

    def _batches(self, entries: list[tuple[int, ...]], size: int) -> Iterator[list[tuple[int, ...]]]:
        """Yield batches of entries that are read together: with recurrent layers, of one length."""
        alike = [list(item) for _, item in groupby(entries, key=len)] if self.is_recurrent else [entries]
        for group in alike:
            yield from (group[start : start + size] for start in range(0, len(group), size))

    @torch.no_grad()
    def _compute(self, batch: list[tuple[int, ...]]) -> list[EntryStates]:
        before, cache = self.prefix_tokens, self.prefix_cache(len(batch))
        states = read_entries(self.decoder, cache, batch, self._delimiters)
        recurrent = recurrent_states(cache)
        behind = 0 if self._delimiters is None else len(self._delimiters.entry)

        def row_states(part: int, row: int) -> dict[int, Tensor]:
            own = slice(before, before + len(batch[row]) + behind)
            return {layer: states[layer][part][row, :, own].clone() for layer in self._layers}

        return [
            EntryStates(
                row_states(0, row),
                {layer: MemoryValues(values) for layer, values in row_states(1, row).items()},
                {key: state[row].clone() for key, state in recurrent.items()},
            )
            for row in range(len(batch))
        ]

    def _forget(self) -> None:
        self._prefix = None
        self.cache.clear()
