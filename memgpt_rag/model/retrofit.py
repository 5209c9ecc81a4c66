"""Memory attention inside any Hugging Face decoder that calls attention through the library's interface.

No modelling file is copied: an attention function and a mask function are registered with transformers and the decoder
is set to use them. Where no memory is attended they hand over to what the decoder used before, so its numbers stay the
same to the last bit. Which memory is attended is a context variable: threads do not see each other's.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from memgpt_rag.errors import ModelError
from memgpt_rag.model.attention import UNSEEN, LocalTokens, MemoryTokens, ScoreSettings, joint_attention
from memgpt_rag.model.config import LayerSettings
from memgpt_rag.model.layer_kinds import CALL, Chunk, call_window, probe_ids, require_known_layers
from memgpt_rag.model.states import AttendedMemory

_NAME = "memgpt_over_"


@dataclass
class _Attended:
    """The memory that is attended, and the masks of the forward pass under way, which many layers share."""

    memory: AttendedMemory
    layer_settings: dict[int, LayerSettings]
    has_chunks: bool  # windows of this decoder are chunks; no decoder has both
    query_position: Tensor | None = None  # [batch, queries]
    calls: Counter[int] = field(default_factory=Counter)
    _masks: dict[int | None, Tensor] = field(default_factory=dict)

    def begin(self, query_position: Tensor) -> None:
        """A forward pass begins; its mask function calls this before any attention runs."""
        self.query_position = query_position
        self.calls.clear()
        self._masks.clear()

    def memory_mask(self, window: int | None) -> Tensor:
        """[batch, 1, queries, tokens]: the bias of each token, and what is unseen: padding, what a sliding window has
        left behind, and all memory for the prefix, which stands before it.
        """
        if window not in self._masks:
            assert self.query_position is not None
            memory, position = self.memory, self.query_position[:, :, None]
            visible = memory.present[:, None, :] & (position >= memory.prefix_tokens)
            if window is not None:
                visible = visible & _within(window, position, memory.position[:, None, :])
            self._masks[window] = torch.where(visible, memory.bias[:, None, :], UNSEEN)[:, None]
        return self._masks[window]


def _within(window: int, query: Tensor, key: Tensor) -> Tensor:
    """Whether a query sees a key by its position: in a sliding window, or in a chunk."""
    return query // window == key // window if isinstance(window, Chunk) else query - key < window


_attended: ContextVar[_Attended | None] = ContextVar("attended", default=None)
_recorded: ContextVar[dict[int, tuple[Tensor, Tensor]] | None] = ContextVar("recorded", default=None)


@contextmanager
def use_memory(
    memory: AttendedMemory, layer_settings: dict[int, LayerSettings], windows: Mapping[int, int | None]
) -> Iterator[None]:
    """Every forward pass of a retrofitted decoder inside the block attends to `memory` too.

    Args:
        layer_settings: of the layers that attend to it; none for a memory without entries, with which windows go by position still.
        windows: of all layers, as `retrofit` returns them.
    """
    chunked = any(isinstance(window, Chunk) for window in windows.values())
    token = _attended.set(_Attended(memory, layer_settings, chunked))
    try:
        yield
    finally:
        _attended.reset(token)


@contextmanager
def recording() -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Collect call → (keys, values) of one forward pass as they reach the attention of a retrofitted decoder."""
    states: dict[int, tuple[Tensor, Tensor]] = {}
    token = _recorded.set(states)
    try:
        yield states
    finally:
        _recorded.reset(token)


def retrofit(decoder: PreTrainedModel) -> dict[int, int | None]:
    """Route the decoder's attention through memory attention.

    Returns:
        Layer → its sliding window or chunk in tokens, None where attention is global; layers without attention are not there.

    Raises:
        ModelError: the architecture cannot take memory; the message says why.
    """
    name = type(decoder).__name__
    base = decoder.config.get_text_config(decoder=True)._attn_implementation
    if decoder.config.is_encoder_decoder:
        raise ModelError(f"{name} is an encoder-decoder; memory attention needs a decoder such as Gemma or Llama.")
    require_known_layers(decoder)
    if not base.startswith(_NAME):
        if base not in ("sdpa", "eager"):
            raise ModelError(f'{name} was loaded with attn_implementation="{base}"; load it with "sdpa" or "eager".')
        ALL_ATTENTION_FUNCTIONS.register(_NAME + base, _attention_over(base))
        ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME + base, _mask_over(base))
        _set_attention(decoder, _NAME + base)
    calls = _calls(decoder)
    if not calls:
        _set_attention(decoder, base.removeprefix(_NAME))
        raise ModelError(
            f"{name} does not call attention through the attention interface of transformers, so memory cannot reach it; "
            "use a model that does, such as Gemma, Llama, Qwen, Mistral, Phi, GPT-NeoX or GPT-2."
        )
    return {call: call_window(decoder, call) for call in calls}


