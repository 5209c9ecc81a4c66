"""Sizes of a model from scratch: one value that the network, its files and the commands share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MemGPTConfig:
    """Sizes of a `MemGPT`.

    Attributes:
        vocab_size: token ids; at least as many as the tokenizer has.
        d_model: numbers per token.
        nhead: heads of self-attention.
        num_layers: layers.
        dim_feedforward: numbers inside a feed-forward layer.
        dropout: probability of dropping a number while training.
        memory_layers: layers behind which memory is read; None for the first one, () for no memory.
        memory_heads: heads that read it. A head sees its share of a vector, so one can tell tokens apart best.
        max_tokens: longest text in tokens.
        chunk_tokens: tokens of a chunk, all of which see the same neighbors.
        top_m: memory vectors that a head reads at once; None for all.

    Raises:
        ValueError: a memory layer that is none of the layers, or heads that d_model cannot be shared by.
    """

    vocab_size: int = 10_000
    d_model: int = 512
    nhead: int = 8
    num_layers: int = 2
    dim_feedforward: int = 2048
    dropout: float = 0.1
    memory_layers: Sequence[int] | None = None
    memory_heads: int = 1
    max_tokens: int = 512
    chunk_tokens: int = 64
    top_m: int | None = None

    def __post_init__(self) -> None:
        layers = (0,) if self.memory_layers is None else tuple(sorted(set(self.memory_layers)))
        object.__setattr__(self, "memory_layers", layers)
        unknown = [layer for layer in layers if not 0 <= layer < self.num_layers]
        if unknown:
            raise ValueError(f"memory_layers has {unknown}; expected layers from 0 to {self.num_layers - 1}.")
        if self.d_model % self.nhead:
            raise ValueError(f"d_model is {self.d_model} and nhead {self.nhead}; expected heads of equal size.")
