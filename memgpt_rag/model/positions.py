"""Positions of tokens, as a decoder counts them.

Parts of some decoders compute positions from the cache. Hooks, which go along when a decoder is copied, have them count the tokens of memory, too.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from memgpt_rag.model.attended import attended
from memgpt_rag.model.layer_kinds import inner_decoder


def takes_positions(decoder: PreTrainedModel) -> bool:
    """Return whether a decoder takes `position_ids`; others compute the positions of their tokens from the cache."""
    return "position_ids" in inspect.signature(decoder.base_model.forward).parameters


def first_position(decoder: PreTrainedModel) -> int:
    """Return the position of the first token: those of the RoBERTa family stand behind that of padding."""
    for module in decoder.modules():
        if hasattr(module, "create_position_ids_from_input_ids"):
            return int(module.padding_idx) + 1
    return 0


def rotates_by_pass(decoder: PreTrainedModel) -> bool:
    """Return whether the latest token of a pass decides how all of its tokens are rotated, as in Phi-3 with a long context."""
    kinds: set[str] = set()
    for module in decoder.modules():
        kind = getattr(module, "rope_type", None)  # of each kind of layer, in some decoders
        kinds |= set(kind.values()) if isinstance(kind, dict) else {kind} if isinstance(kind, str) else set()
    return not kinds.isdisjoint({"dynamic", "longrope"})


def counts_from_cache(decoder: PreTrainedModel) -> bool:
    """Return whether a decoder scales attention by places in its cache, as Llama 4 does beyond 8,192 tokens."""
    return bool(getattr(decoder.config.get_text_config(decoder=True), "attn_temperature_tuning", False))


def present_tokens(given: tuple[Any, ...], inputs: dict[str, Any]) -> Bool[Tensor, "rows tokens"]:
    """Return which tokens of cache and inputs are there, from what a forward pass is given."""
    if (mask := inputs.get("attention_mask")) is not None:
        present: Tensor = mask.bool()
        return present
    ids, cache = given[0] if given else inputs.get("input_ids"), inputs.get("past_key_values")
    read = inputs["inputs_embeds"] if ids is None else ids
    seen = 0 if cache is None else cache.get_seq_length()
    return torch.ones(len(read), seen + read.shape[1], dtype=torch.bool, device=read.device)


def place_after_memory(decoder: PreTrainedModel) -> None:
    """Have parts of a decoder that compute positions from the cache count the tokens of memory, too."""
    inner = inner_decoder(decoder)
    if getattr(inner, "counts_memory", False):
        return
    vars(inner)["counts_memory"] = True
    embedding = getattr(inner, "embed_positions", None)
    takes_ids = "position_ids" in inspect.signature(inner.forward).parameters
    if isinstance(embedding, nn.Embedding) and not takes_ids:  # BART
        inner.register_forward_pre_hook(_begin, with_kwargs=True)
        embedding.register_forward_hook(_embed)
    elif embedding is not None and hasattr(embedding, "make_weights"):  # XGLM
        embedding.register_forward_pre_hook(_grow)
    for module in decoder.modules():
        if hasattr(module, "apply_rotary_position_embeddings"):  # RoFormer
            module.register_forward_pre_hook(_rotate, with_kwargs=True)
            vars(module)["rotations"] = decoder.base_model.encoder.embed_positions  # which stays no part of this module
        elif type(module).__name__.endswith("RelativeLogits"):  # Inkling
            module.register_forward_hook(_relate)


def _begin(inner: nn.Module, given: tuple[Any, ...], inputs: dict[str, Any]) -> None:
    """Note the positions of a pass, before any part asks for them; some do so before they ask for a mask."""
    if (here := attended.get()) is not None:
        cache = inputs.get("past_key_values")
        position = here.memory.local_position(present_tokens(given, inputs))
        here.begin(position, 0 if cache is None else cache.get_seq_length())


def _embed(embedding: nn.Embedding, given: tuple[Any, ...], output: Tensor) -> Tensor | None:
    if (here := attended.get()) is None:
        return None
    position = here.begun_positions()[:, -output.shape[-2] :]
    return nn.Embedding.forward(embedding, position + getattr(embedding, "offset", 0))


def _grow(embedding: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Have a table that grows with the cache grow as far as the positions do."""
    if attended.get() is None:
        return None
    position, *_ = given
    return position, int(position.max())


def _rotate(module: nn.Module, given: tuple[Any, ...], inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    if (here := attended.get()) is None:
        return None
    hidden = given[0] if given else inputs["hidden_states"]
    table: Tensor = vars(module)["rotations"].weight
    return given, inputs | {"sinusoidal_pos": table[here.begun_positions()[:, -hidden.shape[1] :]][:, None]}


def _relate(
    module: nn.Module, given: tuple[Tensor, Tensor, Tensor], output: Tensor
) -> Float[Tensor, "rows heads queries keys"] | None:
    """Return what distances add to scores: to those of the tokens of memory, and then to those of the sequence."""
    if (here := attended.get()) is None:
        return None
    states, local, tokens = given[0], here.begun_positions(), here.memory.position
    every = torch.cat([tokens.repeat_interleave(len(local) // len(tokens), 0), local], dim=1)
    queries = local[:, -states.shape[1] :]
    return torch.cat([module.forward(states[row : row + 1], queries[row], every[row]) for row in range(len(states))])
