"""Reader tuning: trains an adapter of the memory reader on questions with known answers, with the Trainer of transformers.

The targets are the logits of the same decoder without the adapter, with the gold passage in its prompt (distillation, Hinton
et al. 2015), and the answer itself.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback, Trainer
from transformers import TrainingArguments as Arguments
from transformers.trainer_utils import get_last_checkpoint

from memgpt_rag.errors import ModelError
from memgpt_rag.io.own_folder import first_link
from memgpt_rag.model.adapter import add_adapter
from memgpt_rag.model.config import LayerSettings
from memgpt_rag.model.reader import save_reader
from memgpt_rag.model.reader_files import READER
from memgpt_rag.rag import RAG
from memgpt_rag.training.adapter_examples import AdapterExample, teach_to_decline
from memgpt_rag.training.answer_likelihood import Answers, Example, answer_logits, token_losses
from memgpt_rag.training.loss_curve import Curve, LossBar
from memgpt_rag.training.rows import require_trainable

CURVE = "curve.jsonl"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Tuning:
    """Result of a training.

    Attributes:
        before: mean loss on the held-out questions with the untrained adapter, which does not change the output.
        after: mean loss on the held-out questions with the best adapter.
        steps: number of optimizer steps.
    """

    before: float
    after: float
    steps: int


def distillation_loss(
    reading: Sequence[Float[Tensor, "tokens vocabulary"]], prompted: Sequence[Float[Tensor, "tokens vocabulary"]]
) -> Float[Tensor, " examples"]:
    """Return the mean over each answer's tokens of KL(prompted ‖ reading), in nats, at temperature 1 (Hinton et al. 2015, eq. 1).

    Args:
        reading: logits of the decoder that reads memory.
        prompted: logits of the teacher, with the entries in its prompt.
    """
    return torch.stack(
        [
            torch.nn.functional.kl_div(mine.log_softmax(-1), theirs.log_softmax(-1), log_target=True, reduction="none")
            .sum(-1)
            .mean()
            for mine, theirs in zip(reading, prompted, strict=True)
        ]
    )


class AdapterTrainer(Trainer):  # type: ignore[misc]
    """The Trainer of transformers for the adapter of a RAG's language model; its loss is a mean over questions.

    Args:
        rag: its model reads with the adapter.
        teacher: gives the targets; see `make_teacher`.
        distillation_weight: weight of `distillation_loss`, on answerable questions.
        answer_weight: weight of the answer's negative log-likelihood per token, on all questions.
        end_weight: weight of the tokens that end an answer, relative to its words.
    """

    def __init__(
        self,
        rag: RAG,
        *args: Any,
        teacher: RAG,
        distillation_weight: float = 1.0,
        answer_weight: float = 1.0,
        end_weight: float = 0.3,
        **kwargs: Any,
    ):
        super().__init__(*args, data_collator=_collate, **kwargs)
        self.rag, self.teacher = rag, teacher
        self.distillation_weight, self.answer_weight, self.end_weight = distillation_weight, answer_weight, end_weight

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        examples: list[AdapterExample] = inputs["examples"]
        with self.accelerator.autocast():
            logits, answers = self.read([one.example for one in examples])
        words, end = token_losses(logits, answers)
        losses = self.answer_weight * (words + self.end_weight * end)
        taught = [place for place, one in enumerate(examples) if one.gold is not None]
        if taught and self.distillation_weight:
            prompted = self.prompted_logits([examples[place] for place in taught])
            distance = distillation_loss([logits[place] for place in taught], prompted)
            losses = losses.index_add(
                0, torch.tensor(taught, device=losses.device), self.distillation_weight * distance
            )
        loss = losses.mean()
        return (loss, {"losses": losses}) if return_outputs else loss

    def read(self, examples: Sequence[Example]) -> tuple[list[Float[Tensor, "tokens vocabulary"]], Answers]:
        """Return the logits at each answer token, and the tokens."""
        return answer_logits(self.rag, examples)

    @torch.no_grad()
    def prompted_logits(self, examples: Sequence[AdapterExample]) -> list[Float[Tensor, "tokens vocabulary"]]:
        """Return the teacher's logits at each answer token, with the gold passage alone.

        A pretrained decoder has it in its prompt. Memory attention to one entry in all layers, without bias or temperature,
        equals the entry's text in the prompt; where states of all layers are available, this is four times as fast. A
        reader has it in its memory, as it was trained.
        """
        model, gold = self.teacher.model, [[one.gold] for one in examples if one.gold]
        alone = [replace(one.example, found=found) for one, found in zip(examples, gold, strict=True)]
        with self.accelerator.autocast():
            if model.reader is not None:
                return answer_logits(self.teacher, alone)[0]
            if len(model.layers) < len(model.windows):
                pasted = [replace(one.example, found=()) for one in examples]
                return answer_logits(self.teacher, pasted, pasted=gold)[0]
            neutral = {layer: LayerSettings(1.0, 0.0, None, None, window) for layer, window in model.windows.items()}
            with model.temporary_settings(neutral):
                return answer_logits(self.teacher, alone)[0]

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> tuple[Tensor, None, None]:
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None


@dataclass(frozen=True)
class AdapterOptions:
    """How an adapter is trained.

    Attributes:
        rank, dropout, every_map: as for `add_adapter`; one to start from keeps its own rank and maps.
        evaluations: number of evaluations on the held-out questions, each with a checkpoint.
        patience: number of evaluations without improvement after which training stops.
        distillation_weight, answer_weight, end_weight: weights of the loss, as for `AdapterTrainer`.
        seed: seed of the adapter, of dropout, and of the order of the examples.
    """

    rank: int = 8
    dropout: float = 0.05
    every_map: bool = False
    evaluations: int = 8
    patience: int = 3
    distillation_weight: float = 1.0
    answer_weight: float = 1.0
    end_weight: float = 0.3
    seed: int = 0


def make_teacher(rag: RAG) -> RAG:
    """Return the same memory with the model and its reader as they are now, which training does not change."""
    model = rag.model.without_reader()
    model.reader = rag.model.reader
    model.read_with(rag.model.decoder)
    return RAG(rag.retriever.memory, rag.retriever.encoder, model)


def train_adapter(
    rag: RAG,
    examples: Sequence[AdapterExample],
    held_out: Sequence[AdapterExample],
    folder: str | Path,
    options: AdapterOptions = AdapterOptions(),
    *,
    resume: bool = False,
    trainer: type[AdapterTrainer] = AdapterTrainer,
    **arguments: Any,
) -> Tuning:
    """Train an adapter for a RAG's language model, and save it in a folder if it lowers the held-out loss.

    It starts from the reader of the model, where that has one, and is saved as a reader of its own, with the delimiters and
    presets of the one that it started from. The adapter is then active in the RAG's model, too. Beside the reader, the folder
    contains the training curve in `curve.jsonl`, and the Trainer's `checkpoints`.

    Args:
        held_out: questions for early stopping and for the choice of the checkpoint; from other documents than `examples`.
        resume: continue from the last checkpoint in the folder, with the same result as without an interruption.
        trainer: a subclass that reads the entries in another way.
        arguments: passed on to `TrainingArguments`: learning_rate, lr_scheduler_type, weight_decay, max_grad_norm,
            gradient_accumulation_steps, num_train_epochs, bf16 and so on.

    Raises:
        ValueError: no examples, or no held-out ones.
        ModelError: no checkpoint to resume from; a reader that would be overwritten; or a language model without a known
            adapter.
        MissingPackageError: peft is not installed.
    """
    if not examples or not held_out:
        raise ValueError(f"There are {len(examples)} examples and {len(held_out)} held out; give at least one of each.")
    folder = Path(folder)
    checkpoint = last_checkpoint(folder) if resume else None
    if not resume:
        require_new(folder)
    require_trainable(rag.model)
    model, reader, before_training = rag.model, rag.model.reader, rag.model.decoder
    teacher = make_teacher(rag)
    start = None if reader is None else reader.adapter
    adapter = add_adapter(
        model, rank=options.rank, dropout=options.dropout, every_map=options.every_map, seed=options.seed, start=start
    )
    settings = trainer_settings(rag, teacher, examples, held_out, folder, options, arguments)
    tuning = run(trainer(rag, adapter, **settings), checkpoint)
    adapter.eval()
    if tuning.after < tuning.before:
        presets = {} if reader is None else reader.presets
        save_reader(model, folder, adapter=adapter, presets=presets, declines=teach_to_decline(examples))
    else:
        model.read_with(before_training)
    return tuning


def run(trainer: Trainer, checkpoint: str | None) -> Tuning:
    """Train to the end, from a checkpoint if there is one; at the end the best weights are loaded."""
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback):
        trainer.add_callback(LossBar)
    before = trainer.evaluate()["eval_loss"]
    trainer.train(resume_from_checkpoint=checkpoint)
    return Tuning(before, float(trainer.state.best_metric), trainer.state.global_step)


def trainer_settings(
    rag: RAG,
    teacher: RAG,
    examples: Sequence[AdapterExample],
    held_out: Sequence[AdapterExample],
    folder: Path,
    options: AdapterOptions,
    arguments: dict[str, Any],
) -> dict[str, Any]:
    """Return the arguments of an `AdapterTrainer`."""
    return {
        "args": _arguments(rag, folder, options, arguments),
        "train_dataset": examples,
        "eval_dataset": held_out,
        "callbacks": [EarlyStoppingCallback(options.patience), Curve(folder / CURVE)],
        "teacher": teacher,
        "distillation_weight": options.distillation_weight,
        "answer_weight": options.answer_weight,
        "end_weight": options.end_weight,
    }


def _arguments(rag: RAG, folder: Path, options: AdapterOptions, given: dict[str, Any]) -> Arguments:
    """Return the Trainer's arguments: the given ones override our defaults; evaluation settings are fixed."""
    decoder = rag.model.decoder
    defaults: dict[str, Any] = {
        "learning_rate": 3e-4,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "num_train_epochs": 3,
        "bf16": decoder.dtype == torch.bfloat16,
        "logging_steps": 1,
        "report_to": ["tensorboard"] if _has_tensorboard() else [],
    }
    return Arguments(
        str(folder / CHECKPOINTS),
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=1 / options.evaluations,
        save_steps=1 / options.evaluations,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        restore_callback_states_from_checkpoint=True,
        remove_unused_columns=False,
        dataloader_pin_memory=decoder.device.type == "cuda",
        use_cpu=decoder.device.type == "cpu",
        seed=options.seed,
        **{**defaults, **given},
    )


