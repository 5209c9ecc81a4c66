"""A process that is killed, and a disk that loses, tears and reorders what was not synced."""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from memgpt_rag.memory.storage import files

CHANGES = ("open", "write", "pwrite", "ftruncate", "fsync", "mkdir", "rmdir", "replace", "unlink")


class Watched:
    """The operating system as `memgpt_rag.memory.storage.files` sees it, with somebody hearing of every change before it happens."""

    def __init__(self, on_change: Callable[[str, tuple], None]):
        self._on_change = on_change

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in CHANGES:
            return real

        def change(*arguments):
            if name != "open" or arguments[1] & os.O_ACCMODE or Path(arguments[0]).is_dir():
                self._on_change(name, arguments)
            return real(*arguments)

        return change


def watched(job: Callable[[], object], on_change: Callable[[str, tuple], None]) -> None:
    files.os = Watched(on_change)
    try:
        job()
    finally:
        files.os = os


def count_changes(job: Callable[[], object]) -> int:
    seen: list[str] = []
    watched(job, lambda name, arguments: seen.append(name))
    return len(seen)


def _ended(child: int, seconds: float) -> int | None:
    """How a process ended; None where it had to be killed after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def killed_at(job: Callable[[], object], number: int, *, torn: bool) -> None:
    """Run a job in a process of its own that is killed before its n-th change; where that is a write, after half of it.

    A process that hangs before its first change is begun again: it waits for a lock that a thread of its parent held at the fork.
    """
    began = mmap.mmap(-1, 1)  # shared with the child
    for _ in range(3):
        child = os.fork()
        if not child:
            break
        status = _ended(child, seconds=60)
        if status is not None:
            assert os.WIFSIGNALED(status), f"the job ended before change {number}"
            return
        assert not began[0], f"the job hangs before change {number}"
    else:
        raise AssertionError("the job hangs before its first change, three times")
    changes = 0

    def on_change(name: str, arguments: tuple) -> None:
        nonlocal changes
        changes += 1
        began[0] = 1
        if changes == number:
            if torn and name in ("write", "pwrite"):
                handle, data, *place = arguments
                getattr(os, name)(handle, bytes(data)[: len(data) // 2], *place)
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        watched(job, on_change)
    finally:
        os._exit(1)


class Disk:
    """What a job did to a folder, change by change, and what may be left of it after a loss of power."""

    def __init__(self, root: Path, job: Callable[[], object]):
        self.root = root
        self.before = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        self.folders = {path.relative_to(root) for path in root.rglob("*") if path.is_dir()} | {Path()}
        self.changes: list[tuple] = []
        self._handles: dict[int, tuple[Path, bool]] = {}
        real_open = os.open

        def on_change(name: str, arguments: tuple) -> None:
            if name == "open":
                self._opened(Path(arguments[0]), arguments[1])
            elif name in ("write", "pwrite"):
                path, _ = self._handles[arguments[0]]
                self.changes.append(("write", path, bytes(arguments[1]), arguments[2] if name == "pwrite" else None))
            elif name == "ftruncate":
                self.changes.append(("resize", self._handles[arguments[0]][0], arguments[1]))
            elif name == "fsync":
                self.changes.append(("sync", self._handles[arguments[0]][0]))
            else:
                self.changes.append((name, *(Path(one).relative_to(root) for one in arguments)))

        def remembering(path, flags, *mode, **where):
            handle = real_open(path, flags, *mode, **where)
            if Path(path).is_relative_to(root):
                self._handles[handle] = (Path(path).relative_to(root), bool(flags & os.O_APPEND))
            return handle

        os.open = remembering
        try:
            watched(job, on_change)
        finally:
            os.open = real_open

    def _opened(self, path: Path, flags: int) -> None:
        if not path.is_relative_to(self.root) or path.is_dir():
            return
        if not path.exists():
            self.changes.append(("create", path.relative_to(self.root)))
        elif flags & os.O_TRUNC:
            self.changes.append(("resize", path.relative_to(self.root), 0))

    def left_after(self, point: int, random: Random, folder: Path) -> None:
        """Write to a folder what a loss of power before change `point` may leave.

        Names are in the folder for sure once it is synced, bytes in the file once that is; of what came later any part may be
        there, in any order.
        """
        done = self.changes[:point]
        tree: dict[Path, int] = {}
        contents: list[bytearray] = []
        for path, content in self.before.items():
            tree[path] = len(contents)
            contents.append(bytearray(content))
        folders, real = set(self.folders), dict(tree)  # `real`: as the job saw it
        for place, (name, *arguments) in enumerate(done):
            synced = {change[1] for change in done[place:] if change[0] == "sync"}
            path = arguments[0]
            if name in ("write", "resize"):
                file = contents[real[path]]
                if name == "resize":
                    if path in synced or random.random() < 0.5:
                        size = arguments[1]
                        file[size:] = b"\0" * max(0, size - len(file))
                    continue
                data, at = arguments[1], arguments[2]
                at = self._end(path, place) if at is None else at
                kept = len(data) if path in synced else random.choice([0, len(data) // 2, len(data)])
                if kept:
                    file.extend(b"\0" * max(0, at + kept - len(file)))
                    file[at : at + kept] = data[:kept]
                continue
            if name == "sync":
                continue
            target = arguments[-1]
            sure = target.parent in synced or random.random() < 0.5
            if name == "create":
                contents.append(bytearray())
                real[path] = len(contents) - 1
                if sure and path.parent in folders:
                    tree[path] = real[path]
            elif name == "mkdir" and sure and path.parent in folders:
                folders.add(path)
            elif name == "rmdir" and sure and not any(path in one.parents for one in (*tree, *folders)):
                folders.discard(path)
            elif name == "unlink":
                real.pop(path)
                if sure:
                    tree.pop(path, None)
            elif name == "replace":
                real[target] = real.pop(path)
                if sure and path in tree:
                    tree[target] = tree.pop(path)
        for one in sorted(folders):
            (folder / one).mkdir(parents=True, exist_ok=True)
        for path, number in tree.items():
            (folder / path).write_bytes(contents[number])

    def _end(self, path: Path, place: int) -> int:
        """Where a write without a place of its own goes: behind what was written to that file before."""
        size = len(self.before.get(path, b""))
        for name, where, *arguments in self.changes[:place]:
            if where == path and name in ("create", "resize"):
                size = 0 if name == "create" else arguments[0]
            elif where == path and name == "write":
                size += len(arguments[0])
        return size
