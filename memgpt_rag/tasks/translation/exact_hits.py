"""Exact hits: texts that a memory of pairs holds word for word get the translation that stands there. No model is needed."""

from __future__ import annotations

import pyarrow.compute as pc

from memgpt_rag.choices import DEFAULT_PAIRS
from memgpt_rag.errors import MismatchError
from memgpt_rag.limits import MOST_ENTRIES, require_between
from memgpt_rag.memory import Memory
from memgpt_rag.model.prompt import detect_language
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.tasks.translation.glossary import Glossary
from memgpt_rag.tasks.translation.pairs import LANGUAGE, MOST_SIDE, TARGET, require_pairs, tidy
from memgpt_rag.tasks.translation.translation import Translation, UsedPair


class ExactHits:
    """Looks up texts in a memory of pairs.

    Args:
        memory: from `create_memory`.
        k: pairs of each text.

    Raises:
        MismatchError: the entries of the memory are no sentence pairs.
        ValueError: k is out of bounds.
    """

    def __init__(self, memory: Memory, *, k: int = DEFAULT_PAIRS):
        require_between("k", k, 1, MOST_ENTRIES)
        require_pairs(memory)
        self._memory, self._k = memory, k
        first = memory.passages(memory.rows()[:1])[0].metadata
        self.languages = str(first[LANGUAGE]), str(first[TARGET])

    def source_language(self, target: str) -> str:
        """Return the language that the memory translates from into this one.

        Raises:
            MismatchError: no pair of the memory is in this language.
        """
        one, other = self.languages
        if target not in (one, other):
            raise MismatchError(
                f"The pairs in {self._memory.path} are in {one} and {other}, and {target!r} was asked for; name one of these."
            )
        return one if target == other else other

    def find(self, text: str, target: str | None, glossary: Glossary) -> Translation | None:
        """Return the translation of a text that the memory holds; None where it holds another text.

        Args:
            text: tidied, as `checked` returns it.
            target: language to translate to; None for Chinese, or English where the text is Chinese.
        """
        target = target or other_language(text)
        rows = self._memory.rows((pc.field(TARGET) == target) & (pc.field("text") == text)).tolist()[: self._k]
        if not rows:
            return None
        pairs = tuple(
            UsedPair(Retrieved(row, passage, 1.0, 1.0), float(row == rows[0]))
            for row, passage in zip(rows, self._memory.passages(rows), strict=True)
        )
        terms = glossary.terms(text, self.source_language(target), target)
        return Translation(text, pairs[0].translation, target, True, pairs, terms)


def checked(text: str) -> str:
    """Return a text in one line.

    Raises:
        ValueError: it is empty, or longer than `MOST_SIDE`.
    """
    tidied = tidy(text)
    if not 0 < len(tidied) <= MOST_SIDE:
        raise ValueError(
            f"A text has {len(tidied):,} characters; expected 1 to {MOST_SIDE:,}: give a sentence, or a few, at a time."
        )
    return tidied


def other_language(text: str) -> str:
    """Return the language that a text is translated to where none is named."""
    return "en" if detect_language(text) == "zh" else "zh"
