"""A chat model of LangChain that answers from a memory, with citations that say which part of the answer rests on which entry."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.content import Citation
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import Field, InstanceOf

from memgpt_rag.answering import answer
from memgpt_rag.answering.answer_row import Sampling
from memgpt_rag.answering.choice import Choice, cited_spans
from memgpt_rag.answering.dialogue import finished_turns, question_and_context, search_query
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.integrations.embedding_function import RUNNING
from memgpt_rag.integrations.langchain.filters import Filter, condition
from memgpt_rag.limits import MOST_NEW_TOKENS
from memgpt_rag.model import DEFAULT_GENERATOR
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Search

_ROLES = {"system": "system", "human": "user", "ai": "assistant"}


class ChatMemGPT(BaseChatModel):  # type: ignore[misc]
    """Answers the last message of a conversation from a memory.

    The text of a message has an annotation for every part that an entry gave: its place in the text, the entry's title and text, and
    its id, place, score and share of attention as `extras`. `response_metadata["memory"]` says how the memory was used.

    Attributes:
        rag: the memory and the models; `ChatMemGPT.open` makes one.
        options: how questions are answered; k and filter of `invoke` take the place of its k and where.
        temperature: 0 for the likeliest token.
        top_p: share of the probability that is sampled from.
        seed: of the sampling; None for a random one.
        max_tokens: longest answer; None for that of the options.
        stop: texts before which an answer ends.
        timeout: seconds after which an answer ends where it is.

    Example:
        >>> chat = ChatMemGPT.open("park-memory")
        >>> chat.invoke("How much does it cost to rent a rowing boat?").text
        '40 yuan'
    """

    rag: InstanceOf[RAG] = Field(exclude=True)
    options: InstanceOf[AskOptions] = AskOptions()
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=MOST_NEW_TOKENS)
    stop: list[str] | None = None
    timeout: float | None = Field(default=None, gt=0)

    @classmethod
    def open(
        cls,
        memory: str | Path | Sequence[str | Path],
        *,
        model: str | Path = DEFAULT_GENERATOR,
        encoder: str | None = None,
        search: Search = Search(),
        **fields: Any,
    ) -> ChatMemGPT:
        """Open a memory, or several that are searched as one; `ChatMemGPT(rag=RAG.open(…))` takes every setting.

        Args:
            model: language model, by hub name, folder, or the name of one that comes as a package.
            encoder: name or folder of the memory's encoder; needed where that does not come as a package.
            search: how entries are searched.
            fields: of the chat model, such as options and temperature.

        Raises:
            MemoryFormatError, ModelError, MismatchError: as `RAG.open`.
        """
        return cls(rag=RAG.open(memory, model=model, encoder=encoder, search=search), **fields)

    @property
    def _llm_type(self) -> str:
        return "memgpt_rag"

    @property
    def _model_name(self) -> str:
        return str(self.rag.model.name or self.rag.model.decoder.config.model_type)

    @property
    def _identifying_params(self) -> dict[str, Any]:
        # A cache must not give the answer of another memory, version, reader, preset or search.
        memory, search = self.rag.retriever.memory, self.rag.retriever.search
        memories = [
            f"{getattr(one, 'path', id(one))}, version {one.manifest.commit}"
            for one in getattr(memory, "shards", [memory])
        ]
        return {
            "model_name": self._model_name,
            "memory": "; ".join(memories),
            "search": {field.name: _named(getattr(search, field.name)) for field in fields(search)},
            "read": f"{self.rag.confidence_key} {self.rag.model.config}",
            **{name: getattr(self, name) for name in ("options", "temperature", "top_p", "seed", "max_tokens", "stop")},
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        known = super()._get_ls_params(stop=stop, **kwargs)
        return LangSmithParams(
            **{**known, "ls_provider": "memgpt_rag", "ls_model_name": kwargs.get("model", self._model_name)}
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        options, sampling = self._settings(stop, **kwargs)
        said = [_said(message) for message in messages]
        if not said or said[-1].role != "user":
            raise ValueError("The last message is not a person's; ask something in it.")
        deadline = time.monotonic() + (self.timeout or float("inf"))
        with RUNNING:
            question, context = question_and_context(said, self.rag.prompt)
            query = search_query(question, finished_turns(said))
            (draft,) = self.rag.drafts([question], options, contexts=[context], queries=[query])
            events = self.rag.stream(draft, options, sampling, lambda: time.monotonic() >= deadline)
        while True:
            with RUNNING:
                event = next(events)
            if isinstance(event, Choice):
                yield self._last_chunk(event)
                return
            if event.text:
                chunk = _chunk(event.text)
                if run_manager is not None:
                    run_manager.on_llm_new_token(event.text, chunk=chunk)
                yield chunk

    def _settings(
        self,
        stop: list[str] | None,
        *,
        k: int | None = None,
        filter: Filter | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> tuple[AskOptions, Sampling]:
        options, columns = self.options, self.rag.retriever.memory.manifest.metadata
        where = options.where if filter is None else condition(filter, columns)
        most = self.max_tokens if max_tokens is None else max_tokens
        options = replace(
            options,
            k=options.k if k is None else k,
            where=where,
            max_new_tokens=options.max_new_tokens if most is None else most,
        )
        heat = self.temperature if temperature is None else temperature
        stops = tuple(self.stop or ()) if stop is None else tuple(stop)
        return options, Sampling(heat, self.top_p, self.seed, stops, options.max_new_tokens)

    def _last_chunk(self, choice: Choice) -> ChatGenerationChunk:
        given, read = choice.answer, choice.prompt_tokens + choice.memory_tokens
        memory = {
            "mode": given.mode,
            "mass": given.memory_mass,
            "confidence": given.confidence,
            "supported": given.supported,
            "abstained": choice.abstained,
            "nothing_found": given.nothing_found,
            "entries": [_entry(one) for one in given.citations],
        }
        chunk = _chunk("", citations(choice))
        chunk.message.chunk_position = "last"
        chunk.message.usage_metadata = {
            "input_tokens": read,
            "output_tokens": choice.tokens,
            "total_tokens": read + choice.tokens,
        }
        chunk.message.response_metadata = {
            "model_name": self._model_name,
            "finish_reason": choice.row.finish_reason,
            "memory": memory,
        }
        return chunk


def _named(setting: Any) -> Any:
    """Return the name of a model, and any other setting as it is."""
    return getattr(setting, "name", setting)


def citations(choice: Choice) -> list[Citation]:
    """Return which parts of an answer's text rest on which entries, in the order of the text."""
    cited = [(start, end, one) for one, spans in cited_spans(choice) for start, end in spans]
    return [
        Citation(
            type="citation",
            title=one.passage.title or one.passage.source,
            start_index=start,
            end_index=end,
            cited_text=one.passage.text,
            extras=_entry(one),
        )
        for start, end, one in sorted(cited, key=lambda each: each[:2])
    ]


