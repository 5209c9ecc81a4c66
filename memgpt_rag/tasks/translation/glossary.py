"""A glossary: terms whose translation is prescribed, which of them a text has, and whether a translation respects them.

Chinese terms are found anywhere; terms of languages with letters as whole words, which may have a plural's s, in any case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memgpt_rag.model.prompt import detect_language
from memgpt_rag.tasks.translation.pairs import LANGUAGES, SentencePair, read_pairs


@dataclass(frozen=True)
class Term:
    """A term of a text.

    Attributes:
        term: in the language of the text.
        translations: those that are allowed, the preferred one first.
    """

    term: str
    translations: tuple[str, ...]

    def respected(self, translation: str) -> bool:
        """Return whether a translation has one of those that are allowed."""
        return any(_pattern(one).search(translation) for one in self.translations)


class Glossary:
    """Terms in two languages, which hold in both directions.

    Args:
        pairs: of a term and its translation; where several have the same term, each of their translations is allowed.
    """

    def __init__(self, pairs: Iterable[SentencePair] = ()):
        self._terms: dict[tuple[str, str], dict[str, list[str]]] = {}
        for pair in pairs:
            for language, term, target, translation in pair.directions:
                known = self._terms.setdefault((language, target), {}).setdefault(term.casefold(), [])
                if translation not in known:
                    known.append(translation)

    def terms(self, text: str, language: str, target: str) -> tuple[Term, ...]:
        """Return the terms of a text in their order, each once; of two that overlap, the longer one."""
        found: list[tuple[int, int, Term]] = []
        known = self._terms.get((language, target), {})
        for term in sorted(known, key=len, reverse=True):
            for match in _pattern(term).finditer(text):
                start, end = match.span()
                if all(end <= first or last <= start for first, last, _ in found):
                    found.append((start, end, Term(match.group(), tuple(known[term]))))
        first: dict[str, Term] = {}
        for _, _, one in sorted(found, key=lambda place: place[0]):
            first.setdefault(one.term.casefold(), one)
        return tuple(first.values())


def read_glossary(path: str | Path, languages: Sequence[str] = LANGUAGES) -> Glossary:
    """Read a glossary from a file of pairs; see `read_pairs`."""
    return Glossary(read_pairs(path, languages))


def _pattern(term: str) -> re.Pattern[str]:
    words = re.escape(term)
    return re.compile(words if detect_language(term) == "zh" else rf"(?<!\w){words}(?:e?s)?(?!\w)", re.IGNORECASE)
