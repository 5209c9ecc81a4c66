"""The memory attention formula as pure functions of tensors: no model, no search, no files.

    score[j] = τ · ⟨q, K_j⟩ · scaling + β · (s_p(j) − max s) + b      for memory token j of entry p(j)
    weights  = softmax over [ memory, top-m per head | local context ]
    output   = Σ weights · V

This is the `joint` fusion: memory and local context share one softmax, so the share that memory gets is the ratio of
the two partition functions and a frozen language model can read memory at once. The attention itself is scaled
dot-product attention (Vaswani et al. 2017, eq. 1); attending to retrieved keys beside local ones, the best m per head
only, follows Memorizing Transformers (Wu et al. 2022, §3.2), which joins the two parts by a learned gate where we use
one softmax.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def joint_attention(
    query: Float[Tensor, "rows heads queries head_dim"],
    local_key: Float[Tensor, "rows kv_heads locals head_dim"],
    local_value: Float[Tensor, "rows kv_heads locals value_dim"],
    local_visible: Bool[Tensor, "rows_or_1 heads_or_1 queries locals"],
    memory_key: Float[Tensor, "batch kv_heads tokens head_dim"],
    memory_value: Float[Tensor, "batch kv_heads tokens value_dim"],
    memory_visible: Bool[Tensor, "batch queries_or_1 tokens"],
    memory_bias: Float[Tensor, "batch tokens"],
    *,
    scaling: float,
    inverse_temperature: float = 1.0,
    top_m: int | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, " heads"] | None = None,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "rows heads queries value_dim"], Float[Tensor, "rows heads queries tokens"]]:
    """One softmax over memory tokens and local tokens.

    `rows` is a multiple of `batch`: where a search keeps several beams a question, the beams of one question are
    neighbours and share its memory without copying it.

    Args:
        query: rotated queries; heads may be a multiple of `kv_heads` (grouped-query attention).
        local_visible: False where a query must not see a local token.
        memory_visible: False for padding and for tokens outside a sliding window.
        memory_bias: β · (s − max s) + b of the entry that each token belongs to, in logits.
        scaling: factor on every dot product, 1/√head_dim in most models.
        inverse_temperature: τ, on memory scores only.
        top_m: memory tokens kept per query and head, by score; None keeps all.
        softcap: c of c · tanh(score / c), applied to dot products before bias and mask, as Gemma 2 does.
        sinks: one extra logit per head that takes weight and gives no value, as in gpt-oss.
        dropout: probability of dropping a weight; 0 in evaluation.

    Returns:
        The output, and the weight of each memory token, in fp32.
    """
    rows, heads, queries, _ = query.shape
    batch, kv_heads, tokens, _ = memory_key.shape
    beams, group = rows // batch, heads // kv_heads

    # Queries that share keys are stacked under them, so that neither beams nor grouped heads copy a key.
    stacked = query.reshape(batch, beams, kv_heads, group * queries, -1).transpose(1, 2).flatten(2, 3)
    memory_scores = (stacked @ memory_key.transpose(-1, -2)).float() * (scaling * inverse_temperature)
    memory_scores = memory_scores.view(batch, kv_heads, beams, group, queries, tokens).transpose(1, 2)
    memory_scores = memory_scores.reshape(rows, heads, queries, tokens)
    local_query = query.reshape(rows, kv_heads, group * queries, -1)
    local_scores = (local_query @ local_key.transpose(-1, -2)).float() * scaling
    local_scores = local_scores.view(rows, heads, queries, -1)
    if softcap is not None:
        memory_scores = softcap * torch.tanh(memory_scores / softcap)
        local_scores = softcap * torch.tanh(local_scores / softcap)

    # The lowest finite number, not −inf: a padded query that sees nothing must give numbers, not NaN, or its key
    # would carry NaN into the next layer.
    lowest = torch.finfo(torch.float32).min
    memory_scores = memory_scores + memory_bias.float().repeat_interleave(beams, 0)[:, None, None, :]
    memory_scores = memory_scores.masked_fill(~memory_visible.repeat_interleave(beams, 0)[:, None], lowest)
    if top_m is not None and top_m < tokens:
        threshold = memory_scores.topk(top_m, dim=-1).values[..., -1:]
        memory_scores = memory_scores.masked_fill(memory_scores < threshold, lowest)
    local_scores = local_scores.masked_fill(~local_visible, lowest)

    scores = [memory_scores, local_scores]
    if sinks is not None:
        scores.append(sinks.float().view(1, -1, 1, 1).expand(rows, -1, queries, 1))
    weights = torch.softmax(torch.cat(scores, dim=-1), dim=-1)
    memory_weights, local_weights = weights[..., :tokens], weights[..., tokens : tokens + local_key.shape[2]]

    kept_memory = torch.nn.functional.dropout(memory_weights, dropout).to(memory_value.dtype)
    kept_local = torch.nn.functional.dropout(local_weights, dropout).to(local_value.dtype)
    stacked = kept_memory.reshape(batch, beams, kv_heads, group * queries, tokens).transpose(1, 2).flatten(2, 3)
    from_memory = (stacked @ memory_value).view(batch, kv_heads, beams, group, queries, -1).transpose(1, 2)
    from_local = kept_local.reshape(rows, kv_heads, group * queries, -1) @ local_value
    output = from_memory.reshape(rows, heads, queries, -1) + from_local.view(rows, heads, queries, -1)
    return output, memory_weights