def _set_attention(decoder: PreTrainedModel, implementation: str) -> None:
    """Set the attention implementation of the text decoder; encoders of pictures and sound keep theirs."""
    config, text = decoder.config, decoder.config.get_text_config(decoder=True)
    parts = [name for name in config.sub_configs if getattr(config, name, None) is text]
    decoder.set_attn_implementation({parts[0]: implementation} if parts else implementation)


@torch.no_grad()
def _calls(decoder: PreTrainedModel) -> list[int]:
    """Return the calls of attention that reach the interface in a forward pass, by their numbers."""
    with recording() as states:
        decoder.base_model(input_ids=probe_ids(decoder), use_cache=False)
    return sorted(states)


def _attention_over(base: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        recorded, here = _recorded.get(), _attended.get()
        if recorded is not None:
            while layer in recorded:  # called once more in this layer
                layer += CALL
            recorded[layer] = (_with_bias(key, attention_mask, scaling), value)
        elif here is not None:
            earlier = here.calls[layer]
            here.calls[layer] += 1
            layer += CALL * earlier
        if here is None or layer not in here.layer_settings:
            without = ALL_ATTENTION_FUNCTIONS.get(base) or sys.modules[type(module).__module__].eager_attention_forward
            given: tuple[Tensor, Tensor | None] = without(
                module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
            )
            return given
        memory, own = here.memory, here.layer_settings[layer]
        assert attention_mask is not None
        settings = ScoreSettings(
            query.shape[-1] ** -0.5 if scaling is None else scaling,
            own.inverse_temperature,
            own.offset,
            own.top_m,
            own.null_score,
            softcap=kwargs.get("softcap"),
            sinks=kwargs.get("s_aux"),
        )
        # Layers behind the last one with keys of its own may be given the last query alone.
        mask = here.memory_mask(own.window)[:, :, -query.shape[2] :]
        tokens = MemoryTokens(memory.keys[layer], memory.values[layer], mask)
        output, weights = joint_attention(
            query, LocalTokens(key, value, attention_mask), tokens, settings, dropout=dropout
        )
        memory.add_mass(layer, weights)
        return output.transpose(1, 2).contiguous(), None

    return attention


def _with_bias(key: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """Return keys with one number more, where a layer adds a number of its own to the scores of each key, as Doge does.

    Such a layer has a mask for each head. Its last query sees all tokens of its row.
    """
    if mask is None or mask.dim() != 4 or mask.shape[1] == 1 or mask.dtype == torch.bool:
        return key
    bias = mask[:, :: mask.shape[1] // key.shape[1], -1, : key.shape[2]]
    bias = torch.where(bias > UNSEEN / 2, bias, 0.0)
    return torch.cat([key, bias.unsqueeze(-1) / (key.shape[-1] ** -0.5 if scaling is None else scaling)], dim=-1)


def _mask_over(base: str) -> Callable[..., Tensor | None]:
    without: Callable[..., Tensor | None] = ALL_MASK_ATTENTION_FUNCTIONS[base]

    def local_mask(batch_size: int, q_length: int, kv_length: int, **kwargs: Any) -> Tensor | None:
        """[rows, 1, queries, keys], to be added to scores. Windows go by position, which jumps over the memory."""
        here = _attended.get()
        if here is None:
            return without(batch_size=batch_size, q_length=q_length, kv_length=kv_length, **kwargs)
        seen, window = int(kwargs.get("q_offset", 0)), kwargs.get("local_size")
        end, device = seen + q_length, kwargs.get("device", "cpu")
        if kwargs.get("kv_offset", 0) != 0 or kv_length != end:
            raise ValueError(
                "Memory attention needs a cache that keeps every token; leave cache_implementation as it is."
            )
        padding = kwargs.get("attention_mask")
        present = (
            torch.ones(batch_size, end, dtype=torch.bool, device=device) if padding is None else padding[:, :end].bool()
        )
        position = here.memory.local_position(present)
        here.begin(position[:: batch_size // len(here.memory.num_entries), seen:])
        column = torch.arange(end, device=device)
        queries = position[:, seen:, None]
        if here.memory.pictures is not None:
            # What the decoder itself lets see each other: windows, and also later tokens of the same picture.
            row = torch.arange(batch_size, device=device)[:, None, None]
            visible = present[:, None, :] & kwargs["mask_function"](row, None, queries, position[:, None, :])
        else:
            visible = present[:, None, :] & (column <= column[seen:, None])
            if window is not None:
                window = Chunk(window) if here.has_chunks else window
                visible = visible & _within(window, queries, position[:, None, :])
        # Additive and of the decoder's type, which is what the layers that do not attend to memory take, too.
        mask = torch.zeros(visible.shape, dtype=kwargs["dtype"], device=device)
        return mask.masked_fill_(~visible, torch.finfo(mask.dtype).min)[:, None]

    return local_mask
