"""Delimiters: trained vectors that stand behind the shared prefix and behind every entry, so that entries that were read apart
are read together (KV Packet, arXiv 2604.13226, §3). The decoder's weights stay as they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Delimiters:
    """Vectors in the place of token embeddings, in fp32.

    Attributes:
        prefix: stand behind the tokens of the prefix.
        entry: stand behind the tokens of every entry.
    """

    prefix: Float[Tensor, "count hidden"]
    entry: Float[Tensor, "count hidden"]

    def tensors(self) -> dict[str, Tensor]:
        """The vectors by name, as they are saved."""
        return {"prefix": self.prefix, "entry": self.entry}

    def digest(self) -> str:
        """Return the first 16 hexadecimal digits of the SHA-256 of the vectors."""
        total = hashlib.sha256()
        for vectors in (self.prefix, self.entry):
            total.update(vectors.detach().float().cpu().contiguous().numpy().astype("<f4").tobytes())
        return total.hexdigest()[:16]

    def behind_prefix(self, embedded: Float[Tensor, "1 tokens hidden"]) -> Float[Tensor, "1 all hidden"]:
        """The prefix's embeddings with the vectors behind them."""
        return torch.cat([embedded, self.prefix.to(embedded.dtype)[None]], dim=1)

    def behind_entries(
        self, embedded: Float[Tensor, "rows width hidden"], lengths: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows width hidden"]:
        """Embeddings of entries, padded on the right, with the vectors in the first places of the padding."""
        place = torch.arange(embedded.shape[1], device=embedded.device) - lengths[:, None]
        inside = (place >= 0) & (place < len(self.entry))
        vectors = self.entry.to(embedded.dtype)[place.clamp(0, len(self.entry) - 1)]
        return torch.where(inside[..., None], vectors, embedded)


def new_delimiters(
    embedding: Float[Tensor, " hidden"], *, prefix: int = 8, entry: int = 8, noise: float = 0.1, seed: int = 0
) -> Delimiters:
    """Delimiters to train, each near the embedding of one token, such as a line break.

    Args:
        embedding: of one token, as `MemoryDecoder.embedded` gives it.
        noise: standard deviation of what is added, in units of the embedding's root mean square.
    """
    generator = torch.Generator().manual_seed(seed)
    start = embedding.detach().float().cpu()
    size = noise * start.square().mean().sqrt()
    drawn = start + size * torch.randn(prefix + entry, len(start), generator=generator)
    drawn = drawn.to(embedding.device)
    return Delimiters(drawn[:prefix].clone().requires_grad_(), drawn[prefix:].clone().requires_grad_())
