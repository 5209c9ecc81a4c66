"""What looks on while a model writes: a clock, the end of the answer, the likelihood of tokens, the decision to go on reading
memory, and streamers that wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.model.answer_text import AnswerEnd


class StopAtEnd(StoppingCriteria):  # type: ignore[misc]
    """Stops a row where its answer ends: a model that was shown worked examples would go on to a next question."""

    def __init__(self, end: AnswerEnd):
        self._end = end
        self._asked: int | None = None  # tokens of a row that stand before its answer

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        if self._asked is None:
            self._asked = input_ids.shape[1] - 1  # it is called with the first token of the answer
        rows = input_ids[:, self._asked :].tolist()
        return torch.tensor([self._end.is_reached(row) for row in rows], device=input_ids.device)


class BarRecital(LogitsProcessor):  # type: ignore[misc]
    """Keeps a model from reciting an answer of the worked examples in place of its own.

    At the beginning of an answer, a token that goes on with an example's answer is barred as soon as nothing that was read holds
    what would then be written of it: "18" of "1891年" may stand where an entry holds 18.

    Args:
        examples: tokens of each of these answers, in every form that may be written.
        decode: returns the text of tokens.
        read: of each question, everything that may be quoted: the question and the texts of its entries; None where it has none.
    """

    def __init__(
        self, examples: Sequence[Sequence[int]], decode: Callable[[Sequence[int]], str], read: Sequence[str | None]
    ):
        self._barred = [_barred(examples, decode, text) for text in read]
        self._longest = max(map(len, examples), default=0)
        self._asked: int | None = None

    def __call__(self, input_ids: Int[Tensor, "rows tokens"], scores: Float[Tensor, "rows vocabulary"]) -> Tensor:
        if self._asked is None:
            self._asked = input_ids.shape[1]
        if input_ids.shape[1] - self._asked >= self._longest:
            return scores
        beams = input_ids.shape[0] // len(self._barred)
        for row, written in enumerate(input_ids[:, self._asked :].tolist()):
            if barred := self._barred[row // beams].get(tuple(written)):
                scores = scores.clone()
                scores[row, barred] = -torch.inf
        return scores


def _barred(
    examples: Sequence[Sequence[int]], decode: Callable[[Sequence[int]], str], text: str | None
) -> dict[tuple[int, ...], list[int]]:
    """Return the tokens that must not follow what was written: what both say is how an example begins, and not in the text."""
    barred: dict[tuple[int, ...], list[int]] = {}
    held = (text or "").casefold()  # an entry that begins with "Children" holds the answer "children", too
    for ids in examples if text is not None else ():
        for place, token in enumerate(ids):
            if decode(ids[: place + 1]).strip().casefold() not in held:
                barred.setdefault(tuple(ids[:place]), []).append(token)
    return barred


class StopUnread(StoppingCriteria):  # type: ignore[misc]
    """Stops, right after the pass that reads the questions, the rows that turn out not to need the memory.

    Args:
        decide: which rows go on; asked once, when memory has taken its share of that pass.
    """

    def __init__(self, decide: Callable[[], Sequence[bool]]):
        self._decide = decide
        self._stops: list[bool] | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        if self._stops is None:
            self._stops = [not goes_on for goes_on in self._decide()]
        stops = torch.tensor(self._stops, device=input_ids.device)
        return stops.repeat_interleave(input_ids.shape[0] // len(self._stops))


class TokenLogProbs(LogitsProcessor):  # type: ignore[misc]
    """Notes how likely each chosen token was. Of the scores over the vocabulary, one step's are kept at a time."""

    def __init__(self) -> None:
        self._scores: Tensor | None = None
        self._steps: list[Float[Tensor, " rows"]] = []

    def __call__(self, input_ids: Int[Tensor, "rows tokens"], scores: Float[Tensor, "rows vocabulary"]) -> Tensor:
        self._note(input_ids[:, -1])
        self._scores = scores
        return scores

    def of(self, written: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probability of each token of each row, as it was written; with beams, which choose late, of none."""
        if self._scores is None or self._scores.shape[0] != len(written):
            return [[] for _ in written]
        last = [row[-1] if row else 0 for row in written]  # the only one that no later step has named
        self._note(torch.tensor(last, device=self._scores.device))
        steps = torch.stack(self._steps, dim=1)
        return [row_log_probs[: len(row)] for row_log_probs, row in zip(steps.tolist(), written, strict=True)]

    def _note(self, chosen: Int[Tensor, " rows"]) -> None:
        if self._scores is not None and self._scores.shape[0] == chosen.shape[0]:
            scores = self._scores.float()
            self._steps.append(scores.gather(1, chosen[:, None])[:, 0] - scores.logsumexp(-1))


class Clock(BaseStreamer):  # type: ignore[misc]
    """Passes tokens on to another streamer, and notes when the first one came."""

    def __init__(self, streamer: BaseStreamer | None):
        self._streamer = streamer
        self._began = time.perf_counter()
        self._puts = 0
        self._first: float | None = None
        self.states_ready = 0.0

    def elapsed(self) -> float:
        """Return the seconds since the clock was started."""
        return time.perf_counter() - self._began

    @property
    def first_token(self) -> float:
        """Seconds from the start; with beams, which choose their tokens at the end, the time up to now."""
        return self.elapsed() if self._first is None else self._first

    def put(self, value: Tensor) -> None:
        self._puts += 1  # the first one is the question itself
        if self._puts == 2:
            self._first = self.elapsed()
        if self._streamer is not None:
            self._streamer.put(value)

    def end(self) -> None:
        if self._streamer is not None:
            self._streamer.end()


class AnswerStreamer(BaseStreamer):  # type: ignore[misc]
    """Passes on the tokens of an answer, and not those behind its end, which show that it is over."""

    def __init__(self, streamer: BaseStreamer, end: AnswerEnd):
        self._streamer, self._end = streamer, end
        self._asked = False
        self._written: list[int] = []
        self._passed = 0

    def put(self, value: Tensor) -> None:
        if not self._asked:  # the first ones are those of the question
            self._asked = True
            self._streamer.put(value)
            return
        self._written += value.flatten().tolist()
        settled = self._end.settled(self._written)
        if settled > self._passed:
            self._streamer.put(torch.tensor(self._written[self._passed : settled]))
            self._passed = settled

    def end(self) -> None:
        self._streamer.end()


class HeldStreamer(BaseStreamer):  # type: ignore[misc]
    """Keeps tokens back until it is released; one that never is has shown nothing."""

    def __init__(self, streamer: BaseStreamer):
        self._streamer = streamer
        self._kept: list[Tensor] = []
        self._ended = self._released = False

    def put(self, value: Tensor) -> None:
        if self._released:
            self._streamer.put(value)
        else:
            self._kept.append(value)

    def end(self) -> None:
        self._ended = True
        if self._released:
            self._streamer.end()

    def start_again(self) -> None:
        """Forget what was kept, and pass on all that comes from now on."""
        self._kept, self._ended, self._released = [], False, True

    def release(self, instead: Int[Tensor, " tokens"] | None = None) -> None:
        """Pass on what was kept, and from now on all that comes.

        Args:
            instead: tokens to put in place of those kept after the question; None for those kept.
        """
        if self._released:
            return
        self._released = True
        for value in self._kept if instead is None else [*self._kept[:1], instead]:
            self._streamer.put(value)
        if self._ended:
            self._streamer.end()
