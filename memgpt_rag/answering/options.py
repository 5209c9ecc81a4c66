"""How a question is answered: every setting of `RAG.answer`, checked where it is given."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_rag.choices import (
    DEFAULT_K,
    DEFAULT_MAX_NEW_TOKENS,
    MODES,
    USES_OF_MEMORY,
    Mode,
    UseMemory,
)
from memgpt_rag.limits import MOST_ENTRIES, MOST_NEW_TOKENS, require_between


@dataclass(frozen=True)
class AskOptions:
    """How a question is answered.

    Attributes:
        mode: "memory" attends to the entries' states; "prompt" pastes the entries before the question, the best one last;
            "closed_book" uses none.
        k: entries per question.
        where: condition on the entries to search, such as 'year >= 2020'; see `memgpt_rag.memory.filter`.
        use_memory: "never" leaves the memory out; "auto" leaves it out for inputs that need none, such as a greeting, judged
            by the search and by the attention that memory gets when the question is read.
        abstain: answer "not in memory", in the question's language, where the memory does not support the answer, as where
            nothing was found. What "auto" answers without the memory stays as it is.
        max_new_tokens: longest answer.
        retrieve_every: tokens after which entries are searched anew, for the question and what was written last; None for entries
            that stay. For answers of several sentences, from memory.

    Raises:
        ValueError: an unknown mode or use of memory, a number out of bounds, or options that exclude each other.
    """

    mode: Mode = "memory"
    k: int = DEFAULT_K
    where: str | None = None
    use_memory: UseMemory = "always"
    abstain: bool = False
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    retrieve_every: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"There is no mode {self.mode!r}; expected one of {', '.join(MODES)}.")
        if self.use_memory not in USES_OF_MEMORY:
            raise ValueError(f"use_memory is {self.use_memory!r}; expected one of {', '.join(USES_OF_MEMORY)}.")
        if self.mode != "memory" and (self.use_memory == "auto" or self.abstain):
            raise ValueError(
                f'use_memory="auto" and abstain judge by attention to memory; mode is {self.mode!r}, not "memory".'
            )
        if self.use_memory == "never" and self.abstain:
            raise ValueError(
                'abstain judges what the memory supports, and use_memory="never" leaves it out; give one of them.'
            )
        if self.retrieve_every is not None:
            require_between("retrieve_every", self.retrieve_every, 1, MOST_NEW_TOKENS)
            if self.mode != "memory":
                raise ValueError(f'retrieve_every renews entries in attention; mode is {self.mode!r}, not "memory".')
            if self.use_memory == "never":
                raise ValueError(
                    'retrieve_every renews entries, and use_memory="never" leaves them out; give one of them.'
                )
        require_between("k", self.k, 1, MOST_ENTRIES)
        require_between("max_new_tokens", self.max_new_tokens, 1, MOST_NEW_TOKENS)

    @property
    def searches(self) -> bool:
        """Whether the memory is searched at all."""
        return self.mode != "closed_book" and self.use_memory != "never"

    @property
    def may_withhold(self) -> bool:
        """Whether an answer may be replaced after it was generated, so that it cannot be shown as it comes."""
        return self.abstain or self.use_memory == "auto"
