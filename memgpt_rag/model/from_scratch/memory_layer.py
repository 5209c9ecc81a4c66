"""Layers with memory: `FormulaLayer` is the formula to the letter, `MemoryLayer` its form with learned parts.

    formula    Y = W X + M softmax(Mᵀ X)
    sum        Y = local(X) + g · U Σ_j softmax over [ null | memory, top-m ] (τ · sim(Q x, K m_j) + bias_j) · V m_j

`W X` and `local(X)` are the local path. The memory path of `formula` is one step of a modern Hopfield network with β = 1
(Ramsauer et al. 2021, eq. 3): it has no scale, so that of cosine scores between 0 and 1 it makes weights that are nearly
equal. `sum` learns an inverse temperature τ that starts at 20, may turn to a null slot that gives nothing, and
passes through a gate g that starts at zero: an untrained layer does what it did without memory.
Tokens and memory vectors are rows here, where the formula has them as columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from memgpt_rag.model.attention import UNSEEN

Similarity = Literal["dot", "cosine", "euclidean"]
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)
Projected = tuple[Float[Tensor, "*batch slots d_model"], Float[Tensor, "*batch slots d_model"]]


def memory_formula(
    x: Float[Tensor, "*batch tokens d_model"],
    weight: Float[Tensor, "d_model d_model"],
    memory: Float[Tensor, "*batch slots d_model"],
) -> Float[Tensor, "*batch tokens d_model"]:
    """Y = W X + M softmax(Mᵀ X), to the letter."""
    return x @ weight.T + torch.softmax(x @ memory.transpose(-1, -2), dim=-1) @ memory


def similarity_scores(
    query: Float[Tensor, "*batch queries dim"], key: Float[Tensor, "*batch slots dim"], similarity: Similarity
) -> Float[Tensor, "*batch queries slots"]:
    """⟨q, k⟩; the cosine; or −½‖q − k‖², which for vectors of length 1 is the cosine minus 1."""
    if similarity == "cosine":
        query, key = (nn.functional.normalize(vectors, dim=-1) for vectors in (query, key))
    dot = query @ key.transpose(-1, -2)
    if similarity == "euclidean":
        return dot - (query.square().sum(-1, keepdim=True) + key.square().sum(-1).unsqueeze(-2)) / 2
    return dot


@dataclass(frozen=True)
class MemoryRead:
    """What a layer gives.

    Attributes:
        output: the local path and what was read from memory.
        weights: weight of each memory vector, averaged over heads; what is missing to 1 went to the null slot.
    """

    output: Float[Tensor, "batch tokens d_model"]
    weights: Float[Tensor, "batch tokens slots"]

    def entry_mass(self, entry_of_slot: Int[Tensor, " slots"], entries: int) -> Float[Tensor, "batch tokens entries"]:
        """Weight of each entry, of which a memory may hold several vectors."""
        mass = self.weights.new_zeros(*self.weights.shape[:-1], entries)
        return mass.index_add(-1, entry_of_slot, self.weights)


class FormulaLayer(nn.Module):
    """The formula to the letter: Y = W X + M softmax(Mᵀ X), with the one weight W and memory vectors of d_model numbers.

    Args:
        d_model: numbers per token and per memory vector.
    """

    def __init__(self, d_model: int):
        super().__init__()
        self.local = nn.Linear(d_model, d_model, bias=False)  # W

    def forward(
        self, x: Float[Tensor, "batch tokens d_model"], memory: Float[Tensor, "batch slots d_model"]
    ) -> MemoryRead:
        """Read the memory for every token."""
        weights = torch.softmax(x @ memory.transpose(-1, -2), dim=-1)
        return MemoryRead(self.local(x) + weights @ memory, weights)


@dataclass(frozen=True)
class MemoryLayerConfig:
    """Settings of a `MemoryLayer`.

    Attributes:
        nhead: heads, each with its own temperature, gate and null slot.
        d_memory: numbers per memory vector; None for d_model.
        similarity: how near a query and a key are.
        inverse_temperature: where τ starts: 20 and more for cosines.
        top_m: memory vectors that a head reads at once; None for all.
        dropout: probability of dropping a weight while training.
    """

    nhead: int = 1
    d_memory: int | None = None
    similarity: Similarity = "cosine"
    inverse_temperature: float = 20.0
    top_m: int | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.similarity not in SIMILARITIES:
            raise ValueError(f"There is no similarity {self.similarity!r}; expected {', '.join(SIMILARITIES)}.")


class MemoryLayer(nn.Module):
    """Adds what a memory says to what a local path says, with learned projections, temperature, null slot and gate.

    Args:
        d_model: numbers per token.

    Raises:
        ValueError: heads that d_model cannot be shared by.
    """

    def __init__(self, d_model: int, config: MemoryLayerConfig = MemoryLayerConfig()):
        super().__init__()
        nhead = config.nhead
        if d_model % nhead:
            raise ValueError(f"d_model is {d_model} and nhead {nhead}; expected heads of equal size.")
        self.similarity, self.nhead, self.top_m = config.similarity, nhead, config.top_m
        d_memory = config.d_memory or d_model
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_memory, d_model, bias=False)
        self.value = nn.Linear(d_memory, d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)  # U
        self.dropout = nn.Dropout(config.dropout)
        self.log_inverse_temperature = nn.Parameter(torch.full((nhead,), math.log(config.inverse_temperature)))
        self.null_score = nn.Parameter(torch.zeros(nhead))
        self.gate = nn.Parameter(torch.zeros(nhead))

    def forward(
        self,
        x: Float[Tensor, "batch tokens d_model"],
        memory: Float[Tensor, "batch slots d_memory"] | Projected,
        *,
        local: Float[Tensor, "batch tokens d_model"] | None = None,
        bias: Float[Tensor, "batch 1_or_tokens slots"] | None = None,
    ) -> MemoryRead:
        """Read the memory for every token.

        Args:
            memory: its vectors; or their keys and values, as `project` gives them.
            local: what the local path gives for the tokens; None for x.
            bias: added to the score of each memory vector, such as β · (s − max s); `UNSEEN` or −∞ hides one.
        """
        projected = self.project(memory) if isinstance(memory, Tensor) else memory
        read, weights = self._read(x, projected, bias)
        return MemoryRead((x if local is None else local) + read, weights)

    def project(self, memory: Float[Tensor, "*batch slots d_memory"]) -> Projected:
        """Keys and values of memory vectors: once for a text that many queries read."""
        return self.key(memory), self.value(memory)

    def _read(self, x: Tensor, projected: Projected, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        query, key, value = (
            projection.unflatten(-1, (self.nhead, -1)).transpose(1, 2) for projection in (self.query(x), *projected)
        )
        each = (self.nhead, 1, 1)
        scores = similarity_scores(query, key, self.similarity) * self.log_inverse_temperature.exp().view(each)
        if self.similarity == "dot":
            scores = scores * key.shape[-1] ** -0.5
        if bias is not None:
            scores = (scores + bias[:, None]).clamp(min=UNSEEN)
        if self.top_m is not None and self.top_m < scores.shape[-1]:
            lowest = scores.topk(self.top_m, dim=-1, sorted=False).values.amin(-1, keepdim=True)
            scores = scores.masked_fill(scores < lowest, UNSEEN)
        null = self.null_score.view(each).expand(*scores.shape[:-1], 1)
        weights = torch.softmax(torch.cat([null, scores], dim=-1), dim=-1)[..., 1:]
        read = (self.dropout(weights) @ value) * self.gate.tanh().view(each)
        return self.out(read.transpose(1, 2).flatten(2)), weights.mean(1)
