"""The memory attention formula as pure functions of tensors: no model, no search, no files.

    score[j] = τ · ⟨q, K_j⟩ · scaling + β · (s_p(j) − max s) + b      for memory token j of entry p(j)
    weights  = softmax over [ null | memory, top-m per head | local context ]
    output   = Σ weights · V

This is the `joint` fusion: memory and local context share one softmax, so the share that memory gets is the ratio of
the two partition functions and a frozen language model can read memory at once. Parts that are computed apart and
merged by their log-sum-exp give the same (Milakov & Gimelshein 2018, §3); one softmax over the few memory tokens that a
head keeps and the local ones takes half as long here. The attention itself is scaled dot-product attention (Vaswani et
al. 2017, eq. 1); attending to retrieved keys beside local ones, the best m per head only, follows Memorizing
Transformers (Wu et al. 2022, §3.2), which joins the two parts by a learned gate where we use one softmax.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor

# What a mask adds where nothing may be seen: the lowest finite number, not −inf, because a padded query that sees
# nothing must give numbers, not NaN, or its key would carry NaN into the next layer.
UNSEEN = torch.finfo(torch.float32).min

PerHead = float | Float[Tensor, " heads"]


class MemoryValues(NamedTuple):
    """Values of memory tokens: numbers, or int8 codes with one scale per token and head.

    Codes are widened for the few tokens only that a query keeps. Keys are numbers, since every query meets all of them:
    on a CPU, products of int8 with queries in two digits of 8 bits (one moves answers) took longer than those of bf16.
    """

    codes: Float[Tensor, "batch kv_heads tokens dim"] | Int8[Tensor, "batch kv_heads tokens dim"]
    scales: Float[Tensor, "batch kv_heads tokens"] | None = None

    def widened(self, dtype: torch.dtype) -> Float[Tensor, "batch kv_heads tokens dim"]:
        """The numbers that the codes stand for."""
        numbers = self.codes.to(dtype)
        return numbers if self.scales is None else numbers * self.scales.to(dtype).unsqueeze(-1)


class MemoryWeights(NamedTuple):
    """What each query gave to memory tokens: to those in `tokens`, or to all in their order where that is None."""

    weights: Float[Tensor, "rows heads queries m"]
    tokens: Int[Tensor, "rows heads queries m"] | None

    def dense(self, tokens: int) -> Float[Tensor, "rows heads queries tokens"]:
        """The weight of every memory token."""
        if self.tokens is None:
            return self.weights
        nothing = self.weights.new_zeros(*self.weights.shape[:-1], tokens)
        return nothing.scatter(-1, self.tokens, self.weights)


class LocalTokens(NamedTuple):
    """The tokens of the sequence itself.

    `mask` is added to their scores: 0, or its lowest number where a query must not see a token.
    """

    key: Float[Tensor, "rows kv_heads locals head_dim"]
    value: Float[Tensor, "rows kv_heads locals value_dim"]
    mask: Float[Tensor, "rows 1 queries locals"]


class MemoryTokens(NamedTuple):
    """The tokens of entries.

    `mask` is fp32 and added to their scores: the bias β · (s − max s) of each token's entry, or `UNSEEN`. Keys may have one number
    more than queries, which is scaled and added to their scores, for layers that add a number of their own to each key.
    """

    key: Float[Tensor, "batch kv_heads tokens key_dim"]
    value: MemoryValues
    mask: Float[Tensor, "batch_or_rows 1_or_heads queries_or_1 tokens"]


class ScoreSettings(NamedTuple):
    """How dot products become scores.

    Attributes:
        scaling: factor on every dot product, 1/√head_dim in most models.
        inverse_temperature: τ, on memory scores only; one number, or one per head.
        offset: b, added to memory scores only; one number, or one per head.
        top_m: memory tokens kept per query and head, by score; None keeps all.
        null_score: score of a slot that takes weight and gives no value, where a query sees any memory; None for no such
            slot.
        softcap: c of c · tanh(score / c), applied to dot products before bias and mask, as Gemma 2 does.
        sinks: one extra logit per head that takes weight and gives no value, as in gpt-oss; or one per row, head and query, of shape
            [rows, heads, queries, 1].
    """

    scaling: float
    inverse_temperature: PerHead = 1.0
    offset: PerHead = 0.0
    top_m: int | None = None
    null_score: PerHead | None = None
    softcap: float | None = None
    sinks: Float[Tensor, " heads"] | Float[Tensor, "rows heads queries 1"] | None = None


def joint_attention(
    query: Float[Tensor, "rows heads queries head_dim"],
    local: LocalTokens,
    memory: MemoryTokens,
    settings: ScoreSettings,
    *,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "rows heads queries value_dim"], MemoryWeights]:
    """Attend to memory tokens and local tokens with one softmax.

    `rows` is a multiple of `batch`: where a search keeps several beams a question, the beams of one question are
    neighbors and share its memory without copying it.

    Args:
        query: rotated queries; heads may be a multiple of `kv_heads` (grouped-query attention).
        dropout: probability of dropping a weight; 0 in evaluation.

    Returns:
        The output, and the weights of memory tokens, in fp32.
    """
    shape = _Heads.of(query, memory.key)
    weights, tokens = joint_weights(*_scores(query, local, memory, settings, shape), settings)
    kept = torch.nn.functional.dropout(weights, dropout) if dropout else weights
    count = memory.key.shape[2] if tokens is None else tokens.shape[-1]
    local_end = count + local.key.shape[2]
    read = _weighted_sum(kept[..., :count], tokens, memory.value, shape)
    local_kept = kept[..., count:local_end].to(local.value.dtype)
    local_read = matmul(local_kept.reshape(*local.key.shape[:2], -1, local.key.shape[2]), local.value)
    local_read = local_read.view(*query.shape[:3], -1)
    return read.to(local_read.dtype) + local_read, MemoryWeights(weights[..., :count], tokens)


def joint_weights(
    scores: Float[Tensor, "rows heads queries tokens"],
    local_scores: Float[Tensor, "rows heads queries locals"],
    settings: ScoreSettings,
) -> tuple[Float[Tensor, "rows heads queries weights"], Int[Tensor, "rows heads queries m"] | None]:
    """Return the weights of memory tokens, of local tokens and of slots, in this order, and which memory tokens were kept.

    Args:
        scores: of memory tokens, with their mask and τ, without b.
    """
    tokens = None
    if settings.top_m is not None and settings.top_m < scores.shape[-1]:
        scores, tokens = scores.topk(settings.top_m, dim=-1, sorted=False)
    if isinstance(settings.offset, Tensor) or settings.offset != 0:
        scores = scores + per_head(settings.offset, scores)
    slots = _slots(scores, settings)
    return torch.softmax(torch.cat([scores, local_scores, *slots], dim=-1), dim=-1), tokens


def _scores(
    query: Tensor, local: LocalTokens, memory: MemoryTokens, settings: ScoreSettings, shape: _Heads
) -> tuple[Float[Tensor, "rows heads queries tokens"], Float[Tensor, "rows heads queries locals"]]:
    """Scores of memory tokens, without b, and of local tokens, with their masks."""
    memory_query = (query * (per_head(settings.inverse_temperature, query) * settings.scaling)).to(query.dtype)
    if memory.key.shape[-1] == query.shape[-1] + 1:  # the last number of a key is added to its scores, once scaled
        memory_query = torch.nn.functional.pad(memory_query, (0, 1), value=settings.scaling)
    scores = shape.unstack(matmul(shape.stack(memory_query), memory.key.transpose(-1, -2)))
    local_query = (query * settings.scaling).reshape(*local.key.shape[:2], -1, query.shape[-1])
    local_scores = matmul(local_query, local.key.transpose(-1, -2)).view(*query.shape[:3], -1)
    if (cap := settings.softcap) is not None:
        scores, local_scores = (cap * torch.tanh(one / cap) for one in (scores, local_scores))
    beams = len(scores) // len(memory.mask)
    scores = scores + (memory.mask if beams == 1 else memory.mask.repeat_interleave(beams, 0))  # fp32
    return scores, (local_scores + local.mask).to(scores.dtype)


def _slots(
    scores: Float[Tensor, "rows heads queries m"], settings: ScoreSettings
) -> list[Float[Tensor, "rows heads queries 1"]]:
    """Scores of the slots that take weight and give no value: sinks, and the null slot where any memory is seen."""

    def expanded(slot: PerHead) -> Tensor:
        score = torch.as_tensor(slot, dtype=scores.dtype, device=scores.device)
        if score.dim() == 4:
            return score
        return score.expand(scores.shape[1]).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)

    slots = [] if settings.sinks is None else [expanded(settings.sinks)]
    if settings.null_score is not None:
        seen = scores.amax(-1, keepdim=True) > UNSEEN / 2
        slots.append(expanded(settings.null_score).where(seen, UNSEEN))
    return slots


class _Heads(NamedTuple):
    """How queries share memory keys: those that read the same keys stand one below the other, so that no key is copied."""

    batch: int
    beams: int
    kv_heads: int
    group: int
    queries: int

    @classmethod
    def of(cls, query: Tensor, memory: Tensor) -> _Heads:
        rows, heads, queries, _ = query.shape
        batch, kv_heads = memory.shape[:2]
        return cls(batch, rows // batch, kv_heads, heads // kv_heads, queries)

    def stack(self, by_row: Tensor) -> Tensor:
        """[rows, heads, queries, …] → [batch, kv_heads, everything that reads the same keys, …]."""
        by_memory = by_row.reshape(self.batch, self.beams, self.kv_heads, self.group * self.queries, -1)
        return by_memory.flatten(0, 1) if self.beams == 1 else by_memory.transpose(1, 2).flatten(2, 3)

    def unstack(self, stacked: Tensor) -> Tensor:
        by_memory = stacked.view(self.batch, self.kv_heads, self.beams, self.group * self.queries, -1)
        ordered = by_memory if self.beams == 1 else by_memory.transpose(1, 2)
        return ordered.reshape(self.batch * self.beams, self.kv_heads * self.group, self.queries, -1)


def _weighted_sum(
    weights: Float[Tensor, "rows heads queries m"], tokens: Tensor | None, value: MemoryValues, shape: _Heads
) -> Float[Tensor, "rows heads queries value_dim"]:
    """Σ weights · V over all memory tokens, or over the few that were kept: only their values are fetched and widened."""
    if tokens is None:
        dtype = weights.dtype if value.scales is not None else value.codes.dtype
        return shape.unstack(matmul(shape.stack(weights.to(dtype)), value.widened(dtype)))
    batch, kv_heads, count, dim = value.codes.shape
    first = torch.arange(batch * kv_heads, device=tokens.device).view(batch, kv_heads, 1, 1) * count
    place, weights = (shape.stack(tokens) + first).flatten(), shape.stack(weights)
    if value.scales is not None:
        weights = weights * value.scales.flatten().index_select(0, place).view(weights.shape)
    fetched = value.codes.reshape(-1, dim).index_select(0, place).to(weights.dtype)
    read = torch.bmm(weights.reshape(-1, 1, weights.shape[-1]), fetched.view(-1, weights.shape[-1], dim))
    return shape.unstack(read.view(batch, kv_heads, -1, dim))


def matmul(left: Float[Tensor, "rows heads n d"], right: Float[Tensor, "rows heads d m"]) -> Tensor:
    """A product per row and head. A single one goes as a plain product of matrices: two to four times as fast in bf16
    on a CPU as a batch of one.
    """
    if left.shape[:2] == (1, 1):
        return (left[0, 0] @ right[0, 0])[None, None]
    return left @ right


def per_head(number: PerHead, like: Tensor, trailing: int = 2) -> float | Tensor:
    """Return one number, or one per head in the shape in which it meets `like`, [rows, heads, …]."""
    return number.to(like.device).view(1, -1, *[1] * trailing) if isinstance(number, Tensor) else number
