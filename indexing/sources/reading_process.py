"""Reads files in processes of their own, within bounds of time and memory.

A file may crash a parser, hang it, or inflate to more than the machine has. In a process of its own it costs a sentence that
names it, and the job goes on or stops as asked. Processes are kept for the next file. They get no signals from the
terminal, and end when the job does.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from indexing.sources import memory_bounds
from indexing.sources.frames import Fault, Item, Progress, from_frame, to_frame
from indexing.sources.read_options import ReadLimits, ReadOptions, RecordFields

# Started in isolated mode, so that neither the current folder nor the environment names a module; the first argument is the
# module search path of this process.
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from indexing.sources.reading_process import serve; serve()"
_FRAME = 2**18  # bytes of text that are sent together
_SEND_EVERY = 1.0  # seconds
# A process that holds more main memory than this, beyond what it began with, is not used for another file.
_MOST_KEPT = 2**28
_READY, _END = b"ready", b"end"
_MOST_TO_START = 60  # seconds
_idle: list[ReadingProcess] = []


class ReadingProcess:
    """A process that reads one file at a time."""

    def __init__(self) -> None:
        path = [entry for entry in sys.path if entry] + [str(Path(__file__).parents[2])]
        requests, self._requests = Pipe(duplex=False)
        self._answers, answers = Pipe(duplex=False)
        self._ready, self._grown = False, 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
        with requests, answers:  # their copies in the process stay open
            handles = requests.fileno(), answers.fileno()
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own code
                [sys.executable, "-I", "-c", _START, json.dumps(path), *map(str, handles)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=handles,
                start_new_session=True,
                env=environment,
            )

    def start(self, path: Path, name: str, options: ReadOptions, *, rejecting: bool) -> None:
        """Begin to read a file, whose items are fetched by `items`; a process that cannot be asked is stopped."""
        self._grown = _MOST_KEPT  # until it is at the end of the file
        sent = asdict(replace(options, on_note=None, on_progress=None, on_reject=None))  # type: ignore[arg-type]  # not sent
        sent |= {"path": str(path.absolute()), "name": name, "rejecting": rejecting}
        try:
            self._requests.send_bytes(json.dumps(sent).encode("utf-8", "surrogatepass"))
        except BaseException:
            self.stop()
            raise

    def items(self, seconds: float, name: str) -> Iterator[Item]:
        """Yield the items of the file that was begun.

        Args:
            seconds: most time without a further item.
            name: its name in messages.
        """
        while True:
            try:
                if not self._ready:  # the time that it takes to start is not the file's
                    if not self._answers.poll(_MOST_TO_START):
                        self.stop()
                        yield Fault(
                            f"{name} was not read: no process to read it started within {_MOST_TO_START} seconds; close other "
                            "programs, and run the job again."
                        )
                        return
                    self._ready = self._answers.recv_bytes() == _READY
                if not self._answers.poll(seconds):
                    self.stop()
                    yield Fault(
                        f"{name} was given up: {seconds:g} seconds went by without any text; leave it out with --exclude, or "
                        "allow more with --file-timeout."
                    )
                    return
                frame = self._answers.recv_bytes()
            except (EOFError, OSError):
                yield Fault(self._end(name))
                return
            if frame.startswith(_END):
                self._grown = int(frame[len(_END) :])
                return
            yield from from_frame(frame)

    @property
    def usable(self) -> bool:
        """Whether another file can be read: the process lives, is at the end of a file, and holds little memory."""
        return self._process.poll() is None and self._grown < _MOST_KEPT

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._requests.close()
        self._answers.close()

    def _end(self, name: str) -> str:
        status = self._process.wait()
        reason = f"status {status}" if status >= 0 else signal.Signals(-status).name
        return f"{name} cannot be read: it ended the process that read it ({reason}); mend it, or leave it out with --exclude."


def begin(path: Path, name: str, options: ReadOptions, *, rejecting: bool) -> ReadingProcess:
    """Begin to read a file in a process that is idle, or in a new one."""
    while _idle:
        process = _idle.pop()
        if process.usable:
            with suppress(BrokenPipeError):  # it has ended since
                process.start(path, name, options, rejecting=rejecting)
                return process
        process.stop()
    process = ReadingProcess()
    process.start(path, name, options, rejecting=rejecting)
    return process


def release(process: ReadingProcess) -> None:
    """Keep a process that is at the end of its file for another one, and end any other."""
    if process.usable:
        _idle.append(process)
    else:
        process.stop()


# A process that is forked must not share the pipes of this one.
os.register_at_fork(after_in_child=_idle.clear)


@atexit.register
def _stop_all() -> None:
    for process in _idle:
        process.stop()


def serve() -> None:
    """Read the files that are asked for, until the job ends; runs in the process of its own."""
    from indexing.sources.read_here import read_here

    requests = Connection(int(sys.argv[2]), writable=False)
    answers = Connection(int(sys.argv[3]), readable=False)
    before = memory_bounds.resident()
    answers.send_bytes(_READY)
    while True:
        try:
            asked = json.loads(requests.recv_bytes().decode("utf-8", "surrogatepass"))
        except EOFError:
            return
        path, name, rejecting = Path(asked.pop("path")), asked.pop("name"), asked.pop("rejecting")
        fields, limits = RecordFields(**asked.pop("fields")), ReadLimits(**asked.pop("limits"))
        del asked["on_note"], asked["on_progress"], asked["on_reject"]
        options = ReadOptions(**asked, fields=fields, limits=limits)
        memory_bounds.limit(limits.memory_bytes)
        progress_sent = 0.0

        def send_progress(done: float) -> None:
            nonlocal progress_sent
            if time.monotonic() - progress_sent > _SEND_EVERY:
                answers.send_bytes(to_frame([Progress(done)]))
                progress_sent = time.monotonic()

        options = replace(options, on_progress=send_progress)
        frame: list[Item] = []
        size, sent = 0, time.monotonic()
        for item in read_here(path, name, options, rejecting=rejecting):
            frame.append(item)
            size += sum(len(block.text) for block in getattr(item, "blocks", ())) + len(getattr(item, "data", b""))
            if size >= _FRAME or time.monotonic() - sent > _SEND_EVERY:
                answers.send_bytes(to_frame(frame))
                frame, size, sent = [], 0, time.monotonic()
        answers.send_bytes(to_frame(frame))
        answers.send_bytes(_END + str(memory_bounds.resident() - before - memory_bounds.allowed).encode())
