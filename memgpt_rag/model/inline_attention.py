"""Memory in decoders that compute attention in code of their own, not through the interface of transformers.

A layer takes keys and values from its cache, adds a mask to its scores and takes their softmax. The tokens of memory stand in front of
those that the cache gives, the mask has columns for them, and the softmax is that of `joint_weights`, so that memory is read as
`joint_attention` reads it. Where no memory is attended, a layer does what it did, in the "eager" way of transformers.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import DynamicCache, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from memgpt_rag.model.attended import Attended, attended, recorded, within
from memgpt_rag.model.attention import UNSEEN, MemoryWeights, ScoreSettings, joint_weights
from memgpt_rag.model.layer_kinds import inner_decoder, local_windows

INLINE = "memgpt_inline"
# Types that are known to take keys and values from their cache before they take a softmax. Named one by one: a window in the code
# of a layer, as GPT-Neo has, would not be found by the comparison on loading, which is short.
_TYPES = {
    "big_bird",
    "bloom",
    "codegen",
    "falcon",
    "git",
    "gpt_neo",
    "gpt_neox_japanese",
    "gptj",
    "megatron-bert",
    "mpt",
    "mvp",
}
_TYPES |= {"rembert", "trocr", "xglm"}
_SOFTMAX = {torch.nn.functional.softmax, torch.softmax, Tensor.softmax}
# Functions of modeling files that give what each position adds to scores (ALiBi, Press et al. 2022).
_ALIBI = ("build_alibi_tensor", "build_mpt_alibi_tensor")


class _Positions(NamedTuple):
    """How the layers of a decoder go by positions in code of their own: by a bias, or by windows of some layers."""

    slopes: Float[Tensor, " heads"] | None  # what a position more adds to the scores of each head
    windows: Mapping[int, int]

    def bias(self, position: Tensor) -> float | Float[Tensor, "rows heads 1 tokens"]:
        """What positions add to the scores of tokens."""
        if self.slopes is None:
            return 0.0
        return self.slopes.to(position.device).view(1, -1, 1, 1) * position[:, None, None, :]

    def apply(self, layer: int, scores: Tensor, position: Tensor) -> Float[Tensor, "rows heads queries locals"]:
        """Return the scores of local tokens with their bias, of those in the window.

        Args:
            position: [rows, locals]; the queries are the last ones.
        """
        scores = scores + self.bias(position)
        if (window := self.windows.get(layer)) is not None:
            near = within(window, position[:, -scores.shape[-2] :, None], position[:, None, :])
            scores = scores.masked_fill(~near[:, None], UNSEEN)
        return scores


def is_inline(decoder: PreTrainedModel) -> bool:
    """Whether memory reaches a decoder in this way."""
    config = decoder.config.get_text_config(decoder=True)
    # Falcon with ALiBi adds it twice in the "eager" way, in transformers 5.23.
    return config.model_type in _TYPES and not (config.model_type == "falcon" and config.alibi)


def retrofit_inline(decoder: PreTrainedModel, mask_over: Callable[[str], Callable[..., Tensor | None]]) -> None:
    """Have the forward passes of a decoder read the memory that is attended.

    Args:
        mask_over: makes a mask function that knows of memory from the name of one that does not.
    """
    inner = inner_decoder(decoder)
    if getattr(inner.forward, "reads_memory", False):
        return
    without = mask_over("eager")

    def mask(*sizes: Any, **settings: Any) -> Tensor | None:
        """The mask of local tokens, with a column of zeros for each token of memory."""
        local, here = without(*sizes, **settings), attended.get()
        if local is None or here is None or "allow_is_bidirectional_skip" in settings:
            return local
        return torch.nn.functional.pad(local, (here.memory.present.shape[1], 0))

    ALL_ATTENTION_FUNCTIONS.register(INLINE, _no_interface)
    ALL_MASK_ATTENTION_FUNCTIONS.register(INLINE, mask)
    decoder.config._attn_implementation = INLINE  # by itself: transformers sets it for the others only
    inner.forward = _reading(inner, _Positions(_slopes(decoder), local_windows(decoder)))


def _no_interface(*_: Any, **__: Any) -> tuple[Tensor, Tensor | None]:
    raise NotImplementedError("a decoder with attention in its own code does not call the interface")


def _reading(inner: nn.Module, positions: _Positions) -> Callable[..., Any]:
    forward = inner.forward

    @functools.wraps(forward)
    def reading(*given: Any, **inputs: Any) -> Any:
        here, states = attended.get(), recorded.get()
        if here is None and states is None:
            return forward(*given, **inputs)
        without_cache = inputs.get("past_key_values") is None
        if without_cache:
            inputs |= {"past_key_values": DynamicCache(), "use_cache": True}
        cache = inputs["past_key_values"]
        if inputs.get("attention_mask") is None:  # without one, Bloom adds positions in another way
            ids = given[0] if given else inputs.get("input_ids")
            read = inputs["inputs_embeds"] if ids is None else ids
            inputs["attention_mask"] = torch.ones(len(read), cache.get_seq_length() + read.shape[1], device=read.device)
        layers = _Layers(here, states, cache.update, positions)
        cache.update = layers.update
        try:
            with layers:
                output = forward(*given, **inputs)
        finally:
            del cache.update
        if without_cache and not isinstance(output, tuple):
            output["past_key_values"] = None
        return output

    reading.reads_memory = True  # type: ignore[attr-defined]
    return reading


class _Layers(TorchFunctionMode):
    """The layers of one forward pass: what each takes from the cache, and the softmax of its scores that follows."""

    def __init__(
        self,
        here: Attended | None,
        states: dict[int, tuple[Tensor, Tensor]] | None,
        update: Callable[..., tuple[Tensor, Tensor]],
        positions: _Positions,
    ):
        super().__init__()
        self.here, self.states, self.positions = here, states, positions
        self._update = update
        self._layer: int | None = None

    def update(self, key: Tensor, value: Tensor, layer: int, *given: Any, **settings: Any) -> tuple[Tensor, Tensor]:
        """Return keys and values of memory, if any is attended, and of the sequence."""
        keys, values = self._update(key, value, layer, *given, **settings)
        if self.states is not None:
            self.states[layer] = (keys, values)
        if self.here is None:
            return keys, values
        self._layer, memory = layer, self.here.memory
        if layer in self.here.layer_settings:
            entry_keys, entry_values = memory.keys[layer].to(keys.dtype), memory.values[layer].widened(values.dtype)
            beams = keys.shape[0] // entry_keys.shape[0]
            entry_keys, entry_values = (one.repeat_interleave(beams, 0) for one in (entry_keys, entry_values))
        else:
            tokens = memory.present.shape[1]
            entry_keys = keys.new_zeros(*keys.shape[:2], tokens, keys.shape[-1])
            entry_values = values.new_zeros(*values.shape[:2], tokens, values.shape[-1])
        return torch.cat([entry_keys, keys], dim=2), torch.cat([entry_values, values], dim=2)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._layer is not None and function is torch.where and self.positions.windows:
            return args[1]  # scores, of which the layer would hide those outside its window by their place in the cache
        if self._layer is None or function not in _SOFTMAX:
            return function(*args, **kwargs)
        layer, self._layer = self._layer, None
        scores = args[0] if args else kwargs["input"]
        return self._weights(layer, scores).view_as(scores).to(kwargs.get("dtype") or scores.dtype)

    def _weights(
        self, layer: int, scores: Float[Tensor, "... queries keys"]
    ) -> Float[Tensor, "rows heads queries keys"]:
        """Return the weights of memory and of local tokens, in fp32."""
        here = self.here
        assert here is not None and here.key_position is not None
        memory, rows = here.memory, here.key_position.shape[0]
        tokens, beams = memory.present.shape[1], rows // len(memory.num_entries)
        by_head = scores.float().view(rows, -1, *scores.shape[-2:])
        own = here.layer_settings.get(layer)
        local = self.positions.apply(layer, by_head[..., tokens:], here.key_position)
        if own is None:
            unseen = torch.full_like(by_head[..., :tokens], UNSEEN)
            return torch.cat([unseen, local], dim=-1).softmax(-1)
        tau = own.inverse_temperature
        of_memory = by_head[..., :tokens] * (tau.view(1, -1, 1, 1) if isinstance(tau, Tensor) else tau)
        mask = here.memory_mask(own.window)[:, :, -scores.shape[-2] :].repeat_interleave(beams, 0)
        mask = mask + self.positions.bias(memory.position.repeat_interleave(beams, 0))
        settings = ScoreSettings(1.0, 1.0, own.offset, own.top_m, own.null_score)
        weights, kept = joint_weights(of_memory + mask, local, settings)
        count = tokens if kept is None else kept.shape[-1]
        given = MemoryWeights(weights[..., :count], kept)
        memory.add_mass(layer, given)
        return torch.cat([given.dense(tokens), weights[..., count : count + local.shape[-1]]], dim=-1)


def _slopes(decoder: PreTrainedModel) -> Float[Tensor, " heads"] | None:
    """Return what positions add to scores, which a decoder itself adds no more where memory is attended: it would go by places
    in the cache, and positions jump over memory. None for a decoder that does not go by this.
    """
    config, file = decoder.config, sys.modules[type(decoder).__module__]
    name = next((name for name in _ALIBI if hasattr(file, name)), None)
    if name is None or not getattr(getattr(config, "attn_config", config), "alibi", True):
        return None
    own = getattr(file, name)
    if not hasattr(own, "without_memory"):

        def built(*given: Any, **settings: Any) -> Tensor:
            bias: Tensor = own(*given, **settings)
            return bias if attended.get() is None else bias.new_zeros(bias.shape[0], 1, 1)

        built.without_memory = own  # type: ignore[attr-defined]
        setattr(file, name, built)
    heads = config.num_attention_heads
    given = (heads, 2) if name == "build_mpt_alibi_tensor" else (torch.ones(1, 2), heads, torch.float32)
    places: Tensor = own(*given).view(heads, 2)
    return places[:, 1] - places[:, 0]
