"""Keeps a reader from saying "not in memory" where its memory supports an answer, when its first token is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor

from memgpt_rag.model.prompt import NOT_IN_MEMORY, Prompt, detect_language


class Declining(LogitsProcessor):  # type: ignore[misc]
    """Bars the first token of "not in memory", and of "Not in memory", from answers that may not decline.

    A reader learned to decline from questions of which a share had no answer. How likely it is to, beside what the search found,
    tells better whether the memory holds an answer than either alone.

    Args:
        may_decline: is given the log-odds that each answer begins as "not in memory", and returns for each whether it may.
    """

    def __init__(
        self, prompt: Prompt, questions: Sequence[str], may_decline: Callable[[Sequence[float]], Sequence[bool]]
    ):
        answers = [NOT_IN_MEMORY[detect_language(question)] for question in questions]
        spelled = [
            [prompt.answer_ids(question, one)[0][0] for one in (answer, answer.capitalize())]
            for question, answer in zip(questions, answers, strict=True)
        ]
        self._first, self._barred = [usual for usual, _ in spelled], spelled
        self._may_decline = may_decline
        self._has_begun = False

    def __call__(self, input_ids: Int[Tensor, "rows tokens"], scores: Float[Tensor, "rows vocabulary"]) -> Tensor:
        if self._has_begun:
            return scores
        self._has_begun = True
        beams = scores.shape[0] // len(self._first)
        allowed = self._may_decline(self._log_odds(scores[::beams]))
        barred = [row for row in range(scores.shape[0]) if not allowed[row // beams]]
        if barred:
            scores = scores.clone()
            for row in barred:
                scores[row, self._barred[row // beams]] = -torch.inf
        return scores

    def _log_odds(self, scores: Float[Tensor, "rows vocabulary"]) -> list[float]:
        first = torch.tensor(self._first, device=scores.device)[:, None]
        log_probs = scores.double().log_softmax(-1).gather(1, first)[:, 0]
        odds: list[float] = (log_probs - torch.log1p(-log_probs.exp().clamp(max=1 - 1e-9))).tolist()
        return odds
