"""States: the keys and values that the language model itself computes for an entry's tokens, and how a batch of
questions gets to see those of its own entries. Knows tensors; knows neither text nor files.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memgpt_rag.limits import MOST_TRACED_WEIGHTS
from memgpt_rag.model.attention import MemoryValues, MemoryWeights
from memgpt_rag.model.picture_inputs import PictureInputs
from memgpt_rag.model.whole_cache import StateKey


@dataclass(frozen=True)
class EntryStates:
    """States of one entry.

    Attributes:
        keys, values: layer → numbers of shape [kv_heads, tokens, head_dim]; keys are rotated already.
        recurrent: states of recurrent layers after prefix and entry.
    """

    keys: dict[int, Tensor]
    values: dict[int, MemoryValues]
    recurrent: dict[StateKey, Tensor] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        """Tokens of the entry."""
        return int(next(iter(self.keys.values())).shape[1])

    @property
    def num_bytes(self) -> int:
        """Bytes that keys and values take in memory."""
        tensors = chain(self.keys.values(), *self.values.values(), self.recurrent.values())
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


@dataclass(frozen=True)
class StateShapes:
    """Sizes of the states of one entry, which layers may differ in.

    Attributes:
        layers: layer → heads of its keys and values, and the widths of a key and of a value.
        recurrent: shape of each state of a recurrent layer.
    """

    layers: dict[int, tuple[int, int, int]]
    recurrent: dict[StateKey, tuple[int, ...]]

    @classmethod
    def of(cls, states: EntryStates) -> StateShapes:
        """Return the sizes of the states of an entry."""
        layers = {
            layer: (keys.shape[0], keys.shape[2], states.values[layer].codes.shape[2])
            for layer, keys in states.keys.items()
        }
        return cls(layers, {key: tuple(state.shape) for key, state in states.recurrent.items()})

    @property
    def heads(self) -> int:
        """Return the most heads of a layer."""
        return max(heads for heads, _, _ in self.layers.values())

    @property
    def width(self) -> int:
        """Return the largest width of a key or value."""
        return max(max(key, value) for _, key, value in self.layers.values())

    def extra_rows(self, layers: int) -> int:
        """Return how many rows the states of recurrent layers fill, each as large as those of a token in so many layers."""
        numbers = sum(math.prod(shape) for shape in self.recurrent.values())
        return -(-numbers // (layers * 2 * self.heads * self.width))


class StatesCache:
    """States by the entry's token ids, bounded in bytes; the least recently used go first."""

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._states: OrderedDict[tuple[int, ...], EntryStates] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def get(self, token_ids: tuple[int, ...]) -> EntryStates | None:
        states = self._states.get(token_ids)
        if states is not None:
            self._states.move_to_end(token_ids)
        return states

    def put(self, token_ids: tuple[int, ...], states: EntryStates) -> None:
        self._states[token_ids] = states
        self.num_bytes += states.num_bytes
        while self.num_bytes > self.max_bytes:
            _, oldest = self._states.popitem(last=False)
            self.num_bytes -= oldest.num_bytes

    def clear(self) -> None:
        """Forget all states."""
        self._states.clear()
        self.num_bytes = 0


