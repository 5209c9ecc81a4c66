"""Tensors with a slot for each row of a batch that changes: rows come and go, and no other row is copied for it.

Slots are filled from the first on. The last row moves into the slot of one that goes, so that the rows of a batch always lie
side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache, DynamicCache, DynamicLayer
from transformers.cache_utils import DummyLayer, LinearAttentionAndFullAttentionLayer, LinearAttentionLayer

from memgpt_rag.errors import ModelError
from memgpt_rag.model.attention import MemoryValues
from memgpt_rag.model.states import AttendedMemory
from memgpt_rag.model.whole_cache import StateCache


class RowSlots:
    """One tensor of shape [slots, heads, tokens, …] whose slots hold rows of different lengths, filled with zeros."""

    def __init__(self, like: Tensor):
        self.tensor = like.new_zeros(0, like.shape[1], 0, *like.shape[3:])

    def put(self, slot: int, row: Tensor) -> None:
        """Write a row of shape [1, heads, tokens, …] into a slot."""
        self.tensor[slot].zero_()
        self.tensor[slot, :, : row.shape[2]] = row[0]

    def move(self, source: int, target: int) -> None:
        """Write the row of one slot into another."""
        self.tensor[target] = self.tensor[source]

    def resize(self, slots: int, tokens: int) -> None:
        """Have room for so many rows and tokens, and for no more."""
        old = self.tensor
        if old.shape[0] == slots and old.shape[2] == tokens:
            return
        self.tensor = old.new_zeros(slots, old.shape[1], tokens, *old.shape[3:])
        kept, width = min(slots, old.shape[0]), min(tokens, old.shape[2])
        self.tensor[:kept, :, :width] = old[:kept, :, :width]


@dataclass(frozen=True)
class _Step:
    """Where the next tokens of rows stand in a forward pass, and where in their slots.

    Attributes:
        row, column, place: of each token; its column in the pass, where a row's last token stands in the last one.
        num_rows: how many rows take part.
        before: tokens of the longest row before the step.
        behind_longest: whether attention sees the next tokens of every row behind the last one of the longest row. Several tokens of a
            shorter row need this: masks count from there which of them come before others.
    """

    row: Int[Tensor, " tokens"]
    column: Int[Tensor, " tokens"]
    place: Int[Tensor, " tokens"]
    num_rows: int
    before: int
    behind_longest: bool

    @classmethod
    def of(cls, lengths: Sequence[int], counts: Sequence[int], device: torch.device) -> _Step:
        """Return the step of rows with so many tokens before it, and so many next ones."""
        most = max(counts)
        tokens = [
            (row, most - counts[row] + one, lengths[row] + one)
            for row in range(len(counts))
            for one in range(counts[row])
        ]
        row, column, place = torch.tensor(tokens, device=device).unbind(1)
        return cls(row, column, place, len(counts), max(lengths), most > 1 and len(counts) > 1)

    def write(self, slots: RowSlots, states: Tensor) -> Tensor:
        """Write the next tokens' states into slots; returns those of all tokens as attention sees them."""
        slots.tensor[self.row, :, self.place] = states[self.row, :, self.column]
        if self.behind_longest:
            return torch.cat([slots.tensor[: self.num_rows, :, : self.before], states], dim=2)
        return slots.tensor[: self.num_rows, :, : self.before + states.shape[2]]


