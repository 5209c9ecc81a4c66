"""A chat generator of Haystack that answers from a memory, with citations that say which part of the answer rests on which entry."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

from haystack import component, default_from_dict, default_to_dict
from haystack.dataclasses import ChatMessage, ComponentInfo, StreamingChunk, select_streaming_callback
from haystack.utils import deserialize_callable, serialize_callable

from memgpt_rag.answering.answer_row import Sampling
from memgpt_rag.answering.choice import Choice, cited_spans
from memgpt_rag.answering.dialogue import finished_turns, question_and_context, search_query
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.choices import Preset
from memgpt_rag.integrations.embedding_function import RUNNING
from memgpt_rag.model import DEFAULT_GENERATOR
from memgpt_rag.rag import RAG

_SAMPLING = {"temperature", "top_p", "seed", "stops"}


@component
class MemGPTChatGenerator:
    """Answers the last message of a conversation from a memory.

    The `meta` of a reply has `citations` (places in its text, the entry's id, place, text, score and share of attention), the
    `confidence`, whether the memory supports it, the finish reason and the usage.

    Args:
        memory: folder of the memory, or several that are searched as one.
        model: language model, by hub name, folder, or the name of one that comes as a package.
        config: preset "quality" or "compact".
        encoder: name or folder of the memory's encoder; needed where that does not come as a package.
        generation_kwargs: fields of `AskOptions`, such as k, max_new_tokens and abstain, and temperature, top_p, seed and stops.
        streaming_callback: a named function that receives the answer in pieces.
    """

    def __init__(
        self,
        memory: str | list[str],
        model: str = DEFAULT_GENERATOR,
        config: Preset = "quality",
        encoder: str | None = None,
        generation_kwargs: dict[str, Any] | None = None,
        streaming_callback: Any = None,
    ):
        self.memory, self.model, self.config, self.encoder = memory, model, config, encoder
        self.generation_kwargs, self.streaming_callback = generation_kwargs or {}, streaming_callback
        _settings(self.generation_kwargs)  # what cannot be is refused at once
        self._rag: RAG | None = None
        self._loading = threading.Lock()

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        callback = None if self.streaming_callback is None else serialize_callable(self.streaming_callback)
        saved: dict[str, Any] = default_to_dict(
            self,
            memory=self.memory,
            model=self.model,
            config=self.config,
            encoder=self.encoder,
            generation_kwargs=self.generation_kwargs,
            streaming_callback=callback,
        )
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MemGPTChatGenerator:
        """Return the generator that `to_dict` described."""
        settings = dict(data["init_parameters"])
        if settings.get("streaming_callback") is not None:
            settings["streaming_callback"] = deserialize_callable(settings["streaming_callback"])
        generator: MemGPTChatGenerator = default_from_dict(cls, {**data, "init_parameters": settings})
        return generator

    def warm_up(self) -> None:
        """Open the memory and load the models, unless that is done."""
        with self._loading:
            if self._rag is None:
                self._rag = RAG.open(self.memory, model=self.model, config=self.config, encoder=self.encoder)

    @component.output_types(replies=list[ChatMessage])  # type: ignore[untyped-decorator]
    def run(
        self,
        messages: list[ChatMessage] | str,
        streaming_callback: Any = None,
        generation_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, list[ChatMessage]]:
        """Answer a conversation.

        Args:
            messages: texts of people, assistants and systems, the last of them a person's; or one question.
            streaming_callback: of this run.
            generation_kwargs: of this run, before those of the generator.

        Returns:
            {"replies": [the answer]}.

        Raises:
            ValueError: a message holds more than text, the last one is no person's, or a setting is invalid.
        """
        self.warm_up()
        rag = self._rag
        assert rag is not None
        said = [_said(one) for one in ([ChatMessage.from_user(messages)] if isinstance(messages, str) else messages)]
        if not said or said[-1].role != "user":
            raise ValueError("The last message is not a person's; ask something in it.")
        callback = select_streaming_callback(self.streaming_callback, streaming_callback, requires_async=False)
        options, sampling = _settings({**self.generation_kwargs, **(generation_kwargs or {})})
        info = ComponentInfo.from_component(self)
        with RUNNING:
            question, context = question_and_context(said, rag.prompt)
            query = search_query(question, finished_turns(said))
            (draft,) = rag.drafts([question], options, contexts=[context], queries=[query])
            for index, event in enumerate(rag.stream(draft, options, sampling)):
                if isinstance(event, Choice):
                    return {"replies": [_reply(event, str(self.model))]}
                if event.text and callback is not None:
                    callback(StreamingChunk(event.text, component_info=info, index=0, start=index == 0))
        raise AssertionError("an answer ends with its choice")

    @component.output_types(replies=list[ChatMessage])  # type: ignore[untyped-decorator]
    async def run_async(
        self,
        messages: list[ChatMessage] | str,
        streaming_callback: Any = None,
        generation_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, list[ChatMessage]]:
        """Answer as `run`, in a thread; a callback that is a coroutine is run in the loop."""
        chosen = select_streaming_callback(self.streaming_callback, streaming_callback, requires_async=True)
        loop = asyncio.get_running_loop()

        def callback(chunk: StreamingChunk) -> None:
            if asyncio.iscoroutinefunction(chosen):
                asyncio.run_coroutine_threadsafe(chosen(chunk), loop).result()
            else:
                chosen(chunk)

        given = None if chosen is None else callback
        return await asyncio.to_thread(self.run, messages, given, generation_kwargs)


@dataclass(frozen=True)
class _Said:
    """A message as the dialogue reads it."""

    role: str
    text: str


def _said(message: ChatMessage) -> _Said:
    if (
        not isinstance(message, ChatMessage)
        or message.text is None
        or len(message.texts) != 1
        or message.role.value == "tool"
    ):
        raise ValueError(
            "A message holds something else than one text; this model reads texts of people, assistants and systems."
        )
    return _Said(message.role.value, message.text)


def _settings(given: dict[str, Any]) -> tuple[AskOptions, Sampling]:
    """Return settings as options and sampling; raises ValueError for one that there is not."""
    fields = AskOptions.__dataclass_fields__
    if unknown := sorted(set(given) - set(fields) - _SAMPLING):
        known = ", ".join([*fields, *sorted(_SAMPLING)])
        raise ValueError(f"There is no setting {', '.join(unknown)} in generation_kwargs; expected some of {known}.")
    options = AskOptions(**{name: value for name, value in given.items() if name in fields})
    chosen: dict[str, Any] = {name: value for name, value in given.items() if name in _SAMPLING}
    sampling = Sampling(**{**chosen, "stops": tuple(chosen.get("stops", ())), "max_tokens": options.max_new_tokens})
    return options, sampling


def _reply(choice: Choice, model: str) -> ChatMessage:
    answer, read = choice.answer, choice.prompt_tokens + choice.memory_tokens
    cited = [
        {
            "spans": [list(span) for span in spans],
            "id": one.passage.id,
            "place": one.passage.place,
            "title": one.passage.title,
            "text": one.passage.text,
            "score": one.score,
            "share": one.share,
        }
        for one, spans in cited_spans(choice)
    ]
    meta = {
        "model": model,
        "index": 0,
        "finish_reason": choice.row.finish_reason,
        "usage": {"prompt_tokens": read, "completion_tokens": choice.tokens, "total_tokens": read + choice.tokens},
        "citations": cited,
        "mode": answer.mode,
        "confidence": answer.confidence,
        "supported": answer.supported,
        "abstained": choice.abstained,
        "nothing_found": answer.nothing_found,
    }
    return ChatMessage.from_assistant(choice.text, meta=meta)
