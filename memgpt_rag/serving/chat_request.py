"""The request of a chat: what OpenAI's clients send, checked, and what `memory` adds to it."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from memgpt_rag.answering.answer_row import Sampling
from memgpt_rag.choices import DEFAULT_MAX_NEW_TOKENS, Mode, SearchKind, UseMemory
from memgpt_rag.limits import (
    MOST_CHOICES,
    MOST_ENTRIES,
    MOST_MESSAGES,
    MOST_STOPS,
    MOST_TOP_LOGPROBS,
)
from memgpt_rag.serving.settings import NAME

_DATA_URL = re.compile(r"data:image/[a-z.+-]{1,20};base64,")
# Parameters that change nothing here: where the answer is kept and computed.
_IGNORED = ("metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls")
# Parameters that would change the answer, with the values that ask for nothing; others are refused.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0, 0.0, None),
    "presence_penalty": (0, 0.0, None),
    "logit_bias": ({}, None),
    "tools": ([], None),
    "tool_choice": ("none", "auto", None),
    "functions": ([], None),
    "function_call": ("none", "auto", None),
    "response_format": ({"type": "text"}, None),
    "modalities": (["text"], None),
    "audio": (None,),
    "prediction": (None,),
    "web_search_options": (None,),
    "moderation": (None,),
    "reasoning_effort": ("none", "minimal", None),
    "verbosity": ("low", "medium", None),
    "prompt_cache_options": ({}, None),
    "prompt_cache_retention": ("in_memory", None),
}


class Strict(BaseModel):
    """A model that refuses parameters that it does not know."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class TextPart(Strict):
    """A part of a message."""

    type: Literal["text", "input_text", "output_text"]
    text: str


Detail = Literal["auto", "low", "high"] | None  # pictures are read in one size


class ImageUrl(Strict):
    """A picture in a part of a chat's message."""

    url: str
    detail: Detail = None


class ChatPicture(Strict):
    """A part of a chat's message that is a picture."""

    type: Literal["image_url"]
    image_url: ImageUrl

    @property
    def url(self) -> str:
        """Return the address that holds the picture."""
        return self.image_url.url


class InputPicture(Strict):
    """A part of a message to /v1/responses that is a picture."""

    type: Literal["input_image"]
    image_url: str
    detail: Detail = None

    @property
    def url(self) -> str:
        """Return the address that holds the picture."""
        return self.image_url


class Message(BaseModel):
    """A message of a conversation."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Annotated[TextPart | ChatPicture | InputPicture, Field(discriminator="type")]]

    @property
    def text(self) -> str:
        """Return the text of all parts."""
        parts = self.content
        return parts if isinstance(parts, str) else "\n".join(part.text for part in parts if isinstance(part, TextPart))

    def pictures(self) -> list[bytes]:
        """Return what the files of its pictures hold.

        Raises:
            ValueError: one is not in the request itself, or not in base64.
        """
        parts = [] if isinstance(self.content, str) else self.content
        return [picture_bytes(part.url) for part in parts if not isinstance(part, TextPart)]

    @model_validator(mode="after")
    def _only_users_show_pictures(self) -> Self:
        if self.role != "user" and not all(isinstance(part, str | TextPart) for part in self.content):
            raise ValueError("pictures stand in the user's messages only; leave them out of the others")
        return self


def picture_bytes(url: str) -> bytes:
    """Return what the file of a picture holds that stands in a request, as a data URL (RFC 2397).

    Raises:
        ValueError: another address, or one that is not in base64.
    """
    if not _DATA_URL.match(url):
        raise ValueError(
            f"The server fetches no pictures, such as {url[:80]!r}; give the picture itself, as data:image/png;base64,…"
        )
    try:
        return b64decode(url.partition(",")[2], validate=True)
    except ValueError as error:
        raise ValueError(
            f"A picture of the request is not in base64 ({error}); encode the bytes of its file."
        ) from error


def without_ignored(given: Any, ignored: Collection[str], refused: Mapping[str, tuple[Any, ...]]) -> Any:
    """Return a request without the parameters that change nothing.

    Args:
        refused: parameters that would change the answer → the values that ask for nothing.

    Raises:
        ValueError: one of these asks for something.
    """
    if not isinstance(given, dict):
        return given
    for name, harmless in refused.items():
        if name in given and not any(type(given[name]) is type(one) and given[name] == one for one in harmless):
            raise ValueError(f"{name} is not supported by this server; leave it out")
    return {name: value for name, value in given.items() if name not in refused and name not in ignored}


class StreamOptions(Strict):
    """What a stream is to have beside the text."""

    include_usage: bool | None = False
    include_obfuscation: bool | None = False


ConversationName = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
UserName = Annotated[str, Field(max_length=256)]


class MemoryFields(Strict):
    """How the memory is used; beyond OpenAI's parameters (`extra_body={"memory": {…}}` of its client).

    Attributes:
        name: of the memory; without it, the one that `model` names, or the server's first.
        k: entries per question.
        filter: condition on the entries, as text such as "year >= 2020", or as a filter object of OpenAI.
        search: by vectors, by words, by both, or by sparse vectors.
        mode: entries in attention, in the prompt, or none.
        use_memory: "auto" leaves the memory out where the question needs none.
        abstain: answer "not in memory" where the memory does not support an answer.
        trace: say what each token of the answer attended to.
        query: what to search for instead of the question and the turns before it.
        conversation: name of the conversation that the question belongs to; the server remembers its turns.
    """

    name: str | None = None
    k: Annotated[int, Field(ge=1, le=MOST_ENTRIES)] | None = None
    filter: str | dict[str, Any] | None = None
    search: SearchKind | None = None
    mode: Mode = "memory"
    use_memory: UseMemory = "always"
    abstain: bool = False
    query: str | None = None
    trace: bool = False
    conversation: ConversationName | None = None


class ChatRequest(Strict):
    """The body of POST /v1/chat/completions."""

    model: Annotated[str, Field(max_length=200)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None
    user: UserName | None = None
    memory: MemoryFields = MemoryFields()

    @model_validator(mode="before")
    @classmethod
    def _without_what_changes_nothing(cls, given: Any) -> Any:
        return without_ignored(given, _IGNORED, _REFUSED)

    @field_validator("stop")
    @classmethod
    def _stops_have_text(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if stop is not None and "" in ([stop] if isinstance(stop, str) else stop):
            raise ValueError("a stop is empty; give one or more characters")
        return stop

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.messages[-1].role != "user":
            raise ValueError("the last message is not the user's; end with the question")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens and max_completion_tokens are the same here; give one of them")
        return self

    def sampling(self) -> Sampling:
        """Return how tokens are chosen. Without a temperature, the likeliest one is."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            temperature=self.temperature or 0.0,
            top_p=self.top_p or 1.0,
            seed=self.seed,
            stops=stops,
            max_tokens=self.max_completion_tokens or self.max_tokens or DEFAULT_MAX_NEW_TOKENS,
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )
