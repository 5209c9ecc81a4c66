"""Arguments of the tools, checked. Their JSON schemas are what an agent sees."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator, model_validator
from typing_extensions import Self

from memgpt_rag.choices import DEFAULT_K, DEFAULT_MAX_NEW_TOKENS, SearchKind
from memgpt_rag.serving.chat_request import Strict

MOST_AGENT_ENTRIES = 50  # of one search: an agent reads them in its context
MOST_QUERY_CHARACTERS = 8_000
MOST_NOTE_CHARACTERS = 8_000
MOST_FORGOTTEN = 1_000
_NewTokens = Annotated[int, Field(ge=1, le=512)]
_Text = StringConstraints(strip_whitespace=True, min_length=1)
_Line = StringConstraints(strip_whitespace=True, max_length=200)

MemoryName = Annotated[
    str | None, Field(description="Name of the memory, as `list` shows it; without it, the first one.", max_length=64)
]
Entries = Annotated[
    int, Field(ge=1, le=MOST_AGENT_ENTRIES, description="Number of entries, the best matching ones first.")
]
Where = Annotated[
    str | None,
    Field(max_length=2_000, description="Condition on the entries, such as: year >= 2020 and source == 'manual.pdf'."),
]
Kind = Annotated[
    SearchKind | None,
    Field(description="Search by meaning (dense), by words (bm25) or by both (hybrid); without it, the server's own."),
]


class ListArguments(Strict):
    """Arguments of `list`: none."""


class SearchArguments(Strict):
    """Arguments of `search`."""

    query: Annotated[str, _Text, Field(max_length=MOST_QUERY_CHARACTERS, description="What to look for.")]
    memory: MemoryName = None
    k: Entries = DEFAULT_K
    where: Where = None
    search: Kind = None


class AskArguments(Strict):
    """Arguments of `ask`."""

    question: Annotated[
        str, _Text, Field(max_length=MOST_QUERY_CHARACTERS, description="One question, which stands on its own.")
    ]
    memory: MemoryName = None
    k: Entries = DEFAULT_K
    where: Where = None
    search: Kind = None
    abstain: Annotated[
        bool, Field(description="Answer 'not in memory' where the memory does not support the answer.")
    ] = False
    max_new_tokens: Annotated[_NewTokens, Field(description="Longest answer, in tokens.")] = DEFAULT_MAX_NEW_TOKENS


class RememberArguments(Strict):
    """Arguments of `remember`."""

    text: Annotated[
        str,
        _Text,
        Field(
            max_length=MOST_NOTE_CHARACTERS, description="The text to keep: one fact or one paragraph is found best."
        ),
    ]
    title: Annotated[str, _Line, Field(description="What the text is about; it is searched, too.")] = ""
    source: Annotated[str, _Line, Field(description="Where the text comes from; 'note:' is put before it.")] = "agent"
    memory: MemoryName = None

    @field_validator("title", "source")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("it holds a line break or another control character; give one line of text")
        return value


class ForgetArguments(Strict):
    """Arguments of `forget`: ids, or a source with or without one of its records."""

    ids: Annotated[
        list[str] | None,
        Field(min_length=1, max_length=MOST_FORGOTTEN, description="Ids of entries, as `search` and `ask` show them."),
    ] = None
    source: Annotated[
        str | None, Field(min_length=1, max_length=4_000, description="Source whose entries are all to be deleted.")
    ] = None
    record: Annotated[
        str | None, Field(max_length=4_000, description="Only this document of the source, where it holds several.")
    ] = None
    memory: MemoryName = None

    @model_validator(mode="after")
    def _names_entries(self) -> Self:
        if (self.ids is None) == (self.source is None):
            raise ValueError("give either ids or a source")
        if self.record is not None and self.source is None:
            raise ValueError("a record needs its source")
        return self
