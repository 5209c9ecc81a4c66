"""Positions of tokens, as a decoder counts them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

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


def place_after_memory(decoder: PreTrainedModel) -> None:
    """Have a decoder that computes positions from the cache, as the BART family does, count the tokens of memory, too."""
    inner = inner_decoder(decoder)
    embedding = getattr(inner, "embed_positions", None)
    if not isinstance(embedding, nn.Embedding) or "position_ids" in inspect.signature(inner.forward).parameters:
        return
    if "forward" not in vars(embedding):
        inner.forward = _begun(inner.forward)
        embedding.forward = _placed(embedding, embedding.forward)  # type: ignore[method-assign]


def _begun(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def begun(*given: Any, **inputs: Any) -> Any:
        here, present = attended.get(), inputs.get("attention_mask")
        if here is not None and present is not None:  # now: some ask for positions before they ask for a mask
            cache = inputs.get("past_key_values")
            here.begin(here.memory.local_position(present.bool()), 0 if cache is None else cache.get_seq_length())
        return forward(*given, **inputs)

    return begun


def _placed(embedding: nn.Embedding, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def placed(*given: Any, **settings: Any) -> Tensor:
        here = attended.get()
        if here is None:
            return forward(*given, **settings)
        assert here.key_position is not None and here.query_position is not None
        position = here.key_position[:, -here.query_position.shape[1] :]
        return nn.Embedding.forward(embedding, position + getattr(embedding, "offset", 0))

    return placed
