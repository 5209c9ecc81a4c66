"""Trains delimiters: vectors behind the prefix and behind every entry, with all weights of the decoder frozen.

The targets are those of the adapter's training: the teacher with the gold passage alone, and the answer itself (KV Packet,
arXiv 2604.13226, trains on the divergence from the teacher).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.delimiters import Delimiters, new_delimiters
from memgpt_rag.model.reader import save_reader
from memgpt_rag.rag import RAG
from memgpt_rag.training.adapter import (
    AdapterOptions,
    AdapterTrainer,
    Tuning,
    last_checkpoint,
    make_teacher,
    require_new,
    run,
    trainer_settings,
)
from memgpt_rag.training.adapter_examples import AdapterExample, teach_to_decline
from memgpt_rag.training.answer_likelihood import Answers, Example
from memgpt_rag.training.rows import memory_hidden, require_plain_head, require_trainable, training_row

LEARNING_RATE = 1e-3


class _Trained(nn.Module):
    """Delimiters as parameters, for the Trainer."""

    def __init__(self, delimiters: Delimiters):
        super().__init__()
        self.prefix, self.entry = (nn.Parameter(one.detach().clone()) for one in delimiters.tensors().values())

    @property
    def delimiters(self) -> Delimiters:
        return Delimiters(self.prefix, self.entry)


class DelimitersTrainer(AdapterTrainer):
    """As `AdapterTrainer`, for delimiters: states of prefix and entries are computed anew for every batch."""

    def read(self, examples: Sequence[Example]) -> tuple[list[Float[Tensor, "tokens vocabulary"]], Answers]:
        model, prompt = self.rag.model, self.rag.prompt
        rows = [training_row(prompt, example) for example in examples]
        hidden = memory_hidden(model, rows, model.layer_settings, model.config.score_bias)
        logits: Tensor = model.writer.get_output_embeddings()(hidden).float()
        answers = [prompt.answer_ids(example.question, example.answer) for example in examples]
        return list(torch.split(logits, [len(row.answer) for row in rows])), answers


def train_delimiters(
    rag: RAG,
    examples: Sequence[AdapterExample],
    held_out: Sequence[AdapterExample],
    folder: str | Path,
    options: AdapterOptions = AdapterOptions(),
    *,
    count: int = 8,
    resume: bool = False,
    **arguments: Any,
) -> Tuning:
    """Train delimiters for a RAG's language model, and save them as a reader if they lower the held-out loss.

    Those of the model's reader are trained further, where it has some. They are then active in the RAG's model, too.

    Args:
        held_out: questions for early stopping and for the choice of the checkpoint; from other documents than `examples`.
        count: number of new vectors behind the prefix, and behind every entry.
        resume: continue from the last checkpoint in the folder.
        arguments: passed on to `TrainingArguments`.

    Raises:
        ValueError: no examples, or no held-out ones.
        ModelError: no checkpoint to resume from, a reader that would be overwritten, or a decoder that changes the logits of its
            head.
    """
    if not examples or not held_out:
        raise ValueError(f"There are {len(examples)} examples and {len(held_out)} held out; give at least one of each.")
    folder = Path(folder)
    checkpoint = last_checkpoint(folder) if resume else None
    if not resume:
        require_new(folder)
    require_trainable(rag.model)
    model, before_training, teacher = rag.model, rag.model.delimiters, make_teacher(rag)
    model.requires_grad_(False)
    require_plain_head(model)
    trained = _Trained(before_training or _new(model, count, options.seed))
    model.delimiters = trained.delimiters
    given = {"learning_rate": LEARNING_RATE, "lr_scheduler_type": "linear", "weight_decay": 0.0, **arguments}
    settings = trainer_settings(rag, teacher, examples, held_out, folder, options, given)
    tuning = run(DelimitersTrainer(rag, trained, **settings), checkpoint)
    better = tuning.after < tuning.before
    kept = trained.delimiters if better else before_training
    model.delimiters = None if kept is None else Delimiters(kept.prefix.detach(), kept.entry.detach())
    if better:
        presets = {} if model.reader is None else model.reader.presets
        save_reader(model, folder, presets=presets, declines=teach_to_decline(examples))
    return tuning


def _new(model: MemoryDecoder, count: int, seed: int) -> Delimiters:
    """New delimiters near a line break, which ends entries."""
    ids = model.tokenizer("\n", add_special_tokens=False)["input_ids"][-1:]
    with torch.no_grad():
        newline = model.embedded(torch.tensor(ids, device=model.writer.device))[0]
    return new_delimiters(newline, prefix=count, entry=count, seed=seed)
