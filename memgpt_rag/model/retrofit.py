"""Memory attention inside any Hugging Face decoder that calls attention through the library's interface.

No modelling file is copied: an attention function and a mask function are registered with transformers and the decoder
is set to use them. Where no memory is attended they hand over to what the decoder used before, so its numbers stay the
same; to the last bit, but for few queries on a CPU (few_queries.py). A decoder that computes attention in code of its own is
read in another way (inline_attention.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from memgpt_rag.errors import ModelError
from memgpt_rag.model import few_queries
from memgpt_rag.model.attended import attended, recorded, recording, within
from memgpt_rag.model.attention import UNSEEN, LocalTokens, MemoryTokens, ScoreSettings, joint_attention
from memgpt_rag.model.inline_attention import is_inline, retrofit_inline
from memgpt_rag.model.layer_kinds import CALL, Chunk, call_window, probe_ids, require_known_layers
from memgpt_rag.model.output_layer import fold_inputs
from memgpt_rag.model.positions import place_after_memory
from memgpt_rag.model.recurrent_decoder import has_states_alone, retrofit_recurrent

_NAME = "memgpt_over_"


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
    place_after_memory(decoder)
    fold_inputs(decoder)
    if has_states_alone(decoder):
        retrofit_recurrent(decoder)
    elif is_inline(decoder):
        retrofit_inline(decoder, _mask_over)
    elif not base.startswith(_NAME):
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
        states, here = recorded.get(), attended.get()
        if states is not None:
            while layer in states:  # called once more in this layer
                layer += CALL
            states[layer] = (_with_bias(key, attention_mask, scaling), value)
        elif here is not None:
            earlier = here.calls[layer]
            here.calls[layer] += 1
            layer += CALL * earlier
        local, bias = key.shape[2], kwargs.get("position_bias")
        if here is not None and bias is not None:  # of the tokens of memory, and of the others
            kwargs["position_bias"] = bias[..., -local:]
        if here is None or layer not in here.layer_settings:
            if base == "sdpa" and not dropout and bias is None and few_queries.are_few(query, key, attention_mask):
                scale = query.shape[-1] ** -0.5 if scaling is None else scaling
                return few_queries.attend(query, key, value, attention_mask, scale), None
            without = ALL_ATTENTION_FUNCTIONS.get(base) or sys.modules[type(module).__module__].eager_attention_forward
            given: tuple[Tensor, Tensor | None] = without(
                module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
            )
            return given
        memory, own = here.memory, here.layer_settings[layer]
        here.begun_positions()
        assert attention_mask is not None
        settings = ScoreSettings(
            query.shape[-1] ** -0.5 if scaling is None else scaling,
            own.inverse_temperature,
            own.offset,
            own.top_m,
            own.null_score,
            softcap=kwargs.get("softcap"),
            sinks=kwargs.get("sinks", kwargs.get("s_aux")),
        )
        # Layers behind the last one with keys of its own may be given the last query alone.
        mask = here.memory_mask(own.window)[:, :, -query.shape[2] :]
        if bias is not None:
            mask = mask.repeat_interleave(len(query) // len(mask), 0) + bias[..., :-local]
            attention_mask = attention_mask + bias[..., -local:]
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
        here = attended.get()
        # Some decoders ask for a mask of the tokens of an encoder, too, although they have none.
        if here is None or "allow_is_bidirectional_skip" in kwargs:
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
        here.begin(position, seen)
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
                visible = visible & within(window, queries, position[:, None, :])
        # Additive and of the decoder's type, which is what the layers that do not attend to memory take, too.
        mask = torch.zeros(visible.shape, dtype=kwargs["dtype"], device=device)
        return mask.masked_fill_(~visible, torch.finfo(mask.dtype).min)[:, None]

    return local_mask
