"""The engine: one thread that generates all answers. Requests that wait are answered together where their settings allow it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TypeVar

from memgpt_rag.answering.answer import Answer
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.retrieval.retriever import Retrieved, Search
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.conversations import joined
from memgpt_rag.serving.memories import Memories, ServedMemory
from memgpt_rag.serving.row import AnswerRow, Piece, Sampling

Result = TypeVar("Result")


@dataclass(frozen=True)
class Choice:
    """An answer as it was generated: the answer, its text cut at a stop, and how it came about.

    Attributes:
        prompt_tokens: tokens of the prefix, of what stands before the question, and of the question.
        memory_tokens: tokens of the entries that were attended to.
        abstained: whether the text stands in place of an answer that the memory does not support.
        rest: what of the text, and of the log-probabilities, was not given as a piece.
    """

    answer: Answer
    text: str
    tokens: int
    prompt_tokens: int
    memory_tokens: int
    row: AnswerRow
    abstained: bool
    rest: Piece


@dataclass(frozen=True)
class Found:
    """The entries that a question is answered from, best first."""

    entries: list[Retrieved]


Event = Found | Piece | list[Choice] | BaseException


@dataclass(eq=False)
class Task:
    """A request on its way to its answers.

    Attributes:
        query: what to search for; empty for the question.
        choices: how many answers to generate.
        streams: whether pieces are wanted as they come.
        recalled: turns of the conversation that may be read beside the memory's entries, best first.
        tells_found: whether the entries are wanted as soon as they are found.
        on_event: receives pieces, and last the choices or an error; called by the engine's thread.
        deadline: when the request's time is up, in seconds of `time.monotonic`.
    """

    memory: ServedMemory
    question: str
    context: str
    query: str
    options: AskOptions
    search: Search
    sampling: Sampling
    choices: int
    streams: bool
    deadline: float
    on_event: Callable[[Event], None]
    arrived: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    tells_found: bool = False
    recalled: Sequence[Retrieved] = ()

    @property
    def key(self) -> object:
        """Return what tasks must have in common to be answered together."""
        return id(self.memory.rag), replace(self.options, max_new_tokens=1, where=None), self.search

    def cancel(self) -> None:
        """Stop the request: nobody waits for it any more."""
        self.cancelled = True

    def is_over(self) -> bool:
        """Whether nobody waits any more, or the time is up."""
        return self.cancelled or time.monotonic() >= self.deadline


class Engine:
    """Generates answers in a thread of its own, the only one that uses the language model.

    Args:
        on_answered: called with each task that was answered, to count it.
        max_rows: answers that are generated at once.
        max_waiting: requests that may wait.
    """

    def __init__(
        self,
        memories: Memories,
        on_answered: Callable[[Task, list[Choice]], None],
        *,
        max_rows: int,
        max_waiting: int,
    ):
        self.memories, self._max_rows, self._max_waiting = memories, max_rows, max_waiting
        self._on_answered = on_answered
        self._waiting: deque[Task] = deque()
        self._calls: deque[tuple[Future[object], Callable[[], object]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.running = 0
        self._seconds_per_task = 1.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether requests are answered."""
        return self._thread.is_alive() and not self._closed

    @property
    def waiting(self) -> int:
        """Return how many requests wait."""
        return len(self._waiting)

    def submit(self, task: Task) -> None:
        """Let a request wait for its turn.

        Raises:
            ApiError: 429 where too many wait, 503 where the server is stopping.
        """
        with self._changed:
            if self._closed:
                raise ApiError(503, "The server is stopping; ask another one.", retry_after=5)
            if len(self._waiting) >= self._max_waiting:
                wait = max(1, round(len(self._waiting) * self._seconds_per_task))
                raise ApiError(
                    429,
                    f"{len(self._waiting):,} requests wait already; try again in {wait} s.",
                    code="queue_full",
                    retry_after=wait,
                )
            self._waiting.append(task)
            self._changed.notify()

    def call(self, work: Callable[[], Result]) -> Future[Result]:
        """Run other work that uses the language model, between two batches."""
        future: Future[Result] = Future()
        with self._changed:
            if self._closed:
                future.set_exception(ApiError(503, "The server is stopping; ask another one.", retry_after=5))
                return future
            self._calls.append((future, work))  # type: ignore[arg-type]
            self._changed.notify()
        return future

    def close(self, timeout: float = 30.0) -> None:
        """Stop: what is being generated ends where it is, and what waits is refused."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._calls or self._closed):
                    self._changed.wait()
                calls, tasks = list(self._calls), self._next_tasks()
                self._calls.clear()
                stopping, left = self._closed, list(self._waiting) if self._closed else []
                if stopping:
                    self._waiting.clear()
            for future, work in calls:
                _finish(future, work)
            if stopping:
                for task in (*tasks, *left):
                    task.on_event(ApiError(503, "The server is stopping; ask another one.", retry_after=5))
                return
            if tasks:
                began = time.monotonic()
                self.running = sum(task.choices for task in tasks)
                try:
                    self._answer(tasks)
                finally:
                    self.running = 0
                    seconds = (time.monotonic() - began) / len(tasks)
                    self._seconds_per_task += 0.2 * (seconds - self._seconds_per_task)

    def _next_tasks(self) -> list[Task]:
        """Take the task that waits longest, and those behind it that can be answered with it. Ended ones go."""
        tasks: list[Task] = []
        kept: deque[Task] = deque()
        rows = 0
        for task in self._waiting:
            if task.is_over():
                if not task.cancelled:
                    task.on_event(ApiError(504, "The request waited until its time was up; try again later."))
            elif not tasks or (task.key == tasks[0].key and rows + task.choices <= self._max_rows):
                tasks.append(task)
                rows += task.choices
            else:
                kept.append(task)
        self._waiting = kept
        return tasks

    def _answer(self, tasks: list[Task]) -> None:
        given = set[int]()  # tasks of which something has been given
        try:
            self._answer_together(tasks, given)
        except Exception as error:
            if len(tasks) == 1 or given:
                for task in tasks:
                    task.on_event(error)
                return
            for task in tasks:  # one of them is at fault
                self._answer([task])

    def _answer_together(self, tasks: list[Task], given: set[int]) -> None:
        rag = tasks[0].memory.rag
        rag.retriever.search = tasks[0].search
        drafts: list[Draft] = []
        rows: list[AnswerRow] = []
        for number, task in enumerate(tasks):
            with self.memories.lock:
                (found,) = rag.drafts(
                    [task.question], task.options, contexts=[task.context], queries=[task.query or task.question]
                )
            if task.recalled:
                found = replace(found, retrieved=joined(found.retrieved, task.recalled, task.options.k))
            if task.tells_found:
                task.tells_found = False  # once, also where the task is tried again alone
                task.on_event(Found(list(found.retrieved[: task.options.k])))
            own = self._rows(task, number, given)
            drafts += [replace(found, control=row) for row in own]
            rows += own
        options = replace(tasks[0].options, max_new_tokens=max(task.sampling.max_tokens for task in tasks))
        answers = iter(zip(drafts, rag.answer_from(drafts, options), rows, strict=True))
        for task in tasks:
            choices = [self._choice(task, *next(answers)) for _ in range(task.choices)]
            self._on_answered(task, choices)
            task.on_event(choices)

    def _rows(self, task: Task, number: int, given: set[int]) -> list[AnswerRow]:
        def give(piece: Piece) -> None:
            given.add(number)
            task.on_event(piece)

        on_piece = give if task.streams and not task.options.may_withhold else None
        tokenizer = self.memories.models.decoder.tokenizer
        # Where the answers of a model may have several lines, its prompt knows what of them is certain.
        end = task.memory.rag.generator.on_route(task.options.mode).prompt.answer_end

        def is_over() -> bool:
            return task.is_over() or self._closed

        return [
            AnswerRow(tokenizer, task.sampling, choice, on_piece=on_piece, is_over=is_over, settled=end.settled)
            for choice in range(task.choices)
        ]

    def _choice(self, task: Task, draft: Draft, answer: Answer, row: AnswerRow) -> Choice:
        prompt = task.memory.rag.generator.on_route(task.options.mode).prompt
        entries = [entry.passage for entry in draft.entries]
        pasted = entries if draft.route == "prompt" else []
        asked = len(prompt.question_row(draft.question, pasted, draft.context))
        memory = sum(len(prompt.entry_ids(passage)) for passage in entries) if draft.route == "memory" else 0
        abstained = task.options.abstain and not answer.supported and answer.mode == "memory"
        text = answer.text if abstained else row.final_text(answer.text)
        prefix = self.memories.models.decoder.prefix_tokens
        return Choice(answer, text, len(draft.tokens), prefix + asked, memory, row, abstained, row.rest(text))


def _finish(future: Future[object], work: Callable[[], object]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)
