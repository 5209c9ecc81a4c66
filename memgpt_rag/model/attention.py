"""The memory attention formula as pure functions of tensors: no model, no search, no files.

    score[j] = τ · ⟨q, K_j⟩ · scaling + β · (s_p(j) − max s) + b      for memory token j of entry p(j)
    weights  = softmax over [ null | memory, top-m per head | local context ]
    output   = Σ weights · V

This is the `joint` fusion: memory and local context share one softmax, so the share that memory gets is the ratio of
the two partition functions and a frozen language model can read memory at once. The attention itself is scaled
dot-product attention (Vaswani et al. 2017, eq. 1); attending to retrieved keys beside local ones, the best m per head
only, follows Memorizing Transformers (Wu et al. 2022, §3.2), which joins the two parts by a learned gate where we use
one softmax.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

# What a mask adds where nothing may be seen: the lowest finite number, not −inf, because a padded query that sees
# nothing must give numbers, not NaN, or its key would carry NaN into the next layer.
UNSEEN = torch.finfo(torch.float32).min

PerHead = float | Float[Tensor, " heads"]


def joint_attention(
    query: Float[Tensor, "rows heads queries head_dim"],
    local_key: Float[Tensor, "rows kv_heads locals head_dim"],
    local_value: Float[Tensor, "rows kv_heads locals value_dim"],
    local_mask: Float[Tensor, "rows 1 queries locals"],
    memory_key: Float[Tensor, "batch kv_heads tokens head_dim"],
    memory_value: Float[Tensor, "batch kv_heads tokens value_dim"],
    memory_mask: Float[Tensor, "batch 1 queries_or_1 tokens"],
    *,
    scaling: float,
    inverse_temperature: PerHead = 1.0,
    offset: PerHead = 0.0,
    top_m: int | None = None,
    null_score: PerHead | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, " heads"] | None = None,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "rows heads queries value_dim"], Float[Tensor, "rows heads queries tokens"]]:
    """One softmax over memory tokens and local tokens.

    `rows` is a multiple of `batch`: where a search keeps several beams a question, the beams of one question are
    neighbours and share its memory without copying it.

    Args:
        query: rotated queries; heads may be a multiple of `kv_heads` (grouped-query attention).
        local_mask: added to the scores of local tokens: 0, or its lowest number where a query must not see a token.
        memory_mask: fp32, added to the scores of memory tokens: the bias β · (s − max s) of each token's entry, or
            `UNSEEN`.
        scaling: factor on every dot product, 1/√head_dim in most models.
        inverse_temperature: τ, on memory scores only; one number, or one per head.
        offset: b, added to memory scores only; one number, or one per head.
        top_m: memory tokens kept per query and head, by score; None keeps all.
        null_score: score of a slot that takes weight and gives no value; None for no such slot.
        softcap: c of c · tanh(score / c), applied to dot products before bias and mask, as Gemma 2 does.
        sinks: one extra logit per head that takes weight and gives no value, as in gpt-oss.
        dropout: probability of dropping a weight; 0 in evaluation.

    Returns:
        The output, and the weight of each memory token, in fp32.
    """
    rows, heads, queries, _ = query.shape
    batch, kv_heads, tokens, _ = memory_key.shape
    beams, group = rows // batch, heads // kv_heads

    def stack(heads_of_rows: Tensor) -> Tensor:
        """Everything that reads the same memory keys, one below the other, so that no key is copied."""
        by_memory = heads_of_rows.reshape(batch, beams, kv_heads, group * queries, -1)
        return by_memory.flatten(0, 1) if beams == 1 else by_memory.transpose(1, 2).flatten(2, 3)

    def unstack(stacked: Tensor) -> Tensor:
        by_memory = stacked.view(batch, kv_heads, beams, group * queries, -1)
        return (by_memory if beams == 1 else by_memory.transpose(1, 2)).reshape(rows, heads, queries, -1)

    memory_query = (query * (_by_head(inverse_temperature, query) * scaling)).to(query.dtype)
    memory_scores = unstack(matmul(stack(memory_query), memory_key.transpose(-1, -2)))
    local_query = (query * scaling).reshape(rows, kv_heads, group * queries, -1)
    local_scores = matmul(local_query, local_key.transpose(-1, -2)).view(rows, heads, queries, -1)
    if softcap is not None:
        memory_scores, local_scores = (
            softcap * torch.tanh(scores / softcap) for scores in (memory_scores, local_scores)
        )

    memory_mask = memory_mask if beams == 1 else memory_mask.repeat_interleave(beams, 0)
    memory_scores = memory_mask + memory_scores  # fp32, as the mask is
    if top_m is not None and top_m < tokens:
        memory_scores.masked_fill_(memory_scores < mth_largest(memory_scores.detach(), top_m), UNSEEN)
    others = [(local_mask + local_scores).to(memory_scores.dtype)]
    for slot in (sinks, null_score):
        if slot is not None:
            score = torch.as_tensor(slot, dtype=memory_scores.dtype, device=query.device)
            others.append(score.expand(heads).view(1, -1, 1, 1).expand(rows, -1, queries, 1))
    if isinstance(offset, Tensor) or offset != 0:
        # A softmax sees differences only, and there are far fewer other scores to move than memory scores.
        others = [scores - _by_head(offset, query) for scores in others]
    weights = torch.softmax(torch.cat([memory_scores, *others], dim=-1), dim=-1)
    memory_weights = weights[..., :tokens]

    kept = (torch.nn.functional.dropout(weights, dropout) if dropout else weights).to(memory_value.dtype)
    from_memory = unstack(matmul(stack(kept[..., :tokens]), memory_value))
    local_weights = kept[..., tokens : tokens + local_key.shape[2]].reshape(rows, kv_heads, group * queries, -1)
    return from_memory + matmul(local_weights, local_value).view(rows, heads, queries, -1), memory_weights


def matmul(left: Float[Tensor, "rows heads n d"], right: Float[Tensor, "rows heads d m"]) -> Tensor:
    """A product per row and head. A single one goes as a plain product of matrices: two to four times as fast in bf16
    on a CPU as a batch of one.
    """
    if left.shape[:2] == (1, 1):
        return (left[0, 0] @ right[0, 0])[None, None]
    return left @ right


def _by_head(number: PerHead, like: Tensor) -> float | Tensor:
    return number.to(like.device).view(1, -1, 1, 1) if isinstance(number, Tensor) else number


def mth_largest(scores: Float[Tensor, "*rows tokens"], m: int, *, group: int = 8) -> Float[Tensor, "*rows 1"]:
    """The m-th largest score of each row.

    The m largest scores lie in the m groups with the largest maxima, so only those groups are searched: the same number
    as a search through all scores gives. On a CPU that is twice as fast for some hundred tokens; from 64 · m on, `topk`
    itself is fast.
    """
    tokens = scores.shape[-1]
    if 2 * m * group < tokens < 64 * m:
        padded = torch.nn.functional.pad(scores, (0, -tokens % group), value=UNSEEN)
        grouped = padded.view(*scores.shape[:-1], group, -1)  # a group's scores stand apart: its maximum is quicker so
        best = grouped.amax(-2, keepdim=True).topk(m, dim=-1, sorted=False).indices
        scores = grouped.gather(-1, best.expand(*grouped.shape[:-1], m)).flatten(-2)
    return scores.topk(m, dim=-1, sorted=False).values.amin(-1, keepdim=True)
