"""The request of POST /v1/responses, checked: a question, and file search as the tool that answers it from a memory."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from memgpt_rag.answering.answer_row import Sampling
from memgpt_rag.choices import DEFAULT_MAX_NEW_TOKENS
from memgpt_rag.limits import MOST_CHARACTERS, MOST_ENTRIES, MOST_MESSAGES, MOST_TOP_LOGPROBS
from memgpt_rag.serving.chat_request import ConversationName, MemoryFields, Message, Strict, UserName, without_ignored
from memgpt_rag.serving.store_requests import RankingOptions

# As for chats: what changes nothing here, and what would change the answer.
_IGNORED = ("metadata", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls")
_REFUSED: dict[str, tuple[Any, ...]] = {
    "background": (False, None),
    "prompt": (None,),
    "reasoning": ({}, None),
    "max_tool_calls": (None,),
    "truncation": ("disabled", None),
    "text": ({"format": {"type": "text"}}, {}, None),
    "moderation": (None,),
}
RESULTS = "file_search_call.results"
LOG_PROBS = "message.output_text.logprobs"


class FileSearch(Strict):
    """The tool that searches a vector store."""

    type: Literal["file_search"]
    vector_store_ids: Annotated[list[str], Field(min_length=1, max_length=1)]
    filters: dict[str, Any] | None = None
    max_num_results: Annotated[int, Field(ge=1, le=MOST_ENTRIES)] | None = None
    ranking_options: RankingOptions | None = None

    @model_validator(mode="after")
    def _has_no_threshold(self) -> Self:
        if self.ranking_options is not None and self.ranking_options.score_threshold:
            raise ValueError("score_threshold leaves out results of a search, not entries of an answer; leave it out")
        return self


class ConversationParam(Strict):
    """A conversation by its id."""

    id: ConversationName


class ResponseRequest(Strict):
    """The body of POST /v1/responses."""

    model: Annotated[str, Field(max_length=200)]
    input: (
        Annotated[str, Field(max_length=MOST_CHARACTERS)]
        | Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    )
    instructions: str | None = None
    tools: Annotated[list[FileSearch], Field(max_length=1)] = Field(default_factory=list)
    tool_choice: Any = "auto"
    include: list[str] | None = None
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    user: UserName | None = None
    conversation: ConversationName | ConversationParam | None = None
    previous_response_id: Annotated[str, Field(max_length=100)] | None = None
    store: bool | None = True
    memory: MemoryFields = MemoryFields()

    @model_validator(mode="before")
    @classmethod
    def _without_what_changes_nothing(cls, given: Any) -> Any:
        return without_ignored(given, _IGNORED, _REFUSED)

    @model_validator(mode="after")
    def _ends_with_the_question(self) -> Self:
        if not isinstance(self.input, str) and self.input[-1].role != "user":
            raise ValueError("the last message is not the user's; end with the question")
        if self.previous_response_id is not None and self.fields().conversation is not None:
            raise ValueError("previous_response_id and conversation both name earlier turns; give one of them")
        return self

    @property
    def tool(self) -> FileSearch | None:
        """Return the file search, if it is asked for."""
        return self.tools[0] if self.tools and self.tool_choice != "none" else None

    @property
    def messages(self) -> list[Message]:
        """Return instructions and input as the messages of a conversation."""
        first = [Message(role="system", content=self.instructions)] if self.instructions else []
        given = [Message(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        return [*first, *given]

    def fields(self) -> MemoryFields:
        """Return how the memory is used: as the tool says, and beyond it as `memory` does."""
        named = self.conversation.id if isinstance(self.conversation, ConversationParam) else self.conversation
        memory = self.memory.model_copy(update={"conversation": named or self.memory.conversation})
        if self.tool is None:
            return memory
        hybrid = self.tool.ranking_options is not None and self.tool.ranking_options.hybrid_search is not None
        return memory.model_copy(
            update={
                "name": self.tool.vector_store_ids[0],
                "k": self.tool.max_num_results or self.memory.k,
                "filter": self.tool.filters or self.memory.filter,
                "search": self.memory.search or ("hybrid" if hybrid else None),
            }
        )

    def sampling(self) -> Sampling:
        """Return how tokens are chosen. Without a temperature, the likeliest one is."""
        wanted = self.top_logprobs is not None or LOG_PROBS in (self.include or ())
        return Sampling(
            temperature=self.temperature or 0.0,
            top_p=self.top_p or 1.0,
            max_tokens=self.max_output_tokens or DEFAULT_MAX_NEW_TOKENS,
            top_logprobs=(self.top_logprobs or 0) if wanted else None,
        )
