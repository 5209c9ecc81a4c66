"""MemGPT from scratch: a small language model with memory attention that learns to read what a search found.

Training text is read in chunks, and a chunk sees what was found for the text before it (RETRO, Borgeaud et al. 2022,
§2.3), so that no logit depends on a later token. The network itself is `transformer.py`; here are the words, the attached
memory, and the files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from memgpt_rag.choices import UseMemory
from memgpt_rag.errors import ModelError, first_line
from memgpt_rag.hub.model_files import loading
from memgpt_rag.io.json_file import read_json
from memgpt_rag.model.decoder import MemoryDecoder
from memgpt_rag.model.from_scratch.attached_memory import Attached, Lookup
from memgpt_rag.model.from_scratch.config import MemGPTConfig
from memgpt_rag.model.from_scratch.transformer import MemoryTransformer
from memgpt_rag.model.from_scratch.word_vectors import read_word_vectors
from memgpt_rag.model.tokenizer import byte_tokenizer, load_tokenizer
from memgpt_rag.plain_text import plain_ids

_MODEL_TYPE = "memgpt_rag"
_MAX_CONFIG = 2**20  # bytes; configurations of transformers have some thousand


class MemGPT(MemoryTransformer):
    """A Transformer decoder whose chosen layers attend to memory beside their own text.

    Args:
        config: its sizes; None for those given as keywords, which are the fields of `MemGPTConfig`.
        tokenizer: None for one token per byte.

    Raises:
        ValueError: sizes that contradict each other, or fewer token ids than the tokenizer has.
    """

    def __init__(
        self,
        config: MemGPTConfig | None = None,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        **sizes: Any,
    ):
        super().__init__(MemGPTConfig(**sizes) if config is None else replace(config, **sizes))
        self.tokenizer = byte_tokenizer() if tokenizer is None else tokenizer
        if len(self.tokenizer) > self.sizes.vocab_size:
            raise ValueError(
                f"The tokenizer has {len(self.tokenizer)} tokens and vocab_size is {self.sizes.vocab_size}; raise it."
            )
        self._attached: Attached | None = None

    def forward(
        self,
        inputs: Int[Tensor, "batch tokens"],
        neighbors: Int[Tensor, "batch chunks k neighbor_tokens"] | None = None,
        *,
        all_positions: bool = False,
    ) -> Float[Tensor, "batch vocab_size"] | Float[Tensor, "batch tokens vocab_size"]:
        """Logits of the next token.

        Args:
            neighbors: token ids of the texts that each chunk of the inputs sees, −1 where no token stands; of a single
                chunk, every token sees them. None to look them up in the attached memory, if there is one: for the
                last position by the whole text, for all positions by the chunk before each chunk.
            all_positions: logits of every position, for language modelling.

        Raises:
            ValueError: more tokens than the model can read, or fewer chunks than the inputs have.
        """
        if inputs.shape[1] > self.max_tokens:
            raise ValueError(f"The text has {inputs.shape[1]} tokens; this model reads at most {self.max_tokens}.")
        if neighbors is None:
            neighbors = self._found(inputs, all_positions)
        return self.logits(inputs, neighbors) if all_positions else self.logits(inputs, neighbors, last=True)[:, -1]

    def attach(
        self, memory: Lookup | Sequence[str], *, k: int = 2, use_memory: UseMemory = "always", min_score: float = 0.3
    ) -> None:
        """Read from a memory from now on.

        Args:
            memory: what finds texts, such as a `Retriever`; or the texts themselves, all of which are read.
            k: texts to look up at once.
            use_memory: "auto" leaves out what scores below `min_score`; "never" leaves the memory out.
            min_score: lowest score, a cosine for most memories, of what "auto" reads.

        Raises:
            ValueError: no such decision.
        """
        self._attached = Attached(memory, self.tokenizer, k, use_memory, min_score, self.max_tokens)

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
        ids = plain_ids(self.tokenizer)(text)
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
                logits = self.logits(seen, found)[0, -1, : len(self.tokenizer)]
                token = int(_draw(logits, temperature, generator))
                if token == self.tokenizer.eos_token_id:
                    break
                written.append(token)
        finally:
            self.train(training)
        continued: str = self.tokenizer.decode(written)
        return continued

    @torch.no_grad()
    def embed_words(self, path: str | Path) -> int:
        """Start the embeddings of tokens that are words from word vectors: a text file of word2vec or GloVe.

        A token is a word with or without a space before it; words of several tokens are left out. The vectors are scaled
        together, to the root mean square of the embeddings.

        Returns:
            How many tokens were set.

        Raises:
            SourceError: no such file, or a line that is no word with its numbers.
            ValueError: vectors of another size than the embeddings.
        """
        tokens: dict[str, list[int]] = {}
        for token in range(len(self.tokenizer)):
            tokens.setdefault(self.tokenizer.decode([token]).removeprefix(" "), []).append(token)
        tokens.pop("\ufffd", None)  # part of a character, or any unknown one
        found: dict[int, Tensor] = {}
        for word, vector in read_word_vectors(path):
            if len(vector) != self.embedding.embedding_dim:
                raise ValueError(
                    f"{path} has word vectors of {len(vector)} numbers, and d_model is {self.embedding.embedding_dim}; "
                    "take vectors of that size, or a model of theirs."
                )
            for token in tokens.get(word, ()):
                found.setdefault(token, torch.from_numpy(vector))
        if found:
            weight, vectors = self.embedding.weight, torch.stack(list(found.values())).to(self.embedding.weight)
            size, wanted = (numbers.square().mean().sqrt() for numbers in (vectors, weight))
            weight[list(found)] = vectors * (wanted / size.clamp(min=1e-12))
        return len(found)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write sizes, weights and tokenizer; `from_pretrained` reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(
            json.dumps({"model_type": _MODEL_TYPE, **asdict(self.sizes)}, indent=1) + "\n"
        )
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
        folder = Path(name)
        try:
            sizes = read_json(folder / "config.json", max_bytes=_MAX_CONFIG)
        except (FileNotFoundError, NotADirectoryError):
            sizes = {}
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{folder / 'config.json'} does not describe a model ({first_line(error)}); save the model again."
            ) from error
        if not isinstance(sizes, dict) or sizes.pop("model_type", None) != _MODEL_TYPE:
            return MemoryDecoder.from_pretrained(name, **settings)
        tokenizer = load_tokenizer(folder)
        with loading("MemGPT", folder):
            weights = load_file(folder / "model.safetensors")
            with torch.device("meta"):  # sizes that are not those of the weights take no memory
                model = cls(**sizes, tokenizer=tokenizer)
            model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
        return model.eval()

    def _found(self, inputs: Tensor, all_positions: bool) -> Tensor | None:
        """Neighbours from the attached memory: of the whole text, or of each chunk by the chunk before it."""
        if self._attached is None:
            return None
        size, asked = self.chunk_tokens, [[row] for row in inputs.tolist()]
        if all_positions:
            asked = [[row[max(0, at - size) : at] for at in range(0, len(row), size)] for (row,) in asked]
        found = self._attached.neighbors(asked)
        return None if found is None else found.to(inputs.device)


def _draw(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    if not temperature:
        return logits.argmax()
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
