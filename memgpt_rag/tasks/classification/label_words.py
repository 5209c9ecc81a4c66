"""Labelled examples and labels in words of the language model.

An example is read as "text → label", a text to classify as "text →", and the words of each label are what may follow. Texts are
read as plain text (see `Prompt`), and only their first tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from memgpt_rag.choices import DEFAULT_TEXT_TOKENS
from memgpt_rag.io.printable import shortened
from memgpt_rag.limits import MOST_LABEL_TOKENS
from memgpt_rag.model.prompt import Prompt, detect_language


@dataclass(frozen=True)
class LabelWords:
    """The words of each label, and examples and texts in tokens.

    Attributes:
        prompt: reads texts for a language model.
        words: label → its words.
        max_tokens: tokens of a text that are read; the others are left out.
        before: what stands between a text and its label.

    Raises:
        ValueError: a label has no words, or two labels have the same.
    """

    prompt: Prompt
    words: Mapping[str, str]
    max_tokens: int = DEFAULT_TEXT_TOKENS
    before: str = " →"

    def __post_init__(self) -> None:
        _require_distinct(self.words)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in their order."""
        return tuple(self.words)

    def text_ids(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text to classify, up to where its label begins."""
        return (*self.prompt.token_ids(text.strip())[: self.max_tokens], *self.prompt.token_ids(self.before))

    def example_ids(self, text: str, label: str) -> tuple[int, ...]:
        """Return the tokens of a labelled example."""
        return (*self.text_ids(text), *self._word_ids(label), *self._end)

    @cached_property
    def label_ids(self) -> tuple[tuple[int, ...], ...]:
        """The tokens of each label. Where one label begins another, as "art" and "art history", all of them with what ends them.

        Raises:
            ValueError: the words of a label are too long.
        """
        ids = [self._word_ids(label) for label in self.words]
        longest = max(ids, key=len)
        if len(longest) > MOST_LABEL_TOKENS:
            label = shortened(self.labels[ids.index(longest)])
            raise ValueError(
                f"The words of the label {label!r} have {len(longest):,} tokens; expected at most {MOST_LABEL_TOKENS}: give it shorter ones."
            )
        begins = any(one != other and other[: len(one)] == one for one in ids for other in ids)
        return tuple((*one, *self._end) if begins else one for one in ids)

    def _word_ids(self, label: str) -> tuple[int, ...]:
        words = self.words[label].strip()
        return self.prompt.token_ids(words if detect_language(words) == "zh" else f" {words}")

    @property
    def _end(self) -> tuple[int, ...]:
        return self.prompt.token_ids("\n\n")


def _require_distinct(words_by_label: Mapping[str, str]) -> None:
    """Raises ValueError where a label has no words, or those of another."""
    seen: dict[str, str] = {}
    for label, words in words_by_label.items():
        words = words.strip()
        if not words:
            raise ValueError(f"The label {label!r} has no words; name words for it that the language model can read.")
        if words in seen:
            raise ValueError(
                f"The labels {seen[words]!r} and {label!r} have the same words, {words!r}; give each words of its own."
            )
        seen[words] = label


def words_for(labels: Sequence[str], words: Mapping[str, str] | None) -> dict[str, str]:
    """Return the words of each label: those given, or the labels themselves.

    Raises:
        ValueError: a label has none or those of another, or some are for a label that is not there.
    """
    if words is None:
        return {label: label for label in labels}
    if missing := [label for label in labels if label not in words]:
        raise ValueError(
            f"There are no words for the label {missing[0]!r}; expected some for each of {', '.join(labels)}."
        )
    if empty := [label for label in words if label not in labels]:
        raise ValueError(
            f"The label {empty[0]!r} has words and no example; give an example of it, or leave its words out."
        )
    found = {label: words[label] for label in labels}
    _require_distinct(found)
    return found
