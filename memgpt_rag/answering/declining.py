"""Keeps a reader from saying "not in memory" where its memory supports an answer, when its first tokens are chosen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor

from memgpt_rag.model.prompt import NOT_IN_MEMORY, Prompt, detect_language

_Barred = dict[tuple[int, ...], list[int]]


class Declining(LogitsProcessor):  # type: ignore[misc]
    """Bars "not in memory", and "Not in memory", from answers that may not decline.

    A reader learned to decline from questions of which a share had no answer. How likely it is to, beside what the search found,
    tells better whether the memory holds an answer than either alone.

    The first token of "not in memory" is barred: behind "not", a reader that wants to decline would say no in other words. So an answer
    cannot begin with "not" there. Of "Not in memory", what an entry holds may be written, such as the title "Not a Boat".

    Args:
        may_decline: is given the log-odds that each answer begins as "not in memory", and returns for each whether it may.
        read: the texts of the entries of each question.
    """

    def __init__(
        self,
        prompt: Prompt,
        questions: Sequence[str],
        may_decline: Callable[[Sequence[float]], Sequence[bool]],
        read: Sequence[str],
    ):
        self._first: list[int] = []
        self._barred: list[_Barred] = []
        for question, text in zip(questions, read, strict=True):
            answer = NOT_IN_MEMORY[detect_language(question)]
            usual, capitalized = (prompt.answer_ids(question, one)[0] for one in (answer, answer.capitalize()))
            self._first.append(usual[0])
            barred: _Barred = {(): [usual[0]]}
            written, token = _first_not_held(capitalized, prompt.tokenizer.decode, text)
            barred.setdefault(written, []).append(token)
            self._barred.append(barred)
        self._may_decline, self._asked = may_decline, 0
        self._allowed: Sequence[bool] | None = None

    def __call__(self, input_ids: Int[Tensor, "rows tokens"], scores: Float[Tensor, "rows vocabulary"]) -> Tensor:
        beams = scores.shape[0] // len(self._first)
        if self._allowed is None:
            self._asked = input_ids.shape[1]
            self._allowed = self._may_decline(self._log_odds(scores[::beams]))
        longest = max(len(written) for barred in self._barred for written in barred)
        if all(self._allowed) or input_ids.shape[1] - self._asked > longest:
            return scores
        changed = scores
        for row, written in enumerate(input_ids[:, self._asked :].tolist()):
            tokens = [] if self._allowed[row // beams] else self._barred[row // beams].get(tuple(written), [])
            if tokens:
                changed = scores.clone() if changed is scores else changed
                changed[row, tokens] = -torch.inf
        return changed

    def _log_odds(self, scores: Float[Tensor, "rows vocabulary"]) -> list[float]:
        first = torch.tensor(self._first, device=scores.device)[:, None]
        log_probs = scores.double().log_softmax(-1).gather(1, first)[:, 0]
        odds: list[float] = (log_probs - torch.log1p(-log_probs.exp().clamp(max=1 - 1e-9))).tolist()
        return odds


def _first_not_held(
    ids: Sequence[int], decode: Callable[[Sequence[int]], str], text: str
) -> tuple[tuple[int, ...], int]:
    """Return the tokens before, and the first token of a phrase that completes words which a text does not hold; the last token at most."""
    for place, token in enumerate(ids):
        says = decode(ids[: place + 1]).strip()
        if not says or not re.search(rf"(?<!\w){re.escape(says)}(?!\w)", text):
            return tuple(ids[:place]), token
    return tuple(ids[:-1]), ids[-1]
