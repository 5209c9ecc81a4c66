"""Sentence pairs and texts to translate in words of the language model: "English: …", and behind it "Chinese: …"."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_rag.model.prompt import Prompt
from memgpt_rag.passage import Passage
from memgpt_rag.tasks.translation.pairs import LANGUAGE, TARGET, TRANSLATION

# Names of languages as the language model knows them; others go by their code.
_NAMES = {
    "en": "English", "zh": "Chinese", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese",
    "ru": "Russian", "ja": "Japanese", "ko": "Korean",
}  # fmt: skip


@dataclass(frozen=True)
class PairWords:
    """Sentence pairs and texts in tokens.

    Attributes:
        prompt: reads texts for a language model.
    """

    prompt: Prompt

    def text_ids(self, text: str, language: str, target: str) -> tuple[int, ...]:
        """Return the tokens of a text to translate, up to where its translation begins."""
        return self.prompt.token_ids(f"{_name(language)}: {text}\n{_name(target)}:")

    def pair_ids(self, text: str, language: str, target: str, translation: str) -> tuple[int, ...]:
        """Return the tokens of a pair."""
        return (*self.text_ids(text, language, target), *self.prompt.token_ids(f" {translation}\n\n"))

    def passage_ids(self, passage: Passage) -> tuple[int, ...]:
        """Return the tokens of a pair that is an entry."""
        language, target, translation = (passage.metadata[name] for name in (LANGUAGE, TARGET, TRANSLATION))
        return self.pair_ids(passage.text, language, target, translation)


def _name(language: str) -> str:
    return _NAMES.get(language.partition("-")[0].lower(), language)
