"""What each layer of a decoder does with earlier tokens, and how memory reaches it.

    kind        states of an entry                    how they are read
    full        keys and values                       by the attention of every later token
    sliding     keys and values                       by tokens that are fewer positions away than the window
    chunked     keys and values                       by tokens of the same chunk of positions
    latent      keys and values, expanded             as full; their widths may differ
    shared      those of the layer it shares, again   as that layer's, by its own queries
    inline      keys and values                       as full, in the layer's own code (inline_attention.py)
    recurrent   the state after prefix and entry      put in the place of the state after the prefix

A layer that calls attention more than once, such as a differential one, counts as one layer for each call.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from memgpt_rag.errors import ModelError

# Number of the second call of attention in a layer: that of the layer and this.
CALL = 1024
# "indexed" layers choose among the tokens of the sequence by an index; all tokens of memory are read.
_KNOWN = {"full_attention", "sliding_attention", "chunked_attention", "indexed_attention", "hybrid", "hybrid_sliding"}
_KNOWN |= {"linear_attention", "conv", "moe", "mlp"}


class Chunk(int):
    """Positions of a chunk, in place of a sliding window: a token sees those of its own chunk only."""


def call_window(decoder: PreTrainedModel, call: int) -> int | None:
    """Return the window of a call of attention, by the number of its layer and call."""
    config, layer = decoder.config.get_text_config(decoder=True), call % CALL
    if windows := local_windows(decoder):
        return windows.get(layer)
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"] * (layer + 1)
    kind = kinds[layer] if layer < len(kinds) else "full_attention"
    if kind == "chunked_attention":
        return Chunk(config.attention_chunk_size)
    return window if kind in ("sliding_attention", "hybrid_sliding") else None


def local_windows(decoder: PreTrainedModel) -> dict[int, int]:
    """Return the windows of GPT-Neo's layers, by their numbers; empty for other decoders."""
    config = decoder.config
    kinds = config.attention_layers if config.model_type == "gpt_neo" else ()
    return {layer: config.window_size for layer, kind in enumerate(kinds) if kind == "local"}


def require_known_layers(decoder: PreTrainedModel) -> None:
    """See that all layers are of kinds that memory can reach.

    Raises:
        ModelError: some are not.
    """
    config = decoder.config.get_text_config(decoder=True)
    if config.model_type == "inkling_text" and config.log_scaling_n_floor is not None:
        raise ModelError(
            f"{type(decoder).__name__} scales queries by their place in the cache (log_scaling_n_floor), which does not count memory, so "
            "memory cannot be read exactly; use another model."
        )
    unknown = sorted(set(getattr(config, "layer_types", None) or ()) - _KNOWN)
    if unknown:
        raise ModelError(
            f"{type(decoder).__name__} has layers of type {', '.join(unknown)}, which keep something else than keys and values of "
            "tokens or a recurrent state, so memory cannot reach them; use a model without such layers."
        )


def query_heads(config: PreTrainedConfig) -> int:
    """Return the query heads of a decoder's layers; 1 for one without attention."""
    own = config.get_text_config(decoder=True)
    names = [name for name in ("decoder_attention_heads", "num_attention_heads") if hasattr(own, name)]
    return int(getattr(own, names[0])) if names else 1


def inner_decoder(decoder: PreTrainedModel) -> nn.Module:
    """Return the module whose forward pass runs the layers; that of an encoder-decoder's decoder stands one level further down."""
    base = decoder.base_model
    inner: nn.Module = getattr(base, "decoder", base)
    return inner


def probe_ids(decoder: PreTrainedModel) -> torch.Tensor:
    """Return a few tokens that any vocabulary has, to see what a decoder does with them."""
    words = int(decoder.config.get_text_config(decoder=True).vocab_size)
    return torch.tensor([[words // 3 + (7 * place) % max(1, words // 2) for place in range(4)]], device=decoder.device)
