"""Whether a reader answers or says "not in memory", decided when its first token is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor

from memgpt_rag.model.prompt import NOT_IN_MEMORY, Prompt, language_of


class Declining(LogitsProcessor):  # type: ignore[misc]
    """Lets answers be "not in memory" where this is decided, and bars them from it where they are to be others.

    A reader learned to decline from questions of which a share had no answer. How likely it is to, beside what the search found,
    tells better whether the memory holds an answer than either alone.

    Args:
        decide: is given the log-odds that each answer begins as "not in memory", and returns for each whether it is to be: None
            leaves it to the reader.
    """

    def __init__(
        self,
        prompt: Prompt,
        questions: Sequence[str],
        decide: Callable[[Sequence[float]], Sequence[bool | None]],
    ):
        languages = [language_of(question) for question in questions]
        self._written = [
            [
                token
                for part in prompt.answer_ids(question, NOT_IN_MEMORY[language])
                for token in part
                if token is not None  # a tokenizer without an end-of-text token
            ]
            for question, language in zip(questions, languages, strict=True)
        ]
        self._decide = decide
        self._decided: list[bool | None] = []
        self._asked: int | None = None

    def __call__(self, input_ids: Int[Tensor, "rows tokens"], scores: Float[Tensor, "rows vocabulary"]) -> Tensor:
        if self._asked is None:
            self._asked = input_ids.shape[1]
        place, beams = input_ids.shape[1] - self._asked, scores.shape[0] // len(self._written)
        if place == 0:
            self._decided = list(self._decide(self._log_odds(scores[::beams])))
        given = scores
        for row in range(scores.shape[0]):
            declines, written = self._decided[row // beams], self._written[row // beams]
            if declines is None or place >= (len(written) if declines else 1):
                continue
            if scores is given:
                scores = scores.clone()
            if declines:
                scores[row] = -torch.inf
                scores[row, written[place]] = 0
            else:
                scores[row, written[0]] = -torch.inf
        return scores

    def _log_odds(self, scores: Float[Tensor, "rows vocabulary"]) -> list[float]:
        first = torch.tensor([written[0] for written in self._written], device=scores.device)[:, None]
        log_probs = scores.double().log_softmax(-1).gather(1, first)[:, 0]
        odds: list[float] = (log_probs - torch.log1p(-log_probs.exp().clamp(max=1 - 1e-9))).tolist()
        return odds
