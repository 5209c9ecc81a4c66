"""Memory in decoders without any attention, such as Mamba: entries reach the state that the question goes on from.

To the rest of the library, such a decoder has one layer of attention whose keys and values are zeros. What a forward pass gives to
memory in this layer is the share of each entry in the state, the same for all tokens of an entry.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from memgpt_rag.model.attended import attended, recorded
from memgpt_rag.model.attention import MemoryWeights
from memgpt_rag.model.config import MemoryAttentionConfig
from memgpt_rag.model.states import AttendedMemory
from memgpt_rag.model.whole_cache import StateCache, whole_cache

LAYER, WIDTH = 0, 64


def has_states_alone(decoder: PreTrainedModel) -> bool:
    """Whether all layers of a decoder keep a state, and none keeps keys and values."""
    return isinstance(whole_cache(decoder), StateCache)


def entry_bias(decoder: PreTrainedModel, config: MemoryAttentionConfig) -> float:
    """Return β of entries: of their scores, or, of a decoder without attention, of the weights by which their states are combined."""
    return (config.weight_bias or 0.0) if has_states_alone(decoder) else config.score_bias


def retrofit_recurrent(decoder: PreTrainedModel) -> None:
    """Have a decoder take the caches of this library, and note what its state has of each entry."""
    if getattr(decoder, "takes_states", False):
        return
    decoder.takes_states = True
    for module in (decoder, decoder.base_model):  # hooks, which go along when the decoder is copied
        module.register_forward_pre_hook(_take, with_kwargs=True)
        module.register_forward_hook(_give, with_kwargs=True)
    decoder.base_model.register_forward_hook(_note, with_kwargs=True)


def _take(module: nn.Module, given: tuple[Any, ...], inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    """Give a cache of this library under the decoder's own name for it."""
    cache = inputs.get("past_key_values", inputs.get("cache_params"))
    if not isinstance(cache, StateCache):
        return None
    # Rows have no padding, and a state knows no positions.
    own = {name: inputs[name] for name in inputs.keys() - {"past_key_values", "attention_mask", "position_ids"}}
    return given, own | {"cache_params": cache}


def _give(module: nn.Module, given: tuple[Any, ...], inputs: dict[str, Any], output: Any) -> None:
    """Give it back as decoders with attention do."""
    if isinstance(cache := inputs.get("cache_params"), StateCache) and isinstance(output, ModelOutput):
        output["past_key_values"] = cache


def _note(inner: nn.Module, given: tuple[Any, ...], inputs: dict[str, Any], output: Any) -> None:
    """Note what a forward pass has read, and what memory it had in its state."""
    hidden, cache, states, here = output[0], inputs.get("cache_params"), recorded.get(), attended.get()
    if isinstance(cache, StateCache):
        cache.seen += hidden.shape[1]
    if states is not None:
        tokens = cache.seen if isinstance(cache, StateCache) else hidden.shape[1]
        nothing = hidden.new_zeros(len(hidden), 1, tokens, WIDTH)
        states[LAYER] = nothing, nothing
    if here is not None and LAYER in here.layer_settings:
        shares = _shares(here.memory).repeat_interleave(len(hidden) // len(here.memory.num_entries), 0)
        here.memory.add_mass(LAYER, MemoryWeights(shares[:, None, None].expand(-1, 1, hidden.shape[1], -1), None))


def _shares(memory: AttendedMemory) -> Float[Tensor, "batch tokens"]:
    """Return the share of each token in the state: that of its entry, divided by the tokens of the entry."""
    lengths = torch.zeros_like(memory.bias).scatter_add(1, memory.entry_of_token, memory.present.float())
    scores = memory.bias - lengths.gather(1, memory.entry_of_token).clamp(min=1).log()
    return scores.masked_fill(~memory.present, -torch.inf).softmax(-1).nan_to_num()
