"""What a question gets: an answer, the entries that it rests on, how likely they support it, and how long it took."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from memgpt_rag.answering.answer_html import answer_html
from memgpt_rag.answering.attention_trace import AttentionTrace, Span
from memgpt_rag.answering.quote import Quote, answer_helps
from memgpt_rag.answering.signals import Signals
from memgpt_rag.choices import Lead, Mode
from memgpt_rag.passage import Passage


@dataclass(frozen=True)
class Citation:
    """An entry that the answer rests on.

    Attributes:
        passage: the entry, with its source.
        score: its retrieval score.
        share: its share of the attention mass on memory, 0 to 1; None in prompt mode, which cannot tell.
        spans: parts of the answer's text whose tokens gave it the greatest share of their attention to memory, as (start, end)
            in characters; none where `Answer.trace` is None.
        joined_ids: ids of the entries that were joined to this one, itself among them; none where it stands alone.
    """

    passage: Passage
    score: float
    share: float | None
    spans: tuple[Span, ...] = ()
    joined_ids: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as commands and servers write it in JSON."""
        passage = self.passage
        return {
            "id": passage.id,
            "title": passage.title,
            "text": passage.text,
            "source": passage.source,
            "record": passage.record,
            "place": passage.place,
            "score": self.score,
            "share": self.share,
            "spans": [list(span) for span in self.spans],
            **({"joined_ids": list(self.joined_ids)} if self.joined_ids else {}),
        }


@dataclass(frozen=True)
class Timings:
    """Seconds from the question's arrival to the end of each step; of a batch, all its questions share them, but for the choice of a quote
    that leads, which `complete` counts for each.
    """

    retrieved: float
    states_ready: float
    first_token: float
    complete: float


@dataclass(frozen=True)
class Answer:
    """What a question got.

    Attributes:
        text: the answer.
        mode: how it came about; "closed_book" where the memory was left out.
        citations: the entries retrieved, the one with the largest share first.
        memory_mass: how much of all attention went to memory, averaged over attended layers, heads and tokens, 0 to 1.
        confidence: how likely it is that the memory supports the answer, 0 to 1; 0 where nothing was found, the answer is
            empty, or the reader says that it is not in memory; None where attention did not read it.
        supported: whether the confidence is high enough; None where there is none.
        signals: what the confidence is computed from.
        nothing_found: whether the memory was searched and no entry was found, so that the answer comes from the language
            model alone.
        trace: what each token of the text attended to, in the order of the citations; None where the text is not from memory, as
            after abstaining, and where attention cannot be paired with it: with beams, or with a tokenizer that does not know
            where its tokens stand.
        quote: the sentence or lines of the entry cited first that attention went to while the text was written; where the quote
            leads, with those around them, and of the entry with the best figure of attention and likelihood. None where the text is
            not from memory, as after abstaining, or says itself that the memory does not hold the answer.
        second_quote: that of the entry with the second best figure, where the quote leads, this figure is at least 0.3 of the
            best one, and the words are others; else None.
    """

    question: str
    text: str
    mode: Mode
    citations: list[Citation]
    memory_mass: float
    timings: Timings
    confidence: float | None = None
    supported: bool | None = None
    signals: Signals = field(default_factory=Signals)
    nothing_found: bool = False
    trace: AttentionTrace | None = field(default=None, repr=False, compare=False)
    quote: Quote | None = None
    second_quote: Quote | None = None

    @property
    def leads(self) -> Lead:
        """What helps more and is to be shown first: the quote where the text is empty, only gives a phrase of the question back,
        or is not supported.
        """
        helps = self.quote is None or answer_helps(self.question, self.text, self.supported)
        return "answer" if helps else "quote"

    def to_dict(self) -> dict[str, Any]:
        """Return it as commands and servers write it in JSON; seconds in `timings`."""
        return {
            "question": self.question,
            "text": self.text,
            "mode": self.mode,
            "confidence": self.confidence,
            "supported": self.supported,
            "nothing_found": self.nothing_found,
            "leads": self.leads,
            "quote": None if self.quote is None else self.quote.to_dict(),
            "second_quote": None if self.second_quote is None else self.second_quote.to_dict(),
            "memory_mass": self.memory_mass,
            "citations": [citation.to_dict() for citation in self.citations],
            "timings": asdict(self.timings),
        }

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the answer."""
        return answer_html(self)
