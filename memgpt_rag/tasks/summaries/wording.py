"""What a language model is asked for, in words: a title, or a summary of one part.

A model with a chat template is instructed. One without goes on with a text whose next line it has to write: "Title:", "Summary:".
Worked examples are not shown: a small model repeats them where a text is hard to name.
"""

from __future__ import annotations

import re

from memgpt_rag.model.prompt import Prompt

_TITLE = {"en": "Title:", "zh": "标题："}
_SUMMARY = {"en": "Summary:", "zh": "摘要："}
_PART = {"en": "Summary of “{}”:", "zh": "“{}”摘要："}
_NUMBER = re.compile(
    r"(?:(?i:chapter|section|part|appendix)\s+[A-Z\d]+(?:\.\d+)*\.?|[A-Z]?\d*(?:\.\d+)+\.?|\d+\.|[A-Z]\.)\s+|第\s?\S{1,4}\s?[章节部]\s*"
)  # of a heading
_INSTRUCTION = (
    "Write what is asked for at the end, from the texts before it, in their language and in one paragraph. "
    "请根据前面的文字，用同样的语言写出最后要求的内容，写成一段。"
)


class SummaryPrompt(Prompt):
    """Asks for what is given as it is; it stands for no question."""

    @property
    def instruction(self) -> str:
        return _INSTRUCTION

    @property
    def example_ids(self) -> tuple[int, ...]:
        return self._begin

    @property
    def example_answers(self) -> tuple[tuple[int, ...], ...]:
        return ()

    def asked_text(self, question: str) -> str:
        return question.strip()


def title_wanted(language: str) -> str:
    """Return what asks for a title."""
    return _TITLE[language]


def part_wanted(heading: str, language: str) -> str:
    """Return what asks for the summary of a part, by its heading without a number, or of everything where it has no heading."""
    words = _NUMBER.sub("", heading, count=1) if _NUMBER.match(heading) else heading
    return _PART[language].format(words) if words else _SUMMARY[language]
