"""Rows of a batch that are generated each by rules of its own: how tokens are chosen, and where the answer ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria


class RowControl(Protocol):
    """Chooses the tokens of one answer, and says when it ends."""

    def begin(self) -> None:
        """A generation begins, perhaps once more: tokens of an earlier one do not count."""

    def choose(self, scores: Float[Tensor, " vocabulary"]) -> int | None:
        """Return the next token; None for the likeliest one."""

    def goes_on(self, token: int) -> bool:
        """Return whether the answer goes on behind a token, which is part of it."""


class ControlledRows:
    """Applies the controls of a batch's rows while `generate` of transformers runs.

    Args:
        controls: of each row; None for a row that the settings of the whole batch govern.
        is_end: whether a token ends every answer, and is no part of it.
    """

    def __init__(self, controls: Sequence[RowControl | None], is_end: Callable[[int], bool]):
        self._controls, self._is_end = controls, is_end
        self._any = any(control is not None for control in controls)
        self._ended = [False] * len(controls)
        self._lengths = [0] * len(controls)
        for control in controls:
            if control is not None:
                control.begin()

    def processors(self) -> list[LogitsProcessor]:
        """Return what chooses tokens; nothing where no row has a control."""
        return [_Choice(self)] if self._any else []

    def stopping(self) -> list[StoppingCriteria]:
        """Return what ends rows; nothing where no row has a control."""
        return [_End(self)] if self._any else []

    def cut(self, rows: list[list[int]]) -> None:
        """Remove what fills rows behind the token at which their control ended them."""
        for number, control in enumerate(self._controls):
            if control is not None:
                del rows[number][self._lengths[number] :]

    def chosen(self, scores: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
        """Return scores in which a token that a control has chosen is the only possible one."""
        fixed = scores
        for number, control in enumerate(self._controls):
            if control is None or self._ended[number]:
                continue
            token = control.choose(scores[number])
            if token is not None:
                if fixed is scores:
                    fixed = scores.clone()
                fixed[number] = -torch.inf
                fixed[number, token] = 0
        return fixed

    def ended(self, tokens: Sequence[int]) -> list[bool]:
        """Note the latest token of each row, and return which rows have ended."""
        for number, (control, token) in enumerate(zip(self._controls, tokens, strict=True)):
            if self._ended[number]:
                continue
            if self._is_end(token):
                self._ended[number] = True
            elif control is not None:
                self._lengths[number] += 1
                self._ended[number] = not control.goes_on(token)
        return self._ended


class _Choice(LogitsProcessor):  # type: ignore[misc]
    def __init__(self, rows: ControlledRows):
        self._rows = rows

    def __call__(self, input_ids: Int[Tensor, "rows tokens"], scores: Float[Tensor, "rows vocabulary"]) -> Tensor:
        return self._rows.chosen(scores)


class _End(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, rows: ControlledRows):
        self._rows = rows

    def __call__(self, input_ids: Int[Tensor, "rows tokens"], scores: Any, **kwargs: Any) -> Tensor:
        return torch.tensor(self._rows.ended(input_ids[:, -1].tolist()), device=input_ids.device)
