"""Reads the shared prefix and entries with a decoder: keys and values of every layer, through which gradients flow.

Knows a decoder and tokens; knows no memory that is attended, and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from memgpt_rag.model.attended import recording
from memgpt_rag.model.delimiters import Delimiters
from memgpt_rag.model.positions import first_position, takes_positions
from memgpt_rag.model.whole_cache import whole_cache

LayerStates = tuple[Tensor, Tensor]  # keys and values, [rows, kv_heads, tokens, head_dim]


def read_prefix(decoder: PreTrainedModel, prefix_ids: Sequence[int], delimiters: Delimiters | None) -> DynamicCache:
    """Return a cache of one row that has seen the prefix and the vectors behind it.

    Args:
        decoder: a retrofitted one.
    """
    cache = whole_cache(decoder)
    if not prefix_ids and delimiters is None:
        return cache
    ids = torch.tensor([prefix_ids], device=decoder.device, dtype=torch.long)
    if delimiters is None:
        decoder.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
    else:
        vectors = delimiters.behind_prefix(decoder.get_input_embeddings()(ids))
        decoder.base_model(inputs_embeds=vectors, past_key_values=cache, use_cache=True)
    return cache


def read_entries(
    decoder: PreTrainedModel, prefix: DynamicCache, entries: Sequence[Sequence[int]], delimiters: Delimiters | None
) -> dict[int, LayerStates]:
    """Layer → states of prefix, entry and the vectors behind it; rows are padded on the right.

    Args:
        decoder: a retrofitted one.
        prefix: cache of the prefix, a row for each entry; goes on to the end of the entries.
        entries: tokens of each entry.
    """
    before, lengths, device = prefix.get_seq_length(), torch.tensor([len(ids) for ids in entries]), decoder.device
    behind = 0 if delimiters is None else len(delimiters.entry)
    width = int(lengths.max()) + behind
    ids = torch.tensor([[*token_ids, *[0] * (width - len(token_ids))] for token_ids in entries], device=device)
    present = torch.arange(before + width) < (before + lengths + behind)[:, None]
    inputs = {"attention_mask": present.long().to(device), "past_key_values": prefix, "use_cache": True}
    if takes_positions(decoder):  # some count from the beginning of the cache in another way than they read
        start = first_position(decoder) + before
        inputs["position_ids"] = torch.arange(start, start + width, device=device).expand(len(entries), -1)
    with recording() as states:
        if delimiters is None:
            decoder.base_model(input_ids=ids, **inputs)
        else:
            vectors = delimiters.behind_entries(decoder.get_input_embeddings()(ids), lengths.to(device))
            decoder.base_model(inputs_embeds=vectors, **inputs)
    return states
