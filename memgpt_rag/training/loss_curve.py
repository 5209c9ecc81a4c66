"""Progress of a training: a loss curve in a file, and a progress bar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import ProgressCallback, TrainerCallback


class Curve(TrainerCallback):  # type: ignore[misc]
    """Writes the curve of a training as JSON Lines: the step, with its loss, learning rate and gradient norm, or with the
    loss on the held-out questions.

    The Trainer restores its history from a checkpoint, so the file is the same with and without an interruption.
    """

    KEPT = ("step", "epoch", "loss", "learning_rate", "grad_norm", "eval_loss")

    def __init__(self, file: Path):
        self.file = file

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lines = [{name: line[name] for name in self.KEPT if name in line} for line in state.log_history]
        self.file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


class LossBar(ProgressCallback):  # type: ignore[misc]
    """The Trainer's progress bar with the loss beside it, in place of a line of print for every step."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self.training_bar is not None and "loss" in (logs or {}):
            self.training_bar.set_postfix(loss=logs["loss"], refresh=False)
