"""One answer while it is generated: how its tokens are chosen, where it ends, and its text as it comes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from memgpt_rag.model.answer_text import AnswerEnd

# Tokens that may spell one character between them.
_MOST_HELD = 8
_LOWEST_TEMPERATURE = 1e-4  # the likeliest token is chosen at this one


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen, and where an answer ends.

    Attributes:
        temperature: 0 for the likeliest token.
        top_p: share of the probability that is sampled from.
        seed: of the first choice; the others count on from it. None for a random one.
        stops: texts before which an answer ends.
        max_tokens: longest answer.
        top_logprobs: how many of the likeliest tokens to note at each place; None to note nothing.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()
    max_tokens: int = 48
    top_logprobs: int | None = None


@dataclass(frozen=True)
class TokenLogProb:
    """A token of an answer with its log-probability, and the likeliest tokens in its place."""

    token: str
    log_prob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass
class Piece:
    """What an answer has got since the last piece."""

    choice: int
    text: str
    log_probs: list[TokenLogProb] = field(default_factory=list)


class AnswerRow:
    """Chooses the tokens of one answer as its request says; the control of one row of a batch.

    Args:
        choice: number of the answer among those of its request.
        on_piece: receives the text as it comes; None to keep all of it back.
        is_over: whether the request has ended, because its client has gone or its time is up.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        sampling: Sampling,
        choice: int,
        *,
        on_piece: Callable[[Piece], None] | None,
        is_over: Callable[[], bool],
    ):
        self.sampling, self.choice = sampling, choice
        self._tokenizer, self._on_piece, self._is_over = tokenizer, on_piece, is_over
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed + choice
        self._seed = seed % 2**63
        self.emitted = ""
        self.first_token_at: float | None = None
        self.begin(AnswerEnd(tokenizer, itself=True))

    def begin(self, end: AnswerEnd) -> None:
        """Begin the answer, or begin it again, perhaps with another model."""
        self._end = end
        self._tokens: list[int] = []
        self._log_probs: list[TokenLogProb] = []
        self._given = 0
        self._text, self._prefix, self._read = "", 0, 0
        self.stopped_at: int | None = None
        self._cut = False
        self._scores: Tensor | None = None
        self._random = torch.Generator().manual_seed(self._seed)

    @property
    def log_probs(self) -> list[TokenLogProb]:
        """Log-probabilities of the tokens so far, if they are noted."""
        return self._log_probs

    @property
    def finish_reason(self) -> str:
        """Why the answer ended: "length" where it was cut, else "stop"."""
        return "length" if self._cut else "stop"

    def choose(self, scores: Float[Tensor, " vocabulary"]) -> int | None:
        """Return a token sampled from the scores; None for the likeliest one."""
        sampling = self.sampling
        if sampling.top_logprobs is not None:
            self._scores = scores.float().log_softmax(-1)
        if sampling.temperature == 0:
            return None
        # Scores relative to the best one, which stays 0: divided by a tiny temperature, large scores would overflow.
        relative = scores.float().cpu() - scores.max().float().cpu()
        probabilities = (relative / max(sampling.temperature, _LOWEST_TEMPERATURE)).softmax(-1)
        if sampling.top_p < 1:
            ordered, places = probabilities.sort(descending=True)
            ordered[ordered.cumsum(-1) - ordered >= sampling.top_p] = 0  # the token that reaches the share stays
            return int(places[torch.multinomial(ordered, 1, generator=self._random)])
        return int(torch.multinomial(probabilities, 1, generator=self._random))

    def goes_on(self, token: int) -> bool:
        """Take a token into the answer; return whether there is to be another."""
        if self.first_token_at is None:
            self.first_token_at = time.perf_counter()
        self._tokens.append(token)
        if self._scores is not None:
            self._log_probs.append(self._log_prob(token))
        self._read_text()
        text = self._text.lstrip()
        found = [at for stop in self.sampling.stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped_at = min(found)
        self._give(text[: self.stopped_at])
        self._cut = not found and (len(self._tokens) >= self.sampling.max_tokens or self._is_over())
        return not (found or self._cut)

    def keep(self, tokens: int) -> None:
        """Leave out the log-probabilities of tokens behind the answer, which showed that it was over."""
        del self._log_probs[tokens:]

    def final_text(self, text: str) -> str:
        """Return the answer's text, cut at its stop."""
        if self.stopped_at is None:
            return text
        found = [at for stop in self.sampling.stops if (at := text.find(stop)) >= 0]
        return text[: min(found, default=self.stopped_at)].rstrip()

    def rest(self, text: str) -> Piece:
        """Return what has not been given of the final text."""
        new = text[len(self.emitted) :] if text.startswith(self.emitted) else ""
        self.emitted += new
        return Piece(self.choice, new, self._new_log_probs(len(self._log_probs)))

    def _read_text(self) -> None:
        """Add the text of the latest tokens, once they spell whole characters.

        A token is read after the ones before it, since some tokenizers leave out the space before a first word.
        """
        settled = self._end.settled(self._tokens)
        if settled <= self._read:
            return
        before = self._decoded(self._tokens[self._prefix : self._read])
        after = self._decoded(self._tokens[self._prefix : settled])
        if after.endswith("\ufffd") and settled - self._read < _MOST_HELD:
            return
        self._text += after[len(before) :]
        self._prefix, self._read = self._read, settled

    def _decoded(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def _give(self, text: str) -> None:
        """Pass on what is certain: not the space that may be the last, nor what may become a stop."""
        if self._on_piece is None:
            return
        certain = text
        if self.stopped_at is None:
            for stop in self.sampling.stops:
                held = next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
                certain = min(certain, text[: len(text) - held], key=len)
        certain = certain.rstrip()
        if len(certain) > len(self.emitted):
            new, self.emitted = certain[len(self.emitted) :], certain
            self._on_piece(Piece(self.choice, new, self._new_log_probs(self._read)))

    def _new_log_probs(self, until: int) -> list[TokenLogProb]:
        new, self._given = self._log_probs[self._given : until], max(self._given, until)
        return new

    def _log_prob(self, token: int) -> TokenLogProb:
        assert self._scores is not None and self.sampling.top_logprobs is not None
        scores = self._scores
        values, places = scores.topk(self.sampling.top_logprobs) if self.sampling.top_logprobs else (scores[:0],) * 2
        top = tuple(
            (self._decoded([int(place)]), value) for place, value in zip(places.tolist(), values.tolist(), strict=True)
        )
        return TokenLogProb(self._decoded([token]), float(scores[token]), top)
