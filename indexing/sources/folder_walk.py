"""Walks a folder: which files it holds, which links are followed, and what is no file at all."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable
from pathlib import Path

from memgpt_rag.errors import SourceError


def special_kind(mode: int) -> str:
    """Return what a path is that is neither a file nor a folder, such as "a named pipe"; empty if it is one of the two."""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    return "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


class FolderWalk:
    """The files of a folder, without hidden ones.

    Links to files and folders are followed where they stay inside the folder. Each real file and folder is taken once,
    under its own name if it has one in the folder, so loops end.

    Args:
        follow_links: also follow links that lead out of the folder.
        leave_out: called with the name of what is left out, and a clause that says why.
    """

    def __init__(self, folder: Path, *, follow_links: bool, leave_out: Callable[[str, str], object]):
        self._root, self._real_root = str(folder), os.path.realpath(folder)
        self._follow, self._leave_out = follow_links, leave_out
        self._files: list[tuple[Path, str]] = []
        self._taken: set[str] = set()  # real paths of files and folders
        self._links: deque[tuple[str, str]] = deque()

    def files(self) -> list[tuple[Path, str]]:
        """Return the path of each file and its name relative to the folder, sorted by name.

        A link that leads nowhere is among them: reading it gives the error.

        Raises:
            SourceError: a folder cannot be listed.
        """
        self._walk(self._root, self._real_root, "")
        while self._links:  # after all real folders, so that what links lead to has its own name
            self._follow_link(*self._links.popleft())
        return sorted(self._files, key=lambda file: file[1].split("/"))

    def _walk(self, folder: str, real: str, prefix: str) -> None:
        stack = [(folder, real, prefix)]
        while stack:
            folder, real, prefix = stack.pop()
            if real in self._taken:
                continue
            self._taken.add(real)
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                raise SourceError(f"{folder} cannot be listed: {error.strerror}.") from error
            for entry in entries:
                name, path = prefix + entry.name, os.path.join(real, entry.name)  # noqa: PTH118
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    self._links.append((entry.path, name))
                elif entry.is_dir():
                    stack.append((entry.path, path, f"{name}/"))
                else:
                    self._take(entry.path, path, name, entry.stat(follow_symlinks=False).st_mode)

    def _follow_link(self, link: str, name: str) -> None:
        try:
            mode = os.stat(link).st_mode  # noqa: PTH116
        except OSError:
            self._files.append((Path(link), name))
            return
        real = os.path.realpath(link)
        inside = os.path.commonpath([real, self._real_root]) == self._real_root
        if not inside and not self._follow:
            self._leave_out(name, "is a link that leads out of the folder, and was not followed; --follow-links does")
        elif stat.S_ISDIR(mode):
            self._walk(link, real, f"{name}/")
        else:
            self._take(link, real, name, mode)

    def _take(self, path: str, real: str, name: str, mode: int) -> None:
        if kind := special_kind(mode):
            self._leave_out(name, f"is {kind}, not a file, and was left out")
        elif real not in self._taken:
            self._taken.add(real)
            self._files.append((Path(path), name))
