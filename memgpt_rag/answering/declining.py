"""Keeps a reader from saying "not in memory" where its memory supports an answer, when its first token is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor

from memgpt_rag.model.prompt import NOT_IN_MEMORY, Prompt, detect_language


class Declining(LogitsProcessor):  # type: ignore[misc]
    """Bars the first token of "not in memory", in either spelling and language, from answers that may not decline.

    A reader learned to decline from questions of which a share had no answer. How likely it is to, beside what the search found,
    tells better whether the memory holds an answer than either alone. Where the reader would have declined, the answer begins with a token
    of an entry, since what is next likeliest says no in other words ("no", "不要"); and it does not decline later either.

    Args:
        entry_tokens: returns the tokens of the entries of a question, by its place among the questions.
        may_decline: is given the log-odds that each answer begins as "not in memory", and returns for each whether it may.
    """

    def __init__(
        self,
        prompt: Prompt,
        questions: Sequence[str],
        entry_tokens: Callable[[int], Iterable[int]],
        may_decline: Callable[[Sequence[float]], Sequence[bool]],
    ):
        self._tokenizer, self._entry_tokens, self._may_decline = prompt.tokenizer, entry_tokens, may_decline
        own = [NOT_IN_MEMORY[detect_language(question)] for question in questions]
        self._first = [_first_token(prompt, question, answer) for question, answer in zip(questions, own, strict=True)]
        self._barred = [self._declining_tokens(prompt, *pair) for pair in zip(questions, own, strict=True)]
        self._has_begun = False
        self._foreign: dict[int, list[int]] = {}  # by row: tokens that decline and stand in no entry, barred to the end

    def __call__(self, input_ids: Int[Tensor, "rows tokens"], scores: Float[Tensor, "rows vocabulary"]) -> Tensor:
        if not self._has_begun:
            self._has_begun = True
            return self._begin(scores)
        if self._foreign:
            scores = scores.clone()
            for row, tokens in self._foreign.items():
                scores[row, tokens] = -torch.inf
        return scores

    def _begin(self, scores: Float[Tensor, "rows vocabulary"]) -> Tensor:
        """Return the scores of first tokens without those that are barred."""
        beams = scores.shape[0] // len(self._first)
        allowed = self._may_decline(self._log_odds(scores[::beams]))
        barred = [row for row in range(scores.shape[0]) if not allowed[row // beams]]
        if barred:
            scores = scores.clone()
        for row in barred:
            tokens = self._barred[row // beams]
            would_decline = int(scores[row].argmax()) in tokens
            scores[row, tokens] = -torch.inf
            if not would_decline:
                continue
            read = {*self._entry_tokens(row // beams)}
            self._foreign[row] = self._words(token for token in tokens if token not in read)
            if first := self._beginnings(read.difference(tokens)):
                others = torch.ones_like(scores[row], dtype=torch.bool)
                others[first] = False
                scores[row].masked_fill_(others, -torch.inf)
        return scores

    def _declining_tokens(self, prompt: Prompt, question: str, own: str) -> list[int]:
        """The first tokens of "not in memory", in the language of the question and in the others.

        Over English entries, a reader may decline in English whatever it is asked in. In another language, a space may come first, as it
        does before a number.
        """
        spelled = [_first_token(prompt, question, one) for one in (own, own.capitalize())]
        others = [one for answer in NOT_IN_MEMORY.values() if answer != own for one in (answer, answer.capitalize())]
        return sorted({*spelled, *self._words({_first_token(prompt, question, one) for one in others})})

    def _words(self, tokens: Iterable[int]) -> list[int]:
        """The tokens that say something."""
        return [token for token in sorted(tokens) if any(map(str.isalnum, self._tokenizer.decode([token])))]

    def _beginnings(self, tokens: set[int]) -> list[int]:
        """The tokens that an answer may begin with: those that say something, and a space, which stands before a number."""
        spaces = [token for token in sorted(tokens) if self._tokenizer.decode([token]) == " "]
        words = self._words(tokens)
        return [*words, *spaces] if words else []

    def _log_odds(self, scores: Float[Tensor, "rows vocabulary"]) -> list[float]:
        first = torch.tensor(self._first, device=scores.device)[:, None]
        log_probs = scores.double().log_softmax(-1).gather(1, first)[:, 0]
        odds: list[float] = (log_probs - torch.log1p(-log_probs.exp().clamp(max=1 - 1e-9))).tolist()
        return odds


def _first_token(prompt: Prompt, question: str, answer: str) -> int:
    words, _ = prompt.answer_ids(question, answer)
    return words[0]
