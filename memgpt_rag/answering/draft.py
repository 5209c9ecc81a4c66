"""One question on its way to an answer: retrieve, route, generate and judge each fill in their part."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from memgpt_rag.answering.answer import Timings
from memgpt_rag.answering.attention_trace import AttentionTrace
from memgpt_rag.answering.row_control import RowControl
from memgpt_rag.answering.signals import Signals, search_signals
from memgpt_rag.choices import Mode
from memgpt_rag.model.picture_inputs import Pictures
from memgpt_rag.retrieval.retriever import Retrieved


@dataclass
class Draft:
    """A question and what is known of its answer so far.

    Attributes:
        question: as it was asked.
        context: instructions and earlier turns, which the language model reads before the question; may be empty.
        pictures: what stands before the question's words; None without pictures.
        renew: what finds entries for the text written last, where they are renewed while the answer is written; None where they stay.
        control: what chooses the answer's tokens and says when it ends; None for what `generate` is asked for.
        began: when it arrived, in seconds of `time.perf_counter`.
        retrieved: entries found for it, best first; more of them than are read, since the scores of the others tell how far
            the best stand out.
        signals: what tells whether the memory is needed, and whether it supports the answer.
        route: how the question is answered; set by `memgpt_rag.answering.route`.
        nothing_found: whether the memory was to be read and the search found no entry; set likewise.
        tokens: the answer, and `log_probs` of each token, not known of beams; set by `memgpt_rag.answering.generate`.
        text: what the tokens say.
        mass: attention mass of each entry that was read, averaged over the answer's tokens.
        trace: what each token of the answer attended to, entry by entry; None where it is not known, as of beams.
        rate: returns how likely each of some entries makes the question, in nats a token, or None where that is not known; None where
            it is not asked, as with pictures.
        timings: of the batch that the question was answered in.
    """

    question: str
    retrieved: Sequence[Retrieved] = ()
    began: float = field(default_factory=time.perf_counter)
    signals: Signals = field(default_factory=Signals)
    route: Mode = "closed_book"
    nothing_found: bool = False
    entries: Sequence[Retrieved] = ()
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    text: str = ""
    mass: list[float] = field(default_factory=list)
    trace: AttentionTrace | None = None
    timings: Timings | None = None
    context: str = ""
    pictures: Pictures | None = None
    control: RowControl | None = None
    renew: Callable[[str], Sequence[Retrieved]] | None = None
    rate: Callable[[Sequence[Retrieved]], Sequence[float] | None] | None = None

    def __post_init__(self) -> None:
        if self.retrieved:
            scores = [entry.normalized_score for entry in self.retrieved]
            texts = [entry.passage.titled_text for entry in self.retrieved]
            self.signals = search_signals(self.question, scores, texts)
