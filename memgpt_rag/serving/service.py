"""What the endpoints share: the memories and the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from fastapi import Request

from memgpt_rag.answering.answer_row import Sampling
from memgpt_rag.answering.choice import Choice
from memgpt_rag.answering.dialogue import Turn
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.choices import DEFAULT_K
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.serving.access import NOTHING, Access
from memgpt_rag.serving.answers import Answers
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.chat_request import MemoryFields
from memgpt_rag.serving.citations import Links
from memgpt_rag.serving.classifiers import Classifiers
from memgpt_rag.serving.conversations import Conversation, Conversations
from memgpt_rag.serving.dialogue import Asked
from memgpt_rag.serving.engine import Engine
from memgpt_rag.serving.filters import condition
from memgpt_rag.serving.memories import Memories
from memgpt_rag.serving.metrics import Metrics
from memgpt_rag.serving.picture_searches import PictureSearches
from memgpt_rag.serving.previous_responses import PreviousResponses
from memgpt_rag.serving.settings import ServerSettings
from memgpt_rag.serving.store_search import StoreAttributes
from memgpt_rag.serving.stores import VectorStores
from memgpt_rag.serving.task import Event, Task
from memgpt_rag.serving.translators import Translators
from memgpt_rag.serving.writers import Writers

if TYPE_CHECKING:
    from memgpt_rag.serving.telemetry import Telemetry


@dataclass
class Service:
    """A server's memories and engine, as the endpoints use them.

    Attributes:
        secret: signs addresses of the document viewer; None where the server has no keys.
        conversations: those that are remembered; None to remember none.
        telemetry: makes spans of the answers; None to make none.
        responses: the latest responses, from which others go on.
        classifiers: those of the memories that one was fitted to.
        translators: those of the memories of sentence pairs.
        writers: what writes summaries of the memories.
        picture_searches: those in the memories of pictures.
    """

    settings: ServerSettings
    memories: Memories
    engine: Engine
    stores: VectorStores
    secret: bytes | None
    metrics: Metrics
    conversations: Conversations | None = None
    telemetry: Telemetry | None = None
    responses: PreviousResponses = field(default_factory=PreviousResponses)
    classifiers: Classifiers = field(default_factory=Classifiers)
    translators: Translators = field(default_factory=Translators)
    writers: Writers = field(default_factory=Writers)
    picture_searches: PictureSearches = field(default_factory=PictureSearches)
    started: int = field(default_factory=lambda: int(time.time()))

    @cached_property
    def prompt(self) -> Prompt:
        """Return what puts questions into words for the language model."""
        return self.memories.models.decoder.prompt

    @property
    def model_name(self) -> str:
        """Return the name of the language model."""
        return self.memories.models.decoder.name.rstrip("/").rpartition("/")[2]

    async def refresh(self, name: str) -> None:
        """Open the present version of a memory, between two steps."""
        await refresh(self.engine, self.memories, name)

    def memory_name(self, model: str, given: str | None, access: Access) -> str:
        """Return the memory that a request is for.

        Args:
            model: the request's `model`: the name of a memory, or of the language model for the first memory.
            given: the name that the request gives apart from it.

        Raises:
            ApiError: 404 for a model that is not here.
        """
        if given is not None:
            return given
        if model in self.memories and access.reads(model):
            return model
        if model == self.model_name:
            if (name := next((name for name in self.memories if access.reads(name)), None)) is not None:
                return name
            raise ApiError(404, "There is no memory that you may read; create a vector store.", code="memory_not_found")
        raise ApiError(
            404,
            f"There is no model {model[:80]!r} here; expected the name of a memory, or {self.model_name!r}.",
            param="model",
            code="model_not_found",
        )

    def require_length(self, param: str, tokens: int) -> None:
        """Raises ApiError: a request asks for longer texts than the server writes."""
        most = self.settings.max_new_tokens
        if tokens > most:
            raise ApiError(400, f"{param} is {tokens:,}; expected at most {most:,}.", param=param)

    def task(
        self,
        request: Request,
        model: str,
        fields: MemoryFields,
        asked: Asked,
        sampling: Sampling,
        choices: int,
        streams: bool,
        on_event: Callable[[Event], None],
    ) -> Task:
        """Return a request for the engine.

        Args:
            asked: the question, what is read before it, and what to search for.

        Raises:
            ApiError: a memory that is not here, or settings that do not fit it.
            ValueError: settings that exclude each other.
        """
        served = self.memories.get(
            self.memory_name(model, fields.name, current_access(request)), current_access(request)
        )
        self.require_length("max_tokens", sampling.max_tokens)
        if choices > self.settings.max_rows:
            raise ApiError(400, f"n is {choices}; expected at most {self.settings.max_rows}.", param="n")
        attributes = StoreAttributes(served, self.stores.known(served.name))
        where = condition(fields.filter, "memory.filter", attributes)
        options = AskOptions(
            fields.mode, fields.k or DEFAULT_K, where, fields.use_memory, fields.abstain, sampling.max_tokens
        )
        return Task(
            memory=served,
            question=asked.question,
            context=asked.context,
            query=(fields.query or asked.query).strip(),
            pictures=asked.pictures,
            options=options,
            search=self.memories.memory_search(served, fields.search),
            sampling=sampling,
            choices=choices,
            streams=streams,
            deadline=time.monotonic() + self.settings.deadline_seconds,
            on_event=on_event,
        )

    def conversation(self, request: Request, fields: MemoryFields, user: str | None) -> Conversation | None:
        """Return the conversation that a request belongs to; None for one that is not to be remembered.

        Raises:
            ApiError: 403 where the server remembers none.
        """
        if fields.conversation is None:
            return None
        return self.kept_conversations.begun(fields.conversation, current_access(request), user or "")

    @property
    def kept_conversations(self) -> Conversations:
        """Return the conversations.

        Raises:
            ApiError: 403 where the server remembers none.
        """
        if self.conversations is None:
            raise ApiError(
                403, "This server remembers no conversations; start it with --remember DIR.", code="no_conversations"
            )
        return self.conversations

    async def recall(self, task: Task, conversation: Conversation | None, asked: Asked) -> None:
        """Search the turns of a conversation for those that a task may read."""
        if conversation is None or not task.options.searches:
            return
        encoder, known = task.memory.rag.retriever.encoder, [turn.question for turn in asked.earlier]

        def search() -> list[Retrieved]:
            with self.memories.lock:  # the encoder embeds
                # The question alone, too: it may be about something else than the turns before it.
                queries = dict.fromkeys([task.question, task.query])
                return conversation.recalled(list(queries), encoder, known, task.options.k)

        task.recalled = await asyncio.to_thread(search)

    def events(
        self, request: Request, answers: Answers, task: Task, conversation: Conversation | None
    ) -> AsyncIterator[Any]:
        """Return the events of a task, observed and remembered as the server does it."""
        events: AsyncIterator[Any] = answers.events()
        if self.telemetry is not None:
            events = self.telemetry.observed(events, task, self.model_name, request.headers, request.state.request_id)
        return self._remembered(events, task, conversation)

    async def _remembered(
        self, events: AsyncIterator[Any], task: Task, conversation: Conversation | None
    ) -> AsyncIterator[Any]:
        """Yield the events of a task; its turn is on disk before the choices, which come last, are yielded."""
        try:
            async for event in events:
                if conversation is not None and isinstance(event, list):
                    await asyncio.to_thread(self._keep, conversation, task, event[0])
                yield event
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    def _keep(self, conversation: Conversation, task: Task, choice: Choice) -> None:
        with self.memories.lock:  # the encoder embeds
            turn = Turn(task.question, choice.text)
            conversation.add(turn, task.memory.name, task.memory.rag.retriever.encoder)


async def recent_turns(conversation: Conversation | None) -> list[Turn]:
    """Return the latest turns of a conversation."""
    return [] if conversation is None else await asyncio.to_thread(conversation.recent)


async def refresh(engine: Engine, memories: Memories, name: str) -> None:
    """Open the present version of a memory in the engine's thread."""
    await asyncio.wrap_future(engine.call(partial(memories.open, name)))


def current_service(request: Request) -> Service:
    """Return the service that a request came to."""
    service: Service = request.app.state.service
    return service


def current_access(request: Request) -> Access:
    """Return what the client of a request may do."""
    return current_visitor(request) or NOTHING


def current_visitor(request: Request) -> Access | None:
    """Return what the client of a request may do; None for one without a key, at an endpoint that may need none."""
    access: Access | None = request.state.access
    return access


def viewer_links(request: Request, user: str | None = None) -> Links:
    """Return what makes addresses of the document viewer, as the client of a request reaches it, and its user."""
    service = current_service(request)
    return Links(service.settings.public_url or str(request.base_url), service.secret, user or "")