@dataclass
class AttendedMemory:
    """What a batch of questions attends to: the states of each row's entries, side by side and padded.

    All entries of a row sit at the same positions, right after the shared prefix, so that their order means nothing;
    the row's question starts after its longest entry, `gap` positions behind the prefix. `recurrent` holds the states of
    recurrent layers that the question goes on from, for rows with entries; `pictures`, what the pictures in the question of a single row
    are read with. `on_weights` is given the weights of every layer as
    they come, with their gradient. Of each forward pass the weights of the last query are noted; of the last `recorded_queries`,
    where several tokens of an answer are read at once, as if each had been read by a pass of its own.
    """

    keys: dict[int, Tensor]
    values: dict[int, MemoryValues]
    position: Int[Tensor, "batch tokens"]
    entry_of_token: Int[Tensor, "batch tokens"]
    present: Bool[Tensor, "batch tokens"]
    bias: Float[Tensor, "batch tokens"]
    gap: Int[Tensor, " batch"]
    num_entries: tuple[int, ...]
    prefix_tokens: int
    recurrent: dict[StateKey, Float[Tensor, "rows ..."]] = field(default_factory=dict)
    pictures: PictureInputs | None = None
    on_weights: Callable[[Float[Tensor, "rows heads queries tokens"]], object] | None = None
    recorded_queries: int = 1
    # Of the last queries: forward passes that are not averaged over layers and heads yet, layer by layer, and those that are.
    _given: list[list[MemoryWeights]] = field(default_factory=list)
    _averaged: list[Float[Tensor, "rows tokens"]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether no question has any entry."""
        return sum(self.num_entries) == 0

    def local_position(self, present: Bool[Tensor, "rows locals"]) -> Int[Tensor, "rows locals"]:
        """Positions of prefix and question tokens: they count the tokens that are present, and jump over the memory."""
        index = (present.long().cumsum(-1) - 1).clamp(min=0)
        gap = self.gap.repeat_interleave(present.shape[0] // len(self.num_entries))[:, None]
        return index + gap * (index >= self.prefix_tokens)

    def place(
        self,
        input_ids: Int[Tensor, "rows tokens"],
        attention_mask: Int[Tensor, "rows seen"] | None = None,
        *,
        first_position: int = 0,
        seen: int = 0,
    ) -> dict[str, Tensor]:
        """Return ids, mask and positions of tokens that follow prefix, memory and `seen` earlier tokens, as a decoder takes them.

        Args:
            attention_mask: 0 for padding; without the prefix.
            first_position: that of the prefix's first token.

        Raises:
            ValueError: the memory is for another number of rows.
        """
        rows, tokens = input_ids.shape
        if len(self.num_entries) != rows:
            raise ValueError(
                f"The memory is for {len(self.num_entries)} rows and there are {rows}; make one per batch."
            )
        if attention_mask is None:
            attention_mask = input_ids.new_ones(rows, seen + tokens)
        mask = torch.cat([attention_mask.new_ones(rows, self.prefix_tokens), attention_mask], dim=1)
        position = first_position + self.local_position(mask.bool())[:, -tokens:]
        placed = {"input_ids": input_ids, "attention_mask": mask, "position_ids": position}
        return placed if self.pictures is None else placed | self.pictures.placed(position, seen)

    def add_mass(self, layer: int, given: MemoryWeights) -> None:
        """Note what the last queries of a forward pass gave to memory in one layer."""
        if self.on_weights is not None:
            self.on_weights(given.dense(self.present.shape[1]))
        if layer == min(self.keys):
            self._given.append([])
        tokens = None if given.tokens is None else given.tokens[:, :, -self.recorded_queries :]
        self._given[-1].append(MemoryWeights(given.weights[:, :, -self.recorded_queries :].detach(), tokens))

    def token_mass(self, row: int, passes: int | None = None) -> Float[Tensor, "passes beams tokens"]:
        """What the last query of each forward pass gave to each token of a row's entries, side by side.

        Each weight is the mean over the layers that attend to memory and over their heads.

        Args:
            passes: how many forward passes count; None for all. The first one reads the question and chooses the first token.
        """
        rows, here = len(self.num_entries), self.present[row]
        counted = [pass_weights.view(rows, -1, len(here))[row][:, here] for pass_weights in self._passes()[:passes]]
        return torch.stack(counted).cpu() if counted else torch.zeros(0, 1, int(here.sum()))

    def add_pass(self, weights: Float[Tensor, "rows tokens"]) -> None:
        """Note the weights of a forward pass that these rows shared with others, averaged over layers and heads."""
        self._passes().append(weights)

    def take_passes(self) -> list[Float[Tensor, "rows tokens"]]:
        """Return the weights of the forward passes so far, averaged over layers and heads, and forget them."""
        passes, self._averaged = self._passes(), []
        return passes

    def drop_passes(self, count: int) -> None:
        """Forget the weights of the latest forward passes."""
        passes = self._passes()
        del passes[max(0, len(passes) - count) :]

    def _passes(self) -> list[Float[Tensor, "rows tokens"]]:
        """Average what has not been averaged yet."""
        for layer_weights in self._given:
            width = self.present.shape[1]
            query_weights = torch.stack([one.dense(width).mean(1) for one in layer_weights]).mean(0)
            self._averaged.extend(query_weights.unbind(1))
        self._given.clear()
        return self._averaged

    def entry_mass(self, steps: Sequence[int] | None = None) -> list[list[float]]:
        """Attention mass of each entry, averaged over the layers that attend to memory and over forward passes.

        Args:
            steps: how many forward passes count in each row; None for all. The first one reads the question.
        """
        masses = []
        for row, count in enumerate(self.num_entries):
            total = torch.zeros(count)
            given = self.token_mass(row, None if steps is None else steps[row])
            if len(given):
                total.index_add_(0, self.entry_of_token[row, self.present[row]].cpu(), given.mean((0, 1)))
            masses.append(total.tolist())
        return masses

    def answer_attention(self, row: int, tokens: int) -> list[Float[Tensor, "answer_tokens entry_tokens"]] | None:
        """What each token of a row's answer gave to each token of each entry, as `token_mass`.

        Args:
            tokens: how many tokens the answer has.

        Returns:
            One tensor per entry; None where forward passes and answer tokens do not pair, as with beams and assisted generation,
            and where there are more than `memgpt_rag.limits` allow.
        """
        if tokens * int(self.present[row].sum()) > MOST_TRACED_WEIGHTS:
            return None
        given = self.token_mass(row, tokens)
        if len(given) != tokens or given.shape[1] != 1:
            return None
        lengths = torch.bincount(self.entry_of_token[row, self.present[row]], minlength=self.num_entries[row])
        return list(torch.split(given[:, 0], lengths.tolist(), dim=1))


def batch_memory(
    rows: Sequence[Sequence[EntryStates]],
    scores: Sequence[Sequence[float]],
    *,
    prefix_tokens: int,
    layers: Sequence[int],
    score_bias: float,
    recurrent_bias: float | None = None,
) -> AttendedMemory:
    """Stack the states of each row's entries.

    Args:
        rows: the entries of each row; rows may differ in number and may be empty.
        scores: one retrieval score per entry; only differences within a row matter.
        layers: the layers whose attention sees memory.
        score_bias: β, logits per unit of score.
        recurrent_bias: β of `combined_states`; None to leave recurrent layers with the state after the prefix.

    Raises:
        ValueError: entries and scores do not pair.
    """
    if [len(entries) for entries in rows] != [len(row_scores) for row_scores in scores]:
        counts = [len(entries) for entries in rows], [len(row_scores) for row_scores in scores]
        raise ValueError(f"Rows have {counts[0]} entries and {counts[1]} scores; give one score per entry.")
    lengths = [[entry.num_tokens for entry in entries] for entries in rows]
    width = max((sum(row_lengths) for row_lengths in lengths), default=0)
    position, entry_of_token = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(2))
    present, bias = torch.zeros(len(rows), width, dtype=torch.bool), torch.zeros(len(rows), width)
    for row, row_lengths in enumerate(lengths):
        if not row_lengths:
            continue
        end, tokens = sum(row_lengths), torch.tensor(row_lengths)
        relative = torch.tensor([score - max(scores[row]) for score in scores[row]])
        position[row, :end] = prefix_tokens + torch.cat([torch.arange(length) for length in row_lengths])
        entry_of_token[row, :end] = torch.repeat_interleave(torch.arange(len(row_lengths)), tokens)
        bias[row, :end] = torch.repeat_interleave(score_bias * relative, tokens)
        present[row, :end] = True
    some = next(chain.from_iterable(rows), None)
    device = some.keys[layers[0]].device if some is not None else torch.device("cpu")
    return AttendedMemory(
        keys={layer: _pad([[entry.keys[layer] for entry in entries] for entries in rows], width) for layer in layers},
        values={
            layer: _pad_values([[entry.values[layer] for entry in entries] for entries in rows], width)
            for layer in layers
        },
        position=position.to(device),
        entry_of_token=entry_of_token.to(device),
        present=present.to(device),
        bias=bias.to(device),
        gap=torch.tensor([max(row_lengths, default=0) for row_lengths in lengths], device=device),
        num_entries=tuple(len(entries) for entries in rows),
        prefix_tokens=prefix_tokens,
        recurrent={} if recurrent_bias is None else combined_states(rows, scores, recurrent_bias),
    )


def combined_states(
    rows: Sequence[Sequence[EntryStates]], scores: Sequence[Sequence[float]], score_bias: float
) -> dict[StateKey, Float[Tensor, "rows ..."]]:
    """Return the states that recurrent layers go on from: S_prefix + Σ w_p (S_p − S_prefix) = Σ w_p S_p, of weights that sum to 1.

    Weights are the softmax of β times the scores. A convolution takes its last inputs from the best entry, since inputs of different
    entries do not add up.

    Args:
        rows: the entries of each row; zeros stand for a row without entries.
        score_bias: β.
    """
    some = next(chain.from_iterable(rows), None)
    combined: dict[StateKey, Tensor] = {}
    for key, like in (some.recurrent if some is not None else {}).items():
        combined[key] = like.new_zeros(len(rows), *like.shape)
        for row, (entries, entry_scores) in enumerate(zip(rows, scores, strict=True)):
            if not entries:
                continue
            weights = (score_bias * torch.tensor(entry_scores)).softmax(0).tolist()
            if key[1] == "conv":
                best = entry_scores.index(max(entry_scores))
                combined[key][row] = entries[best].recurrent[key]
            else:
                for weight, entry in zip(weights, entries, strict=True):
                    combined[key][row] += weight * entry.recurrent[key]
    return combined


def _pad_values(rows: list[list[MemoryValues]], width: int) -> MemoryValues:
    codes = _pad([[piece.codes for piece in pieces] for pieces in rows], width)
    scales = [[piece.scales for piece in pieces if piece.scales is not None] for pieces in rows]
    return MemoryValues(codes, _pad(scales, width).float() if any(scales) else None)


def _pad(rows: list[list[Tensor]], width: int) -> Tensor:
    """Each row's [kv_heads, tokens, …] pieces joined along tokens, padded with zeros to `width`."""
    some = next(chain.from_iterable(rows), None)
    if some is None:
        return torch.zeros(len(rows), 1, 0, 1)
    if len(rows) == 1:
        return torch.cat(rows[0], dim=1).unsqueeze(0)
    stacked = some.new_zeros(len(rows), some.shape[0], width, *some.shape[2:])
    for row, pieces in enumerate(rows):
        if pieces:
            joined = torch.cat(pieces, dim=1)
            stacked[row, :, : joined.shape[1]] = joined
    return stacked
