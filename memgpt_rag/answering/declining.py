"""How readily a reader says "not in memory": how likely each answer is to begin that way, and the offset that corrects it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor

from memgpt_rag.model.prompt import NOT_IN_MEMORY, Prompt, language_of


class Declining(LogitsProcessor):  # type: ignore[misc]
    """Notes how likely an answer is to begin as "not in memory", and adds the reader's offset to the score of that beginning.

    A reader learns to decline from questions of which a share has no answer, and declines more or less often elsewhere. The
    offset is fitted once per language, to questions whose answer is known to be in memory or not.

    Args:
        offsets: of the reader, by language; none counts as 0.
    """

    def __init__(self, prompt: Prompt, questions: Sequence[str], offsets: dict[str, float]):
        languages = [language_of(question) for question in questions]
        self._tokens = [
            prompt.answer_ids(question, NOT_IN_MEMORY[language])[0][0]
            for question, language in zip(questions, languages, strict=True)
        ]
        self._offsets = [offsets.get(language, 0.0) for language in languages]
        self._asked: int | None = None
        self.log_odds: list[float] = []

    def __call__(self, input_ids: Int[Tensor, "rows tokens"], scores: Float[Tensor, "rows vocabulary"]) -> Tensor:
        if self._asked is None:
            self._asked = input_ids.shape[1]
        if input_ids.shape[1] > self._asked:
            return scores
        beams = scores.shape[0] // len(self._tokens)
        tokens = torch.tensor(self._tokens, device=scores.device).repeat_interleave(beams)[:, None]
        offsets = torch.tensor(self._offsets, device=scores.device, dtype=scores.dtype).repeat_interleave(beams)
        log_probs = scores.float().log_softmax(-1).gather(1, tokens)[:, 0]
        self.log_odds = (log_probs - torch.log1p(-log_probs.exp().clamp(max=1 - 1e-6)))[::beams].tolist()
        return scores.scatter_add(1, tokens, offsets[:, None]) if any(self._offsets) else scores
