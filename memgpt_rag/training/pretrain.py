"""Plain text as training data for a model that reads neighbours. No chunk sees itself or anything after it: what a
chunk reads was found by the chunk before it, among chunks that end before its window begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Trainer


def earlier_neighbours(
    vectors: Float[np.ndarray, "chunks dim"], k: int, window: int, *, block: int = 1024
) -> Int[np.ndarray, "chunks k"]:
    """For each chunk, the k chunks most like the one before it that end, with the chunk after them, before its window.

    Args:
        vectors: one per chunk, in the order of the text; the inner product says how alike two are.
        window: chunks of a window; the first one begins at chunk 0.
        block: chunks to compare with all others at once.

    Returns:
        Numbers of chunks, the most alike first, −1 where there are fewer than k.
    """
    chunks = len(vectors)
    found = np.full((chunks, k), -1, dtype=np.int64)
    for start in range(1, chunks, block):
        asking = np.arange(start, min(start + block, chunks))
        scores = vectors[asking - 1] @ vectors.T
        latest = asking // window * window - 2  # it and the chunk after it are read
        scores[np.arange(chunks)[None] > latest[:, None]] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        missing = np.isneginf(np.take_along_axis(scores, best, axis=1))
        found[asking, : best.shape[1]] = np.where(missing, -1, best)
    return found


class TextWindows(Dataset[dict[str, Tensor]]):
    """Windows of a text, each with the token after every token and with the neighbours of every chunk.

    Args:
        tokens: the whole text; a window that it does not fill is left out.
        chunk_tokens: tokens of a chunk.
        window: chunks of a window.
        neighbours: of each chunk, as `earlier_neighbours` numbers them; None for text without memory.
        first: number of the first window, which may look back at the text before it.
        last: number of the window to end before; None for all.
    """

    def __init__(
        self,
        tokens: Int[Tensor, " tokens"],
        chunk_tokens: int,
        window: int,
        neighbours: Int[np.ndarray, "chunks k"] | None = None,
        *,
        first: int = 0,
        last: int | None = None,
    ):
        whole = (len(tokens) - 1) // (chunk_tokens * window)
        self.windows = range(whole)[first:last]
        self.tokens, self.chunk_tokens, self.window, self.neighbours = tokens, chunk_tokens, window, neighbours

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        size = self.chunk_tokens * self.window
        start = self.windows[place] * size
        item = {"inputs": self.tokens[start : start + size], "labels": self.tokens[start + 1 : start + size + 1]}
        if self.neighbours is not None:
            first = self.windows[place] * self.window
            item["neighbours"] = torch.stack([self._texts(of) for of in self.neighbours[first : first + self.window]])
        return item

    def _texts(self, numbers: Sequence[int]) -> Int[Tensor, "k two_chunks"]:
        """Each neighbour and the chunk after it, which says how it went on."""
        size = self.chunk_tokens
        nothing = self.tokens.new_full((2 * size,), -1)
        return torch.stack(
            [self.tokens[at * size : (at + 2) * size] if at >= 0 else nothing for at in map(int, numbers)]
        )


class TextTrainer(Trainer):  # type: ignore[misc]
    """The Trainer of transformers for a `MemGPT` and `TextWindows`; its loss is per token, in nats."""

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **kwargs: Any) -> Any:
        logits = model(inputs["inputs"], inputs.get("neighbours"), all_positions=True)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), inputs["labels"].flatten())
        return (loss, {"logits": logits}) if return_outputs else loss
