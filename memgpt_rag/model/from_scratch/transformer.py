"""The network of a model from scratch: a Transformer whose chosen layers read memory beside their own text.

A neighbour, a piece of text that was found, is read by the same layers without memory. Each of its tokens becomes a
memory vector: what the layer made of the text up to that token, beside the embedding of the token that came next. So a
query that resembles the context there can read how that context went on, as in a continuous cache (Grave et al. 2017).
Knows no words and no search: token ids in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from memgpt_rag.model.attention import UNSEEN
from memgpt_rag.model.from_scratch.config import MemGPTConfig
from memgpt_rag.model.from_scratch.memory_layer import MemoryLayer, MemoryLayerConfig, Projected

# Keys and values of each memory layer for every chunk of a batch, their bias, and the number of chunks in a row.
Written = tuple[dict[str, Projected], Float[Tensor, "rows 1 slots"], int]


class MemoryTransformer(nn.Module):
    """Embeddings, layers of self-attention, and behind some of them a layer that reads memory."""

    def __init__(self, config: MemGPTConfig):
        super().__init__()
        self.sizes = config
        d_model, dropout = config.d_model, config.dropout
        self.max_tokens, self.chunk_tokens = config.max_tokens, config.chunk_tokens
        self.embedding = nn.Embedding(config.vocab_size, d_model)
        self.position = nn.Embedding(config.max_tokens, d_model)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.position.weight, std=0.05)
        self.layers, self.memory_norm, self.memory = nn.ModuleList(), nn.ModuleDict(), nn.ModuleDict()
        for number in range(config.num_layers):
            layer = nn.TransformerEncoderLayer(
                d_model,
                config.nhead,
                config.dim_feedforward,
                dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            _scale_residual(layer, config.num_layers)
            self.layers.append(layer)
            if number in self.memory_layers:
                layer_settings = MemoryLayerConfig(
                    config.memory_heads, 2 * d_model, top_m=config.top_m, dropout=dropout
                )
                reader = MemoryLayer(d_model, layer_settings)
                _initialize_as_cache(reader)
                self.memory_norm[str(number)], self.memory[str(number)] = nn.LayerNorm(d_model), reader
        self.norm = nn.LayerNorm(d_model)

    @property
    def memory_layers(self) -> Sequence[int]:
        """Layers behind which memory is read."""
        assert self.sizes.memory_layers is not None
        return self.sizes.memory_layers

    def logits(
        self,
        ids: Int[Tensor, "batch tokens"],
        neighbors: Int[Tensor, "batch chunks k neighbor_tokens"] | None,
        *,
        last: bool = False,
    ) -> Float[Tensor, "batch tokens_or_1 vocab_size"]:
        """Logits of the next token at every position, or at the last one; the embedding is the output (Press & Wolf 2017)."""
        written = None
        if neighbors is not None and neighbors.numel() and neighbors.shape[-1] > 1:  # one token goes on nowhere
            written = self.write(neighbors)
        hidden, _ = self.read(ids, written)
        logits: Tensor = self.norm(hidden[:, -1:] if last else hidden) @ self.embedding.weight.T
        return logits

    def read(
        self,
        ids: Int[Tensor, "batch tokens"],
        written: Written | None = None,
        *,
        layers: int | None = None,
    ) -> tuple[Float[Tensor, "batch tokens d_model"], dict[str, Tensor]]:
        """Hidden states behind the last layer, and in memory layers as they were before memory was read.

        Args:
            written: memory as `write` gives it; None to read without memory.
            layers: layers to go through; None for all.
        """
        tokens = ids.shape[1]
        x = self.embedding(ids) * math.sqrt(self.embedding.embedding_dim)  # Vaswani et al. 2017, §3.4
        x = self.dropout(x + self.position.weight[:tokens])
        causal = nn.Transformer.generate_square_subsequent_mask(tokens, device=ids.device)
        before: dict[str, Tensor] = {}
        for number, layer in enumerate(self.layers[:layers]):
            x = layer(x, src_mask=causal, is_causal=True)
            if (name := str(number)) in self.memory:
                before[name] = self.memory_norm[name](x)
                if written is not None:
                    x = self._attend(name, x, before[name], written)
        return x, before

    def write(self, neighbors: Int[Tensor, "batch chunks k neighbor_tokens"]) -> Written:
        """Keys and values of each memory layer, and a bias that hides padding. A text that many chunks see is read once."""
        if not self.memory_layers:
            raise ValueError(
                "This model has no memory layers and cannot read neighbors; make one with memory_layers=(0,)."
            )
        batch, chunks, k, tokens = neighbors.shape
        if tokens > self.max_tokens + 1:
            raise ValueError(f"A neighbor has {tokens} tokens; this model reads at most {self.max_tokens + 1}.")
        texts, place = torch.unique(neighbors.reshape(batch * chunks * k, tokens), dim=0, return_inverse=True)
        present, ids, slots = texts[:, 1:] >= 0, texts.clamp(min=0), k * (tokens - 1)
        with torch.no_grad():
            _, before = self.read(ids[:, :-1], layers=self.memory_layers[-1] + 1)
        following = self.embedding(ids[:, 1:])
        written = {}
        for name, reader in self.memory.items():
            assert isinstance(reader, MemoryLayer)
            vectors = torch.cat([before[name], self.memory_norm[name](following)], dim=-1)
            key, value = (projection[place].view(batch * chunks, slots, -1) for projection in reader.project(vectors))
            written[name] = key, value
        hidden = torch.zeros(present.shape, device=ids.device).masked_fill(~present, UNSEEN)[place]
        return written, hidden.view(batch * chunks, 1, slots), chunks

    def _attend(self, name: str, x: Tensor, asking: Tensor, written: Written) -> Tensor:
        batch, tokens, width = x.shape
        projected, bias, chunks = written
        size = tokens if chunks == 1 else self.chunk_tokens
        if chunks * size < tokens:
            raise ValueError(
                f"{tokens} tokens are {-(-tokens // size)} chunks of {size}, and neighbors are given for {chunks}."
            )
        fill = (0, 0, 0, chunks * size - tokens)
        asking, local = (nn.functional.pad(one, fill).view(batch * chunks, size, width) for one in (asking, x))
        read = self.memory[name](asking, projected[name], local=local, bias=bias)
        output: Tensor = read.output.view(batch, chunks * size, width)[:, :tokens]
        return output


@torch.no_grad()
def _scale_residual(layer: nn.TransformerEncoderLayer, layers: int) -> None:
    """What layers add starts small (Radford et al. 2019, §2.3): a token stays alike in all its contexts, and is found."""
    for adds in (layer.self_attn.out_proj, layer.linear2):
        adds.weight.mul_((2 * layers) ** -0.5)


@torch.no_grad()
def _initialize_as_cache(layer: MemoryLayer) -> None:
    """Compare contexts and read what came next, before anything is learned, through a gate that is half open."""
    nn.init.constant_(layer.gate, math.atanh(0.5))
    nn.init.orthogonal_(layer.query.weight)
    nn.init.orthogonal_(layer.out.weight)
    nothing = torch.zeros_like(layer.query.weight)
    layer.key.weight.copy_(torch.cat([layer.query.weight, nothing], dim=1))
    layer.value.weight.copy_(torch.cat([nothing, layer.out.weight.T], dim=1))