class _LayerSlots(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer: each row's next tokens go behind its own last one."""

    def __init__(self, layer: DynamicLayer):
        DynamicLayer.__init__(self)
        self.key_slots, self.value_slots = RowSlots(layer.keys), RowSlots(layer.values)
        DynamicLayer.lazy_initialization(self, layer.keys, layer.values)
        self.step: _Step | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        assert self.step is not None, "begin_step comes before a forward pass"
        return self.step.write(self.key_slots, key_states), self.step.write(self.value_slots, value_states)

    def get_seq_length(self) -> int:
        return 0 if self.step is None else self.step.before


class _RecurrentSlots(LinearAttentionLayer):  # type: ignore[misc]
    """States of one recurrent layer; the layer writes into those of the rows that take part."""

    def __init__(self, layer: LinearAttentionLayer):
        LinearAttentionLayer.__init__(self, number_of_states=layer.number_of_states)
        for name, value in vars(layer).items():
            if isinstance(value, dict):  # which states there are, and what is known of them
                setattr(self, name, dict(value))
        self.device, self.dtype = layer.device, layer.dtype
        self.state_slots = {key: state.new_zeros(0, *state.shape[1:]) for key, state in _states(layer).items()}

    def put_states(self, slot: int, layer: LinearAttentionLayer) -> None:
        """Write the states of one row into a slot."""
        for key, state in _states(layer).items():
            self.state_slots[key][slot] = state[0]

    def move_states(self, source: int, target: int) -> None:
        """Write the states of one slot into another."""
        for slots in self.state_slots.values():
            slots[target] = slots[source]

    def resize_states(self, slots: int) -> None:
        """Have room for so many rows."""
        for key, old in self.state_slots.items():
            self.state_slots[key] = old.new_zeros(slots, *old.shape[1:])
            kept = min(slots, len(old))
            self.state_slots[key][:kept] = old[:kept]

    def show_states(self, rows: int) -> None:
        """Have the layer see the first rows."""
        for (kind, place), slots in self.state_slots.items():
            getattr(self, kind)[place] = slots[:rows]


class _BothSlots(_RecurrentSlots, _LayerSlots):
    """Slots of one layer that attends and recurs."""

    def __init__(self, layer: LinearAttentionAndFullAttentionLayer):
        _LayerSlots.__init__(self, layer)
        _RecurrentSlots.__init__(self, layer)


def _states(layer: LinearAttentionLayer) -> dict[tuple[str, int], Tensor]:
    states = {kind: getattr(layer, kind) for kind in ("conv_states", "recurrent_states")}
    return {(kind, place): one for kind, item in states.items() for place, one in item.items() if one is not None}


def _slots_like(layer: Any) -> Any:
    """Return slots for the rows of a layer; the layer itself where it keeps nothing.

    Raises:
        ModelError: it keeps something that rows of different lengths cannot share.
    """
    if type(layer) is LinearAttentionAndFullAttentionLayer:
        return _BothSlots(layer)
    if type(layer) is LinearAttentionLayer:
        return _RecurrentSlots(layer)
    if type(layer) is DynamicLayer:
        return _LayerSlots(layer) if layer.is_initialized else layer
    if type(layer) is DummyLayer:
        return layer
    raise ModelError(
        f"Rows of a batch that changes cannot share a cache of type {type(layer).__name__}; answer with `generate` instead."
    )


class CacheSlots:
    """The cache of a batch that changes; each row is filled from the left, and its length is its own.

    Raises:
        ModelError: the decoder keeps something that rows of different lengths cannot share.
    """

    def __init__(self, like: DynamicCache):
        if hasattr(like, "linear_cache"):
            raise ModelError(
                "Rows of a batch that changes cannot share MiniMax's cache; answer with `generate` instead."
            )
        self._layers = [_slots_like(layer) for layer in like.layers]
        self.cache = Cache(layers=self._layers)
        if isinstance(like, StateCache):
            self.cache = StateCache()
            self.cache.layers = self._layers

    @property
    def _attending(self) -> list[_LayerSlots]:
        return [layer for layer in self._layers if isinstance(layer, _LayerSlots)]

    @property
    def _recurrent(self) -> list[_RecurrentSlots]:
        return [layer for layer in self._layers if isinstance(layer, _RecurrentSlots)]

    @property
    def _slots(self) -> list[RowSlots]:
        return [slots for layer in self._attending for slots in (layer.key_slots, layer.value_slots)]

    @property
    def _tensors(self) -> list[Tensor]:
        states = [state for layer in self._recurrent for state in layer.state_slots.values()]
        return [one.tensor for one in self._slots] + states

    @property
    def num_bytes(self) -> int:
        """Bytes of all slots."""
        return sum(one.nbytes for one in self._tensors)

    def resize(self, slots: int, tokens: int) -> None:
        """Have room for so many rows and tokens."""
        for one in self._slots:
            one.resize(slots, tokens)
        for layer in self._recurrent:
            layer.resize_states(slots)

    def put(self, slot: int, cache: DynamicCache) -> None:
        """Write the cache of one row into a slot."""
        for mine, layer in zip(self._layers, cache.layers, strict=True):
            if isinstance(mine, _LayerSlots):
                mine.key_slots.put(slot, layer.keys)
                mine.value_slots.put(slot, layer.values)
            if isinstance(mine, _RecurrentSlots):
                mine.put_states(slot, layer)

    def move(self, source: int, target: int) -> None:
        """Write the row of one slot into another."""
        for one in self._slots:
            one.move(source, target)
        for layer in self._recurrent:
            layer.move_states(source, target)

    @property
    def can_take_back(self) -> bool:
        """Whether the latest tokens of a row leave nothing behind but places that the next ones are written to."""
        return not self._recurrent

    def begin_step(self, lengths: Sequence[int], counts: Sequence[int]) -> Tensor:
        """Return which places hold a token, once each row has its next ones: the mask of the step.

        Args:
            lengths: tokens of each row before the step.
            counts: tokens of each row in the step, which stand in the last columns of the pass.
        """
        device = self._tensors[0].device
        step = _Step.of(lengths, counts, device)
        for layer in self._attending:
            layer.step = step
        for recurrent in self._recurrent:
            recurrent.show_states(len(lengths))
        before, new = torch.tensor(lengths, device=device)[:, None], torch.tensor(counts, device=device)[:, None]
        most = max(counts)
        if not step.behind_longest:
            return (torch.arange(step.before + most, device=device) < before + new).long()
        earlier = torch.arange(step.before, device=device) < before
        return torch.cat([earlier, torch.arange(most, device=device) >= most - new], dim=1).long()


class MemorySlots:
    """The memories of the rows of a batch that changes.

    Values may be numbers in some rows and int8 codes in others: once both are there, all are numbers with scales, of which those
    that were numbers have 1.
    """

    def __init__(self) -> None:
        self._keys: dict[int, RowSlots] = {}
        self._codes: dict[int, RowSlots] = {}
        self._scales: dict[int, RowSlots] = {}
        self._size = 0, 0

    @property
    def num_bytes(self) -> int:
        """Bytes of all slots."""
        return sum(one.tensor.nbytes for one in self._all())

    def resize(self, slots: int, tokens: int) -> None:
        """Have room for so many rows and tokens."""
        self._size = slots, tokens
        for one in self._all():
            one.resize(*self._size)

    def put(self, slot: int, memory: AttendedMemory) -> None:
        """Write the memory of one row into a slot; a row without entries leaves what is there, which it does not see."""
        if memory.is_empty:
            return
        for layer, key in memory.keys.items():
            value = memory.values[layer]
            self._make_room(layer, key, value)
            self._keys[layer].put(slot, key)
            self._codes[layer].put(slot, value.codes)
            if layer in self._scales:
                scales = torch.ones(value.codes.shape[:3]) if value.scales is None else value.scales
                self._scales[layer].put(slot, scales)

    def move(self, source: int, target: int) -> None:
        """Write the row of one slot into another."""
        for one in self._all():
            one.move(source, target)

    def attended(self, rows: Sequence[AttendedMemory]) -> AttendedMemory:
        """Return the memory of all rows, which lie in the first slots."""
        width, count = self._size[1], len(rows)

        def padded(name: str) -> Tensor:
            tensors: list[Tensor] = [getattr(row, name)[0] for row in rows]
            stacked = tensors[0].new_zeros(count, width)
            for one, tensor in zip(stacked, tensors, strict=True):
                one[: len(tensor)] = tensor
            return stacked

        return AttendedMemory(
            keys={layer: slots.tensor[:count] for layer, slots in self._keys.items()},
            values={layer: self._values(layer, count) for layer in self._codes},
            position=padded("position"),
            entry_of_token=padded("entry_of_token"),
            present=padded("present"),
            bias=padded("bias"),
            gap=torch.cat([row.gap for row in rows]),
            num_entries=tuple(row.num_entries[0] for row in rows),
            prefix_tokens=rows[0].prefix_tokens,
        )

    def _values(self, layer: int, count: int) -> MemoryValues:
        scales = self._scales[layer].tensor[:count] if layer in self._scales else None
        return MemoryValues(self._codes[layer].tensor[:count], scales)

    def _all(self) -> list[RowSlots]:
        return [*self._keys.values(), *self._codes.values(), *self._scales.values()]

    def _make_room(self, layer: int, key: Tensor, value: MemoryValues) -> None:
        """See that a layer has slots of the row's kind."""
        if layer not in self._keys:
            self._keys[layer], self._codes[layer] = RowSlots(key), RowSlots(value.codes)
            if value.scales is not None:
                self._scales[layer] = RowSlots(value.scales)
        elif value.scales is not None and layer not in self._scales:
            self._scales[layer] = RowSlots(value.scales)
            self._scales[layer].resize(*self._size)
            self._scales[layer].tensor.fill_(1)
        codes = self._codes[layer]
        codes.tensor = codes.tensor.to(torch.promote_types(codes.tensor.dtype, value.codes.dtype))
        for one in (self._keys, self._codes, self._scales):
            if layer in one:
                one[layer].resize(*self._size)


def side_by_side(memories: Sequence[AttendedMemory]) -> AttendedMemory:
    """Return the memory of a batch, of memories of one row each."""
    slots = MemorySlots()
    slots.resize(len(memories), max(memory.present.shape[1] for memory in memories))
    for slot, memory in enumerate(memories):
        slots.put(slot, memory)
    return slots.attended(memories)
