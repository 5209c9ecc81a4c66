"""Processes for tests: begun anew, without this one's threads, and given up where they say nothing for a while."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from queue import Empty
from typing import Any

_CONTEXT = multiprocessing.get_context("spawn")
_TRIES = 3


def heard(target: Callable[..., None], *arguments: Any, seconds: float = 60) -> Iterator[Any]:
    """What a function puts into the queue that is its last argument, in a process of its own, until it puts None.

    A process that does not come up is begun again, since that says nothing of what it would have done.

    Raises:
        AssertionError: it says nothing for so many seconds, or ends without a word.
    """
    for _ in range(_TRIES):
        queue = _CONTEXT.Queue()
        process = _CONTEXT.Process(target=_run, args=(target, arguments, queue))
        process.start()
        try:
            assert _next(queue, process, seconds) == "up"
            break
        except AssertionError:
            process.kill()
    else:
        raise AssertionError(f"a process did not come up, {_TRIES} times")
    try:
        while (said := _next(queue, process, seconds)) is not None:
            yield said
        process.join(seconds)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()


def _run(target: Callable[..., None], arguments: tuple[Any, ...], queue: Any) -> None:
    queue.put("up")
    target(*arguments, queue)


def _next(queue: Any, process: Any, seconds: float) -> Any:
    for _ in range(int(seconds)):
        try:
            return queue.get(timeout=1)
        except Empty:
            if not process.is_alive() and queue.empty():
                break
    raise AssertionError(f"it hangs or has ended (exit code {process.exitcode})")