def last_checkpoint(folder: Path) -> str:
    """Return the checkpoint to resume from.

    Raises:
        ModelError: there is none, or a link through which training would write elsewhere.
    """
    _require_no_link(folder)
    checkpoints = folder / CHECKPOINTS
    found: str | None = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    if found is None:
        raise ModelError(f"{folder} holds no checkpoint to go on from; train without --resume.")
    return found


def require_new(folder: Path) -> None:
    """Check that a folder contains no reader of an earlier training.

    Raises:
        ModelError: it contains one, or checkpoints of one, or a link through which training would write elsewhere.
    """
    _require_no_link(folder)
    # Their folder is there from the beginning of a training; one that was stopped early left it empty.
    checkpoints = folder / CHECKPOINTS
    if (folder / READER).exists() or (checkpoints.is_dir() and any(checkpoints.iterdir())):
        raise ModelError(
            f"{folder} already holds a reader, or checkpoints of one; name another folder, or go on with --resume."
        )


def _require_no_link(folder: Path) -> None:
    if (link := first_link(folder)) is not None:
        raise ModelError(f"{link} is a link, so that training would write elsewhere; remove it, or name a new folder.")


def _collate(examples: list[AdapterExample]) -> dict[str, Any]:
    # The Trainer counts examples by the first tensor that it finds.
    return {"examples": examples, "answerable": torch.tensor([one.gold is not None for one in examples])}


def _has_tensorboard() -> bool:
    return any(importlib.util.find_spec(name) for name in ("tensorboard", "tensorboardX"))
