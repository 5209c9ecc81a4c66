"""Caches of transformers that keep every token, whose rows can be repeated, and the states of their recurrent layers."""

from __future__ import annotations

import copy
import sys
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, DynamicLayer, PreTrainedModel
from transformers.cache_utils import (
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionCacheLayerMixin,
    LinearAttentionLayer,
)

# A state of a recurrent layer: the layer, "conv" or "recurrent", and its number among those of the layer.
StateKey = tuple[int, str, int]


class StateCache(DynamicCache):  # type: ignore[misc]
    """A cache of recurrent layers alone, which counts the tokens that it has seen."""

    seen = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens it has seen."""
        return self.seen


def as_argument(cache: DynamicCache) -> dict[str, DynamicCache]:
    """Return a cache under the name by which `generate` of transformers takes it."""
    return {"cache_params" if isinstance(cache, StateCache) else "past_key_values": cache}


def whole_cache(decoder: PreTrainedModel) -> DynamicCache:
    """Return an empty cache that keeps every token: with memory, windows go by position, not by place in the cache."""
    own = getattr(sys.modules[type(decoder).__module__], "MiniMaxCache", None)
    if own is not None:
        empty: DynamicCache = own()
        return empty
    cache = DynamicCache(config=decoder.config)
    if all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers):
        return DynamicCache()  # grows with the layers that store anything in it
    if all(type(layer) is LinearAttentionLayer for layer in cache.layers):
        return StateCache(config=decoder.config)
    cache.layers = [_whole(layer) for layer in cache.layers]
    return cache


def _whole(layer: Any) -> Any:
    if type(layer) is DynamicSlidingWindowLayer:
        return DynamicLayer()
    if type(layer) is LinearAttentionAndSlidingWindowAttentionLayer:
        return LinearAttentionAndFullAttentionLayer(layer.number_of_states)
    return layer


def repeated(cache: DynamicCache, rows: int) -> DynamicCache:
    """Return a cache with the one row of another in all of its rows; gradients flow through it."""
    copied = copy.copy(cache)
    copied.layers = [_repeated(layer, rows) for layer in cache.layers]
    if hasattr(cache, "linear_cache"):
        copied.linear_cache = [_own(one, rows) for one in cache.linear_cache]
    return copied


def _repeated(layer: Any, rows: int) -> Any:
    copied = copy.copy(layer)
    if isinstance(layer, DynamicLayer) and layer.is_initialized:
        copied.keys, copied.values = (item.expand(rows, *item.shape[1:]) for item in (layer.keys, layer.values))
        if (indexed := getattr(layer, "indexer_keys", None)) is not None:
            copied.indexer_keys = indexed.expand(rows, *indexed.shape[1:])
    if isinstance(layer, LinearAttentionCacheLayerMixin):
        for name, value in vars(layer).items():
            if isinstance(value, dict):  # a layer writes into its states, and into what it notes about them
                setattr(copied, name, {number: _own(one, rows) for number, one in value.items()})
    return copied


def one_row(cache: DynamicCache, row: int, prefix_tokens: int, tokens: int) -> DynamicCache:
    """Return a row of a cache without the padding between its prefix and its own tokens.

    Args:
        cache: without recurrent layers.
        tokens: of the row, behind padding and prefix.
    """
    copied = copy.copy(cache)
    copied.layers = [_one_row(layer, row, prefix_tokens, tokens) for layer in cache.layers]
    return copied


def _one_row(layer: Any, row: int, prefix_tokens: int, tokens: int) -> Any:
    copied = copy.copy(layer)
    for name in ("keys", "values", "indexer_keys"):
        if (kept := getattr(layer, name, None)) is not None:
            own = kept[row : row + 1]
            setattr(copied, name, torch.cat([own[..., :prefix_tokens, :], own[..., -tokens:, :]], dim=-2))
    return copied


def _own(value: Any, rows: int) -> Any:
    return value.expand(rows, *value.shape[1:]).clone() if isinstance(value, Tensor) else value


def recurrent_states(cache: DynamicCache) -> dict[StateKey, Tensor]:
    """Return the states of all recurrent layers, each of shape [rows, …]; empty for a decoder without such layers."""
    beside = getattr(cache, "linear_cache", ())  # where MiniMax keeps them
    return {(number, "recurrent", 0): state for number, state in enumerate(beside) if isinstance(state, Tensor)} | {
        (number, kind, place): state
        for number, layer in enumerate(cache.layers)
        if isinstance(layer, LinearAttentionCacheLayerMixin)
        for kind, states in (("conv", layer.conv_states), ("recurrent", layer.recurrent_states))
        for place, state in states.items()
        if state is not None
    }


def has_recurrent_layers(cache: DynamicCache) -> bool:
    """Return whether any layer keeps a state in place of its tokens."""
    return hasattr(cache, "linear_cache") or any(
        isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers
    )
