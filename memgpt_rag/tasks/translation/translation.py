"""A text translated: its translation, the pairs that it rests on, and the terms that it had to respect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.tasks.translation.glossary import Term
from memgpt_rag.tasks.translation.pairs import TRANSLATION


@dataclass(frozen=True)
class UsedPair:
    """A pair that a translation rests on.

    Attributes:
        found: its entry, with the score of the search.
        share: part of the attention to all pairs and terms that went to it, while the translation was written.
    """

    found: Retrieved
    share: float

    @property
    def translation(self) -> str:
        """The other side of the pair."""
        return str(self.found.passage.metadata[TRANSLATION])

    def to_dict(self) -> dict[str, Any]:
        """Return it as commands and servers write it in JSON."""
        passage = self.found.passage
        return {
            "id": passage.id,
            "text": passage.text,
            "translation": self.translation,
            "place": passage.place,
            "score": self.found.score,
            "share": self.share,
        }


@dataclass(frozen=True)
class Translation:
    """A text translated.

    Attributes:
        text: in one line.
        translation: of it.
        target: its language.
        is_exact: whether the memory holds the text, and the translation is the one that stands there.
        pairs: those that were attended to, nearest first. Where it is exact, those that hold the text, with a score of 1; the
            translation is that of the first.
        terms: of the glossary that are in the text.
    """

    text: str
    translation: str
    target: str
    is_exact: bool
    pairs: tuple[UsedPair, ...]
    terms: tuple[Term, ...] = ()

    @property
    def missing_terms(self) -> tuple[Term, ...]:
        """Terms whose translation it does not have."""
        return tuple(term for term in self.terms if not term.respected(self.translation))

    def to_dict(self) -> dict[str, Any]:
        """Return it as commands and servers write it in JSON."""
        missing = self.missing_terms
        return {
            "translation": self.translation,
            "target_language": self.target,
            "exact": self.is_exact,
            "pairs": [pair.to_dict() for pair in self.pairs],
            "terms": [
                {"term": term.term, "translations": list(term.translations), "respected": term not in missing}
                for term in self.terms
            ],
        }
