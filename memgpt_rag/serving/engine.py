"""The engine: one thread that generates all answers, a token of each or several in every step.

A request joins the answers under way between two steps, whatever its memory and settings, and leaves when its own are done.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TypeVar

from memgpt_rag.answering.answer import Answer
from memgpt_rag.answering.answer_row import AnswerRow
from memgpt_rag.answering.choice import Choice, completed
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.generate import OngoingAnswer
from memgpt_rag.answering.shared_batches import SharedBatches
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.conversations import joined
from memgpt_rag.serving.log import log_event
from memgpt_rag.serving.memories import Memories
from memgpt_rag.serving.task import Found, Task

Result = TypeVar("Result")


@dataclass(eq=False)
class _Running:
    """A task whose answers are under way, with a row and a draft of each, and the answers that are complete."""

    task: Task
    rows: list[AnswerRow]
    drafts: list[Draft]
    answers: dict[int, Answer] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)


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
        self._batches = SharedBatches()
        self._running: dict[OngoingAnswer, tuple[_Running, int]] = {}  # with the number of the choice
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
    def running(self) -> int:
        """Return how many answers are being generated."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Return how many requests wait."""
        return len(self._waiting)

    def submit(self, task: Task) -> None:
        """Let a request wait for its turn.

        Raises:
            ApiError: 429 where too many wait, or those that do will take the time of the request; 503 where the server is stopping.
        """
        with self._changed:
            if self._closed:
                raise _stopping()
            seconds = len(self._waiting) * self._seconds_per_task
            if len(self._waiting) >= self._max_waiting or seconds > task.deadline - time.monotonic():
                wait = max(1, round(seconds))
                raise ApiError(
                    429,
                    f"{len(self._waiting):,} requests wait already; try again in {wait} s.",
                    code="queue_full",
                    retry_after=wait,
                )
            self._waiting.append(task)
            self._changed.notify()

    def call(self, work: Callable[[], Result]) -> Future[Result]:
        """Run other work that uses the language model, between two steps."""
        future: Future[Result] = Future()
        with self._changed:
            if self._closed:
                future.set_exception(_stopping())
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
        while self._survived_turn():
            pass

    def _survived_turn(self) -> bool:
        """Take a turn; where it fails, such as for want of memory, end the requests under way, and go on with later ones."""
        try:
            return self._turn()
        except Exception as error:
            log_event("engine_failed", level=40, error=error)
            self._fail(error)
            return True

    def _fail(self, error: Exception) -> None:
        failed = {running.task for running, _ in self._running.values() if not running.task.failed}
        self._running.clear()
        self._batches = SharedBatches()
        for task in failed:
            task.failed = True
            task.on_event(error)

    def _turn(self) -> bool:
        """Do what is to be done between two steps, and one step; return whether there is to be another turn."""
        with self._changed:
            while not (self._waiting or self._calls or self._running or self._closed):
                self._changed.wait()
            calls, tasks = list(self._calls), self._next_tasks()
            self._calls.clear()
            stopping, refused = self._closed, list(self._waiting) if self._closed else []
            if stopping:
                self._waiting.clear()
        for future, work in calls:
            _finish(future, work)
        for one in refused:
            one.on_event(_stopping())
        for alike in _alike(tasks):
            self._begin(alike)
        for answer, result in self._batches.step():
            self._ended(*self._running.pop(answer), result)
        return bool(self._running) or not stopping

    def _next_tasks(self) -> list[Task]:
        """Take the tasks that wait longest, for whose answers there is room, once no question is still to be read. Ended ones go."""
        for task in [task for task in self._waiting if task.is_over()]:
            self._waiting.remove(task)
            if not task.cancelled:
                task.on_event(ApiError(504, "The request waited until its time was up; try again later."))
        taken: list[Task] = []
        rows = self.running
        while self._waiting and not self._closed and not self._batches.unread:
            rows += self._waiting[0].choices
            if rows > self._max_rows and (taken or self._running):
                break
            taken.append(self._waiting.popleft())
        return taken

    def _begin(self, tasks: Sequence[Task]) -> None:
        """Search for the entries of tasks that are searched for alike, and begin their answers."""
        rag = tasks[0].memory.rag
        before = rag.retriever.search
        try:
            rag.retriever.search = tasks[0].search
        except Exception as error:  # the memory has lost what the search needs
            for task in tasks:
                task.on_event(error)
            return
        try:  # routes and confidence go by the search, too
            for task, draft in zip(tasks, self._found(tasks), strict=True):
                if isinstance(draft, Draft):
                    self._begin_answers(task, draft)
                else:
                    task.on_event(draft)
        finally:
            rag.retriever.search = before

    def _found(self, tasks: Sequence[Task]) -> list[Draft | Exception]:
        """Return the draft of each task with its entries, or why there is none; a task at fault leaves the others as they are."""
        try:
            with self.memories.lock:
                return [
                    *tasks[0].memory.rag.drafts(
                        [task.question for task in tasks],
                        tasks[0].options,
                        contexts=[task.context for task in tasks],
                        queries=[task.query or task.question for task in tasks],
                        pictures=[task.pictures for task in tasks],
                    )
                ]
        except Exception as error:
            return [error] if len(tasks) == 1 else [one for task in tasks for one in self._found([task])]

    def _begin_answers(self, task: Task, found: Draft) -> None:
        try:
            if task.recalled:
                found = replace(found, retrieved=joined(found.retrieved, task.recalled, task.options.k))
            if task.tells_found:
                task.on_event(Found(list(found.retrieved[: task.options.k])))
            rows = self._rows(task)
            drafts = [replace(found, control=row) for row in rows]
            begun = [task.memory.rag.begin(draft, task.options) for draft in drafts]
        except Exception as error:
            task.on_event(error)
            return
        running = _Running(task, rows, drafts)
        for number, answer in enumerate(begun):
            self._running[answer] = running, number
            self._batches.add(answer)

    def _ended(self, running: _Running, number: int, result: Answer | Exception) -> None:
        """Note an answer of a task; with the last one it is complete, and with an error over."""
        task = running.task
        if isinstance(result, Exception):
            if not task.failed:
                task.failed = True
                task.on_event(result)
            return
        running.answers[number] = result
        if len(running.answers) < len(running.rows) or task.failed:
            return
        try:
            choices = [
                completed(task.memory.rag.generator, draft, task.options, running.answers[place], row)
                for place, (draft, row) in enumerate(zip(running.drafts, running.rows, strict=True))
            ]
            self._on_answered(task, choices)
        except Exception as error:
            task.on_event(error)
            return
        task.on_event(choices)
        seconds = (time.monotonic() - running.began) * len(choices) / (self.running + len(choices))
        self._seconds_per_task += 0.2 * (seconds - self._seconds_per_task)

    def _rows(self, task: Task) -> list[AnswerRow]:
        on_piece = task.on_event if task.streams and not task.options.may_withhold else None
        tokenizer = self.memories.models.decoder.tokenizer

        def is_over() -> bool:
            return task.is_over() or task.failed or self._closed

        return [
            AnswerRow(tokenizer, task.sampling, choice, on_piece=on_piece, is_over=is_over)
            for choice in range(task.choices)
        ]


def _alike(tasks: Sequence[Task]) -> list[list[Task]]:
    """Return tasks in groups, each of one memory that is searched in one way, in their order."""
    groups: list[list[Task]] = []
    for task in tasks:
        own = task.memory.rag, task.options, task.search
        alike = (group for group in groups if (group[0].memory.rag, group[0].options, group[0].search) == own)
        group = next(alike, None)
        if group is None:
            groups.append([task])
        else:
            group.append(task)
    return groups


def _stopping() -> ApiError:
    return ApiError(503, "The server is stopping; ask another one.", retry_after=5)


def _finish(future: Future[object], work: Callable[[], object]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)
