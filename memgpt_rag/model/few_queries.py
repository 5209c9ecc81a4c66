"""Attention of few queries on a CPU, as two products of matrices.

torch's own attention is made for many queries. For one query in bf16 without a mask it takes 5 times as long as the two products with 280
keys, and 10 times with 1,500 (measured with AVX-512 and bf16). With a mask, keys of grouped heads are copied for it, unless there is one
query alone, whose heads transformers hands over as queries.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memgpt_rag.model.attention import matmul

# With more queries, torch's own attention takes as long, or copies less.
_MOST_QUERIES = {torch.bfloat16: 32, torch.float32: 8}
# With fewer keys of all rows, the calls take longer than what they compute.
_LEAST_KEYS = 128
# With more scores, reading and writing them takes longer than torch's own attention, which keeps none.
_MOST_SCORES = 2**20


def are_few(
    query: Float[Tensor, "rows heads queries head_dim"],
    key: Float[Tensor, "rows kv_heads keys head_dim"],
    mask: Tensor | None,
) -> bool:
    """Return whether `attend` takes less time than torch's own attention, and gives the same."""
    (rows, heads, queries, _), (_, kv_heads, keys, _) = query.shape, key.shape
    is_grouped = heads > kv_heads
    if query.device.type != "cpu" or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or rows != len(key):
        return False
    if (mask is None and queries > 1) or (mask is not None and queries == 1 and is_grouped):
        return False  # a mask is still to be made, or transformers hands heads over as queries
    return (
        queries <= _MOST_QUERIES.get(query.dtype, 0)
        and rows * keys >= _LEAST_KEYS
        and (is_grouped or query.dtype == torch.bfloat16)
        and rows * heads * queries * keys <= _MOST_SCORES
    )


def attend(
    query: Float[Tensor, "rows heads queries head_dim"],
    key: Float[Tensor, "rows kv_heads keys head_dim"],
    value: Float[Tensor, "rows kv_heads keys value_dim"],
    mask: Bool[Tensor, "rows 1_or_heads queries keys"] | Float[Tensor, "rows 1_or_heads queries keys"] | None,
    scaling: float,
) -> Float[Tensor, "rows queries heads value_dim"]:
    """Attend to keys; scores and their softmax are in fp32, as in torch's own attention.

    Args:
        mask: which keys a query sees, or what is added to scores; None where each query sees all keys.
        scaling: factor on every dot product.
    """
    rows, heads, queries, _ = query.shape
    grouped = (query.float() * scaling).reshape(rows, key.shape[1], -1, query.shape[-1])
    scores = matmul(grouped, key.float().transpose(-1, -2)).view(rows, heads, queries, -1)
    if mask is not None:
        unseen = torch.finfo(scores.dtype).min
        # Where a query sees nothing, scores of −∞ alone would have no softmax.
        scores = scores.masked_fill(~mask, unseen) if mask.dtype == torch.bool else (scores + mask).clamp(min=unseen)
    weights = torch.softmax(scores, dim=-1).to(value.dtype)
    read = matmul(weights.reshape(rows, key.shape[1], -1, key.shape[2]), value)
    return read.view(rows, heads, queries, -1).transpose(1, 2).contiguous()
