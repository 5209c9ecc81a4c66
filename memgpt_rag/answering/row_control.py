"""Rows of a batch that are generated each by rules of its own: how tokens are chosen, and where the answer ends."""

from __future__ import annotations

import time
from collections.abc import Container, Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from memgpt_rag.model.answer_text import AnswerEnd


class RowControl(Protocol):
    """Chooses the tokens of one answer, and says when it ends."""

    def begin(self, end: AnswerEnd) -> None:
        """A generation begins, perhaps once more: tokens of an earlier one do not count.

        Args:
            end: where the answers of the model end that writes this time.
        """

    def choose(self, scores: Float[Tensor, " vocabulary"]) -> int | None:
        """Return the next token; None for the likeliest one."""

    def goes_on(self, token: int) -> bool:
        """Return whether the answer goes on behind a token, which is part of it."""


class Deadline:
    """Ends an answer at a point in time, and leaves the choice of its tokens to the settings of the batch.

    Args:
        end: in seconds of `time.monotonic`.
    """

    def __init__(self, end: float):
        self.end = end

    def begin(self, end: AnswerEnd) -> None:
        """Nothing is counted."""

    def choose(self, scores: Float[Tensor, " vocabulary"]) -> int | None:
        """Return None, for the likeliest token."""
        return None

    def goes_on(self, token: int) -> bool:
        """Return whether there is time for a further token."""
        return time.monotonic() < self.end


class ControlledRows:
    """Applies the controls of a batch's rows while `generate` of transformers runs.

    Args:
        controls: of each row; None for a row that the settings of the whole batch govern.
        end: where the answers of the model end.
        end_tokens: those that end a text; they are no part of an answer.
    """

    def __init__(self, controls: Sequence[RowControl | None], end: AnswerEnd, end_tokens: Container[int]):
        self.controls = {number: control for number, control in enumerate(controls) if control is not None}
        self._end, self._end_tokens = end, end_tokens
        self._tokens: dict[int, list[int]] = {number: [] for number in self.controls}
        self._ended = [False] * len(controls)
        for control in self.controls.values():
            control.begin(end)

    def processors(self) -> list[LogitsProcessor]:
        """Return what chooses tokens."""
        return [_Choice(self)]

    def stopping(self) -> list[StoppingCriteria]:
        """Return what ends rows."""
        return [_End(self)]

    def cut(self, rows: list[list[int]]) -> None:
        """Remove what fills rows behind the token at which their control ended them."""
        for number, tokens in self._tokens.items():
            del rows[number][len(tokens) :]

    def chosen(self, scores: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
        """Return scores in which a token that a control has chosen is the only possible one."""
        fixed = scores
        for number, control in self.controls.items():
            token = None if self._ended[number] else control.choose(scores[number])
            if token is not None:
                if fixed is scores:
                    fixed = scores.clone()
                fixed[number] = -torch.inf
                fixed[number, token] = 0
        return fixed

    def ended(self, latest: Sequence[int]) -> list[bool]:
        """Note the latest token of each row, and return which rows have ended."""
        for number, control in self.controls.items():
            if self._ended[number]:
                continue
            if latest[number] in self._end_tokens:
                self._ended[number] = True
                continue
            tokens = self._tokens[number]
            tokens.append(latest[number])
            if self._end.is_reached(tokens):
                self._ended[number] = True
                if len(self._end.tokens(tokens)) == len(tokens):  # its first characters are the last ones of the answer
                    control.goes_on(latest[number])
            else:
                self._ended[number] = not control.goes_on(latest[number])
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
