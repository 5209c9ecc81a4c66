"""Pretrains a model on plain text: windows of the text with the neighbors of each chunk, and the Trainer of transformers."""

from __future__ import annotations

import importlib.util
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.errors import MissingPackageError, SourceError
from memgpt_rag.model import MemGPT
from memgpt_rag.plain_text import plain_ids
from memgpt_rag.training.chunk_neighbors import earlier_neighbors, token_vectors


def read_text(path: Path) -> str:
    """Read a text file in UTF-8.

    Raises:
        SourceError: the file does not exist, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}; name a text file.") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from error


class TextWindows(Dataset[dict[str, Tensor]]):
    """Windows of a text, with the next tokens as labels and the neighbors of every chunk.

    Args:
        tokens: the whole text; an incomplete last window is left out.
        chunk_tokens: number of tokens of a chunk.
        window: number of chunks of a window.
        neighbors: neighbors of each chunk from `earlier_neighbors`; None to train without memory.
        first: number of the first window; its neighbors may be in the text before it.
        last: number of the window after the last one; None for all.
    """

    def __init__(
        self,
        tokens: Int[Tensor, " tokens"],
        chunk_tokens: int,
        window: int,
        neighbors: Int[np.ndarray, "chunks k"] | None = None,
        *,
        first: int = 0,
        last: int | None = None,
    ):
        whole = (len(tokens) - 1) // (chunk_tokens * window)
        self.windows = range(whole)[first:last]
        self.tokens, self.chunk_tokens, self.window, self.neighbors = tokens, chunk_tokens, window, neighbors

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        size = self.chunk_tokens * self.window
        start = self.windows[place] * size
        item = {"inputs": self.tokens[start : start + size], "labels": self.tokens[start + 1 : start + size + 1]}
        if self.neighbors is not None:
            first = self.windows[place] * self.window
            item["neighbors"] = torch.stack(
                [self._texts(numbers) for numbers in self.neighbors[first : first + self.window]]
            )
        return item

    def _texts(self, numbers: Sequence[int]) -> Int[Tensor, "k two_chunks"]:
        """Return the tokens of each neighbor and of the chunk after it, its continuation."""
        size = self.chunk_tokens
        nothing = self.tokens.new_full((2 * size,), -1)
        return torch.stack(
            [self.tokens[at * size : (at + 2) * size] if at >= 0 else nothing for at in map(int, numbers)]
        )


class _Report(TrainerCallback):  # type: ignore[misc]
    def __init__(self, on_step: Callable[[int, float], None]):
        self.on_step = on_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        if "loss" in logs:
            self.on_step(state.global_step, float(logs["loss"]))


class TextTrainer(Trainer):  # type: ignore[misc]
    """The Trainer of transformers for a `MemGPT` and `TextWindows`; its loss is per token, in nats."""

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **kwargs: Any) -> Any:
        logits = model(inputs["inputs"], inputs.get("neighbors"), all_positions=True)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), inputs["labels"].flatten())
        return (loss, {"logits": logits}) if return_outputs else loss


@dataclass(frozen=True)
class Pretrained:
    """Result of a pretraining.

    Attributes:
        train_loss: mean loss per token during training, in nats.
        eval_loss: loss per token on the held-out last part of the text, in nats.
    """

    train_loss: float
    eval_loss: float

    @property
    def perplexity(self) -> float:
        """Return the perplexity per token on the held-out part."""
        return math.exp(self.eval_loss)


@dataclass(frozen=True)
class PretrainOptions:
    """How a model from scratch is trained.

    Attributes:
        k: number of chunks most similar to the preceding chunk, from earlier windows.
        recent: number of pairs of chunks right before the window; with k = 0 and recent = 0, training is without memory.
        held_out: share of the text, at its end, for evaluation.
    """

    k: int = 2
    recent: int = 2
    held_out: float = 0.1
    steps: int = 500
    batch_size: int = 16
    learning_rate: float = 2e-3
    seed: int = 0


def pretrain(
    model: MemGPT,
    text: str,
    options: PretrainOptions = PretrainOptions(),
    *,
    encoder: Encoder | None = None,
    on_step: Callable[[int, float], None] | None = None,
    **settings: Any,
) -> Pretrained:
    """Train a model on a text, each chunk with neighbors from the text before it.

    Args:
        encoder: embeds chunks to find neighbors; None for `token_vectors`, which needs no model.
        on_step: called every ten steps with the number of steps and the loss of the last ones.
        settings: further `TrainingArguments`.

    Raises:
        ValueError: the text is too short for a training window and an evaluation window.
        MissingPackageError: accelerate, which the Trainer needs, is not installed.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise MissingPackageError("accelerate", "Training", "pip install 'memgpt_rag[offline]'")
    learning, measuring = _windows(model, text, options, encoder)
    with tempfile.TemporaryDirectory() as folder:
        defaults: dict[str, Any] = {
            "max_steps": options.steps, "per_device_train_batch_size": options.batch_size,
            "learning_rate": options.learning_rate, "seed": options.seed,
            "lr_scheduler_type": "linear", "warmup_steps": options.steps // 10, "weight_decay": 0.01,
            "save_strategy": "no", "report_to": [], "logging_steps": 10, "disable_tqdm": True, "label_names": ["labels"],
            "prediction_loss_only": True, "dataloader_pin_memory": torch.cuda.is_available(),
        }  # fmt: skip
        arguments = TrainingArguments(**{"output_dir": folder, **defaults, **settings})
        trainer = TextTrainer(model, arguments, train_dataset=learning, eval_dataset=measuring)
        trainer.remove_callback(PrinterCallback)
        if on_step is not None:
            trainer.add_callback(_Report(on_step))
        train_loss = trainer.train().training_loss
        eval_loss = trainer.evaluate()["eval_loss"]
    model.eval()
    return Pretrained(train_loss, eval_loss)


def _windows(
    model: MemGPT, text: str, options: PretrainOptions, encoder: Encoder | None
) -> tuple[TextWindows, TextWindows]:
    """Return the windows for training and for evaluation, with the neighbors of each chunk."""
    size, window = model.chunk_tokens, model.max_tokens // model.chunk_tokens
    tokens = torch.tensor(plain_ids(model.tokenizer)(text), dtype=torch.long)
    windows = (len(tokens) - 1) // (size * window)
    first_held_out = windows - max(1, round(windows * options.held_out))
    if first_held_out < 1:
        raise ValueError(
            f"The text has {len(tokens)} tokens; expected at least {2 * size * window + 1}: a window of {size * window} to "
            "learn from and one to measure on."
        )
    neighbors = None
    if options.k or options.recent:
        vectors = text_vectors(model, tokens, encoder)
        neighbors = earlier_neighbors(vectors, options.k, window, recent=options.recent)
    return (
        TextWindows(tokens, size, window, neighbors, first=0, last=first_held_out),
        TextWindows(tokens, size, window, neighbors, first=first_held_out, last=None),
    )


def text_vectors(
    model: MemGPT, tokens: Int[Tensor, " tokens"], encoder: Encoder | None
) -> Float[np.ndarray, "chunks dimension"]:
    """Compute a vector for each complete chunk of a text: with an encoder, or from its tokens alone."""
    size = model.chunk_tokens
    if encoder is None:
        return token_vectors(tokens.numpy(), size)
    chunks = tokens[: len(tokens) // size * size].view(-1, size).tolist()
    return encoder.encode_passages([model.tokenizer.decode(chunk) for chunk in chunks])
