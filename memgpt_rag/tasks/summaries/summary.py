"""A summary: its parts, their sentences, and the passages that each sentence rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memgpt_rag.answering.answer import Answer
from memgpt_rag.answering.text_units import text_units
from memgpt_rag.passage import Passage

_MOST_CITED = 3
_LEAST_SHARE = 0.1  # of a sentence's attention to memory, for a citation behind the first
_SENTENCE_ENDS = (".", "!", "?", "。", "！", "？", "…", ":", "：")


@dataclass(frozen=True)
class Source:
    """A passage that a sentence rests on, with its share of the attention that the sentence gave to memory."""

    passage: Passage
    share: float


@dataclass(frozen=True)
class Sentence:
    """A sentence with its sources, the one with the largest share first."""

    text: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Part:
    """What was written about one section.

    Attributes:
        heading: of the section; empty where everything is one part.
        sentences: in their order.
        passages: how many passages the section has.
        read: how many of them were attended to.
    """

    heading: str
    sentences: tuple[Sentence, ...]
    passages: int
    read: int

    @property
    def text(self) -> str:
        """The sentences, one behind the other; Chinese ones without a space between them."""
        text = ""
        for sentence in self.sentences:
            text += sentence.text if not text or text.endswith(("。", "！", "？")) else f" {sentence.text}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return it as commands and servers write it in JSON."""
        return {
            "heading": self.heading,
            "text": self.text,
            "sentences": [
                {
                    "text": sentence.text,
                    "citations": [
                        {
                            "id": one.passage.id,
                            "title": one.passage.title,
                            "place": one.passage.place,
                            "share": one.share,
                        }
                        for one in sentence.sources
                    ],
                }
                for sentence in self.sentences
            ],
            "passages": self.passages,
            "read": self.read,
        }


def cited_sentences(answer: Answer, *, cut: bool) -> tuple[Sentence, ...]:
    """Return the sentences of an answer, each with the passages that its tokens attended to most.

    Args:
        cut: whether the answer was cut at its longest; then its last sentence is left out, unless it is the only one.
    """
    units = text_units(answer.text)
    if cut and len(units) > 1 and not answer.text.endswith(_SENTENCE_ENDS):
        units.pop()
    return tuple(Sentence(answer.text[start:end], _sources(answer, start, end)) for start, end in units)


def _sources(answer: Answer, start: int, end: int) -> tuple[Source, ...]:
    given: Sequence[float] = [citation.share or 0.0 for citation in answer.citations]
    if answer.trace is not None:
        given = [float(answer.trace.entry_weights(rank, start, end).sum()) for rank in range(len(answer.citations))]
    total = sum(given)
    if not total:
        return ()
    sources = [Source(one.passage, mass / total) for one, mass in zip(answer.citations, given, strict=True)]
    first, *others = sorted(sources, key=lambda one: -one.share)[:_MOST_CITED]
    return first, *[one for one in others if one.share >= _LEAST_SHARE]
