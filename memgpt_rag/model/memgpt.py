"""MemGPT from scratch: a small language model with memory attention that learns to read what a search found.

A neighbour, a piece of text that was found, is read by the same layers without memory. Each of its tokens becomes a
memory vector: what the layer made of the text up to that token, beside the embedding of the token that came next. So a
query that resembles the context there can read how that context went on, as in a continuous cache (Grave et al. 2017).
Training text is read in chunks, and a chunk sees what was found for the text before it (RETRO, Borgeaud et al. 2022,
§2.3), so that no logit depends on a later token.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from memgpt_rag.errors import ModelError
from memgpt_rag.model.attached import Attached, Finder, Query
from memgpt_rag.model.attention import UNSEEN
from memgpt_rag.model.decoder import MemoryDecoder
from memgpt_rag.model.memory_layer import MemoryLayer
from memgpt_rag.tokenizer import byte_tokenizer, load_tokenizer

_MODEL_TYPE = "memgpt_rag"


class MemGPT(nn.Module):
    """A Transformer decoder whose chosen layers attend to memory beside their own text.

    Args:
        vocab_size: token ids; at least as many as the tokenizer has.
        d_model: numbers per token.
        nhead: heads of self-attention and of memory attention.
        num_layers: layers.
        dim_feedforward: numbers inside a feed-forward layer.
        dropout: probability of dropping a number while training.
        memory_layers: layers behind which memory is read; None for the last one.
        max_tokens: longest text in tokens.
        chunk_tokens: tokens of a chunk, all of which see the same neighbours.
        top_m: memory vectors that a head reads at once; None for all.
        tokenizer: None for one token per byte.

    Raises:
        ValueError: sizes that contradict each other.
    """

    def __init__(
        self,
        vocab_size: int = 10_000,
        d_model: int = 512,
        nhead: int = 8,
        num_layers: int = 2,
        dim_feedforward: int = 2048,
        *,
        dropout: float = 0.1,
        memory_layers: Sequence[int] | None = None,
        max_tokens: int = 512,
        chunk_tokens: int = 64,
        top_m: int | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ):
        super().__init__()
        places = (num_layers - 1,) if memory_layers is None else tuple(sorted(set(memory_layers)))
        unknown = [layer for layer in places if not 0 <= layer < num_layers]
        if unknown:
            raise ValueError(f"memory_layers has {unknown}; expected layers from 0 to {num_layers - 1}.")
        self.tokenizer = byte_tokenizer() if tokenizer is None else tokenizer
        if len(self.tokenizer) > vocab_size:
            raise ValueError(
                f"The tokenizer has {len(self.tokenizer)} tokens and vocab_size is {vocab_size}; raise it."
            )
        self.sizes: dict[str, Any] = {
            "vocab_size": vocab_size,
            "d_model": d_model,
            "nhead": nhead,
            "num_layers": num_layers,
            "dim_feedforward": dim_feedforward,
            "dropout": dropout,
            "memory_layers": places,
            "max_tokens": max_tokens,
            "chunk_tokens": chunk_tokens,
            "top_m": top_m,
        }
        self.max_tokens, self.chunk_tokens = max_tokens, chunk_tokens
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_tokens, d_model)
        for of_embedding in (self.embedding, self.position):
            nn.init.normal_(of_embedding.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                d_model, nhead, dim_feedforward, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(num_layers)
        )
        self.memory_norm = nn.ModuleDict({str(layer): nn.LayerNorm(d_model) for layer in places})
        readers = {
            str(layer): MemoryLayer(d_model, nhead=nhead, d_memory=2 * d_model, top_m=top_m, dropout=dropout)
            for layer in places
        }
        for reader in readers.values():
            _begin_as_cache(reader)
        self.memory = nn.ModuleDict(readers)
        self.norm = nn.LayerNorm(d_model)
        self._attached: Attached | None = None

    def forward(
        self,
        inputs: Int[Tensor, "batch tokens"],
        neighbours: Int[Tensor, "batch chunks k neighbour_tokens"] | None = None,
        *,
        all_positions: bool = False,
    ) -> Float[Tensor, "batch vocab_size"] | Float[Tensor, "batch tokens vocab_size"]:
        """Logits of the next token.

        Args:
            neighbours: token ids of the texts that each chunk of the inputs sees, −1 where no token stands; of a single
                chunk, every token sees them. None to look them up in the attached memory, if there is one: for the
                last position by the whole text, for all positions by the chunk before each chunk.
            all_positions: logits of every position, for language modelling.

        Raises:
            ValueError: more tokens than the model can read, or fewer chunks than the inputs have.
        """
        if inputs.shape[1] > self.max_tokens:
            raise ValueError(f"The text has {inputs.shape[1]} tokens; this model reads at most {self.max_tokens}.")
        if neighbours is None:
            neighbours = self._found(inputs, all_positions)
        return self._logits(inputs, neighbours) if all_positions else self._logits(inputs, neighbours, last=True)[:, -1]

    def attach(
        self, memory: Finder | Sequence[str], *, k: int = 2, query: Query = "always", min_score: float = 0.3
    ) -> None:
        """Read from a memory from now on.

        Args:
            memory: what finds texts, such as a `Retriever`; or the texts themselves, all of which are read.
            k: texts to look up at once.
            query: the decision to query: "auto" leaves out what scores below `min_score`; "never" leaves the memory out.
            min_score: lowest score, a cosine for most memories, of what "auto" reads.

        Raises:
            ValueError: no such decision.
        """
        self._attached = Attached(memory, self.tokenizer, k, query, min_score, self.max_tokens)

    def detach(self) -> None:
        """Read from no memory any more."""
        self._attached = None

    @torch.no_grad()
    def generate(
        self, text: str, *, max_new_tokens: int = 32, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> str:
        """Continue a text; the attached memory is asked again after every chunk.

        Args:
            temperature: 0 takes the likeliest token; above 0, tokens are drawn.

        Raises:
            ValueError: a text without tokens.
        """
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise ValueError("The text is empty; there is nothing to continue.")
        training, written = self.training, list[int]()
        self.eval()
        try:
            found: Tensor | None = None
            for step in range(max_new_tokens):
                seen = torch.tensor([[*ids, *written][-self.max_tokens :]], device=self.embedding.weight.device)
                if step % self.chunk_tokens == 0:
                    found = self._found(seen, all_positions=False)
                logits = self._logits(seen, found)[0, -1, : len(self.tokenizer)]
                token = int(_draw(logits, temperature, generator))
                if token == self.tokenizer.eos_token_id:
                    break
                written.append(token)
        finally:
            self.train(training)
        continued: str = self.tokenizer.decode(written)
        return continued

    def save_pretrained(self, folder: str | Path) -> None:
        """Write sizes, weights and tokenizer; `from_pretrained` reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"model_type": _MODEL_TYPE, **self.sizes}, indent=1) + "\n")
        save_file(self.state_dict(), folder / "model.safetensors")
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def from_pretrained(cls, name: str | Path, **settings: Any) -> MemGPT | MemoryDecoder:
        """A model of this class that was saved, or any pretrained decoder with memory in its attention.

        Args:
            name: a folder; or for a decoder also a hub name, or the name of one that comes as a package.
            settings: those of `MemoryDecoder.from_pretrained`, for a decoder.

        Raises:
            ModelError: no such model, or a damaged one.
            MissingPackageError: it comes as a package that is not installed.
        """
        folder, sizes = Path(name), {}
        try:
            sizes = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if sizes.pop("model_type", None) != _MODEL_TYPE:
                raise FileNotFoundError
        except FileNotFoundError:
            return MemoryDecoder.from_pretrained(name, **settings)
        except (OSError, ValueError, AttributeError) as error:
            raise ModelError(
                f"{folder / 'config.json'} does not describe a model ({error}); save the model again."
            ) from error
        try:
            model = cls(**sizes, tokenizer=load_tokenizer(folder))
            model.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{folder} does not hold a whole MemGPT ({reason}); save the model again.") from error
        return model.eval()

    def _found(self, inputs: Tensor, all_positions: bool) -> Tensor | None:
        """Neighbours from the attached memory: of the whole text, or of each chunk by the chunk before it."""
        if self._attached is None:
            return None
        size, asked = self.chunk_tokens, [[row] for row in inputs.tolist()]
        if all_positions:
            asked = [[row[max(0, at - size) : at] for at in range(0, len(row), size)] for (row,) in asked]
        found = self._attached.neighbours(asked)
        return None if found is None else found.to(inputs.device)

    def _logits(self, ids: Tensor, neighbours: Tensor | None, last: bool = False) -> Tensor:
        written = None if neighbours is None or not neighbours.numel() else self._write(neighbours)
        hidden, _ = self._read(ids, written)
        logits: Tensor = self.norm(hidden[:, -1:] if last else hidden) @ self.embedding.weight.T  # Press & Wolf 2017
        return logits

    def _read(
        self, ids: Tensor, written: tuple[dict[str, Tensor], Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Hidden states behind the last layer, and in memory layers as they were before memory was read."""
        tokens = ids.shape[1]
        x = self.dropout(self.embedding(ids) + self.position.weight[:tokens])
        causal = nn.Transformer.generate_square_subsequent_mask(tokens, device=ids.device)
        before: dict[str, Tensor] = {}
        for number, layer in enumerate(self.layers):
            x = layer(x, src_mask=causal, is_causal=True)
            if (name := str(number)) in self.memory:
                before[name] = self.memory_norm[name](x)
                if written is not None:
                    x = self._attend(name, x, before[name], written[0][name], written[1])
        return x, before

    def _write(self, neighbours: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Memory vectors of each memory layer, [batch, chunks, slots, 2 · d_model], and a bias that hides padding."""
        batch, chunks, k, tokens = neighbours.shape
        ids = neighbours.reshape(batch * chunks * k, tokens)
        present, ids, slots = ids[:, 1:] >= 0, ids.clamp(min=0), k * max(tokens - 1, 0)
        with torch.no_grad():
            _, before = self._read(ids[:, :-1])
        following = self.embedding(ids[:, 1:])
        vectors = {
            name: torch.cat([before[name], self.memory_norm[name](following)], dim=-1).view(batch, chunks, slots, -1)
            for name in self.memory
        }
        hidden = torch.zeros(present.shape, device=ids.device).masked_fill(~present, UNSEEN)
        return vectors, hidden.view(batch, chunks, 1, slots)

    def _attend(self, name: str, x: Tensor, asking: Tensor, vectors: Tensor, bias: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        chunks = vectors.shape[1]
        size = tokens if chunks == 1 else self.chunk_tokens
        if chunks * size < tokens:
            raise ValueError(
                f"{tokens} tokens are {-(-tokens // size)} chunks of {size}, and neighbours are given for {chunks}."
            )
        fill = (0, 0, 0, chunks * size - tokens)
        asking, local = (nn.functional.pad(one, fill).view(batch * chunks, size, width) for one in (asking, x))
        read = self.memory[name](asking, vectors.flatten(0, 1), local=local, bias=bias.flatten(0, 1))
        output: Tensor = read.output.view(batch, chunks * size, width)[:, :tokens]
        return output


@torch.no_grad()
def _begin_as_cache(layer: MemoryLayer) -> None:
    """Compare contexts and read what came next, before anything is learned: a gate has a gradient to open by."""
    nn.init.orthogonal_(layer.query.weight)
    nn.init.orthogonal_(layer.out.weight)
    nothing = torch.zeros_like(layer.query.weight)
    layer.key.weight.copy_(torch.cat([layer.query.weight, nothing], dim=1))
    layer.value.weight.copy_(torch.cat([nothing, layer.out.weight.T], dim=1))


def _draw(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    if not temperature:
        return logits.argmax()
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
