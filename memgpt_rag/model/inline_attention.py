"""Memory in decoders that compute attention in code of their own, not through the interface of transformers.

A layer takes keys and values from its cache, adds a mask to its scores and takes their softmax. The tokens of memory stand in front of
those that the cache gives, the mask has columns for them, and the softmax is that of `joint_weights`, so that memory is read as
`joint_attention` reads it. Where no memory is attended, a layer does what it did, in the "eager" way of transformers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MethodType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import ModelOutput

from memgpt_rag.model.attended import Attended, attended, recorded, within
from memgpt_rag.model.attention import UNSEEN, MemoryWeights, ScoreSettings, joint_weights, per_head
from memgpt_rag.model.layer_kinds import inner_decoder, local_windows
from memgpt_rag.model.positions import present_tokens

INLINE = "memgpt_inline"
# Types that are known to take keys and values from their cache before they take a softmax. Named one by one: a window in the code
# of a layer, as GPT-Neo has, would not be found by the comparison on loading, which is short.
_TYPES = {
    "big_bird", "bloom", "codegen", "falcon", "git", "gpt_neo", "gpt_neox_japanese", "gptj", "megatron-bert", "mpt", "mvp", "rembert",
    "roformer", "trocr", "xglm",
}  # fmt: skip
_SOFTMAX = {torch.nn.functional.softmax, torch.softmax, Tensor.softmax}
# Functions of modeling files that give what each position adds to scores (ALiBi, Press et al. 2022).
_ALIBI = {"bloom": "build_alibi_tensor", "mpt": "build_mpt_alibi_tensor"}
# The layers of the forward pass under way in a decoder of these types; None where it reads no memory.
_layers: ContextVar[_Layers | None] = ContextVar("layers", default=None)


class _Positions(NamedTuple):
    """How the layers of a decoder go by positions in code of their own: by a bias, or by windows of some layers."""

    slopes: Float[Tensor, " heads"] | None  # what a position more adds to the scores of each head
    windows: Mapping[int, int]
    hides_by_place: bool  # layers hide scores by `torch.where`, as GPT-Neo does

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
    if getattr(vars(inner).get("forward"), "__func__", None) is forward:
        return
    without = mask_over("eager")

    def mask(batch_size: int, q_length: int, kv_length: int, **settings: Any) -> Tensor | None:
        """The mask of local tokens, with a column of zeros for each token of memory."""
        if (padding := settings.get("attention_mask")) is not None and padding.dim() == 2:
            # GIT puts tokens of a picture before those of the text, also where there is none.
            settings["attention_mask"] = padding[:, -kv_length:]
        local, here = without(batch_size=batch_size, q_length=q_length, kv_length=kv_length, **settings), attended.get()
        if local is None or here is None or "allow_is_bidirectional_skip" in settings:
            return local
        return torch.nn.functional.pad(local, (here.memory.present.shape[1], 0))

    ALL_ATTENTION_FUNCTIONS.register(INLINE, _no_interface)
    ALL_MASK_ATTENTION_FUNCTIONS.register(INLINE, mask)
    # Of this configuration alone: transformers has no setter for such decoders, and encoders of pictures keep theirs.
    decoder.config.get_text_config(decoder=True)._attn_implementation_internal = INLINE
    positions = _Positions(_slopes(decoder), local_windows(decoder), decoder.config.model_type == "gpt_neo")
    vars(inner)["positions"], vars(inner)["own_forward"] = positions, inner.forward
    inner.forward = MethodType(forward, inner)  # a method of the copy, when the decoder is copied


def _no_interface(*_: Any, **__: Any) -> tuple[Tensor, Tensor | None]:
    raise NotImplementedError("a decoder with attention in its own code does not call the interface")


def forward(self: nn.Module, *given: Any, **inputs: Any) -> Any:
    """The forward pass of a decoder whose layers read memory, or are recorded. Its name is that of the method which it replaces,
    which is how a decoder that was saved whole finds its own again.
    """
    here, states = attended.get(), recorded.get()
    own, positions = vars(self)["own_forward"], vars(self)["positions"]
    if here is None and states is None:
        with _reading(None):
            return own(*given, **inputs)
    is_without = inputs.get("past_key_values") is None
    if is_without:
        inputs |= {"past_key_values": DynamicCache(), "use_cache": True}
    if inputs.get("attention_mask") is None:  # without one, Bloom adds positions in another way
        inputs["attention_mask"] = present_tokens(given, inputs).long()
    layers = _Layers(here, states, inputs["past_key_values"], positions)
    with _reading(layers), layers:
        output = own(*given, **inputs)
    if is_without and isinstance(output, ModelOutput):
        output["past_key_values"] = None
    return output


@contextmanager
def _reading(layers: _Layers | None) -> Iterator[None]:
    token = _layers.set(layers)
    try:
        yield
    finally:
        _layers.reset(token)


class _Layers(TorchFunctionMode):
    """The layers of one forward pass: what each takes from the cache, and the softmax of its scores that follows."""

    def __init__(
        self,
        here: Attended | None,
        states: dict[int, tuple[Tensor, Tensor]] | None,
        cache: Cache,
        positions: _Positions,
    ):
        super().__init__()
        self.here, self.states, self.positions = here, states, positions
        self._cache, self._update = cache, cache.update
        self._layer: int | None = None

    def __enter__(self) -> _Layers:
        self._cache.update = self.update
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        del self._cache.update
        super().__exit__(*error)  # type: ignore[no-untyped-call]

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
        if self._layer is not None and function is torch.where and self.positions.hides_by_place:
            return args[1]  # scores, which the layer hides by their place in the cache
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
        assert here is not None
        position = here.begun_positions()
        memory, rows = here.memory, len(position)
        tokens, beams = memory.present.shape[1], rows // len(memory.num_entries)
        every_score = scores.float().view(rows, -1, *scores.shape[-2:])
        memory_scores, local_scores = every_score[..., :tokens], every_score[..., tokens:]
        own = here.layer_settings.get(layer)
        local_scores = self.positions.apply(layer, local_scores, position)
        if own is None:
            unseen = torch.full_like(memory_scores, UNSEEN)
            return torch.cat([unseen, local_scores], dim=-1).softmax(-1)
        memory_scores = memory_scores * per_head(own.inverse_temperature, memory_scores)
        mask = here.memory_mask(own.window)[:, :, -scores.shape[-2] :].repeat_interleave(beams, 0)
        mask = mask + self.positions.bias(memory.position.repeat_interleave(beams, 0))
        settings = ScoreSettings(1.0, 1.0, own.offset, own.top_m, own.null_score)
        weights, kept_tokens = joint_weights(memory_scores + mask, local_scores, settings)
        count = tokens if kept_tokens is None else kept_tokens.shape[-1]
        memory_weights = MemoryWeights(weights[..., :count], kept_tokens)
        memory.add_mass(layer, memory_weights)
        local_weights = weights[..., count : count + local_scores.shape[-1]]
        return torch.cat([memory_weights.dense(tokens), local_weights], dim=-1)


def _slopes(decoder: PreTrainedModel) -> Float[Tensor, " heads"] | None:
    """Return what positions add to scores, which a decoder itself adds no more where it reads memory: it would go by places in the
    cache, and positions jump over memory. None for a decoder that does not go by this.
    """
    if (name := _ALIBI.get(decoder.config.model_type)) is None:
        return None
    file, heads = sys.modules[type(decoder).__module__], decoder.config.num_attention_heads
    own = getattr(file, name)
    if not hasattr(own, "without_memory"):

        def built(*given: Any, **settings: Any) -> Tensor:
            bias: Tensor = own(*given, **settings)
            layers = _layers.get()
            return bias if layers is None or layers.here is None else bias.new_zeros(bias.shape[0], 1, 1)

        built.without_memory = own  # type: ignore[attr-defined]
        setattr(file, name, built)
    given = (heads, 2) if decoder.config.model_type == "mpt" else (torch.ones(1, 2), heads, torch.float32)
    places: Tensor = own(*given).view(heads, 2)
    return places[:, 1] - places[:, 0]