def _entry(cited: answer.Citation) -> dict[str, Any]:
    passage = cited.passage
    return {"id": passage.id, "place": passage.place, "score": cited.score, "share": cited.share}


@dataclass(frozen=True)
class _Said:
    """A message as the dialogue reads it."""

    role: str
    text: str


def _said(message: BaseMessage) -> _Said:
    """Return a message as the dialogue reads it; raises ValueError where it is more than text."""
    role = _ROLES.get(message.type.removesuffix("MessageChunk").lower())
    blocks = [message.content] if isinstance(message.content, str) else message.content
    kinds = {"text" if isinstance(block, str) else str(block.get("type")) for block in blocks}
    if role is None or kinds - {"text"} or getattr(message, "tool_calls", None):
        what = "a call of a tool" if kinds <= {"text"} and role else ", ".join(sorted(kinds - {"text"})) or message.type
        raise ValueError(f"A message holds {what}; this model reads texts of people, assistants and systems.")
    return _Said(role, str(message.text))


def _chunk(text: str, annotations: Sequence[Citation] = ()) -> ChatGenerationChunk:
    block: dict[str, Any] = {"type": "text", "text": text, "index": 0}
    if annotations:
        block["annotations"] = list(annotations)
    return ChatGenerationChunk(message=AIMessageChunk(content=[block]))
