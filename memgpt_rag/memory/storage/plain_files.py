"""Checks that a memory is made of plain files and folders, before anything in it is opened, written or removed.

A memory may come from anybody. A link in it would lead a reader to a file of the user's, and a job to overwrite or remove
one; a pipe or a device would hold a reader up for ever. Nothing that is in a memory by right is any of these.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.storage.files import not_plain

_FOLDERS = (layout.SEGMENTS, layout.VERSIONS)
_FILES = (layout.MANIFEST, f"{layout.MANIFEST}.new", layout.JOURNAL, layout.LOCK)


def require_plain(memory: Path) -> None:
    """Check everything that a memory's folder may hold; other names in it are never touched, and not looked at.

    What a job that runs at the same time removes in the meantime is not missed.

    Raises:
        MemoryFormatError: a link, a pipe, a device, or a folder where a file belongs; a lock that holds something.
    """
    for name in _FOLDERS:
        _require(memory / name, folder=True)
    for name in _FILES:
        _require(memory / name, folder=False)
    with suppress(FileNotFoundError):
        if size := (memory / layout.LOCK).lstat().st_size:
            raise MemoryFormatError(
                f"{memory / layout.LOCK} holds {size:,} bytes; a lock is an empty file. Look at what it is, and remove it if it is not yours."
            )
    for entry in _entries(memory / layout.VERSIONS):
        _require_entry(entry, folder_too=False)
    for segment in _entries(memory / layout.SEGMENTS):
        _require_entry(segment, folder_too=True)
        if segment.is_dir(follow_symlinks=False):
            for entry in _entries(Path(segment.path)):
                _require_entry(entry, folder_too=False)


def _require(path: Path, *, folder: bool) -> None:
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
            raise not_plain(path, mode)


def _require_entry(entry: os.DirEntry[str], *, folder_too: bool) -> None:
    # Mostly known from the listing itself, without another call of the operating system.
    if entry.is_file(follow_symlinks=False) or (folder_too and entry.is_dir(follow_symlinks=False)):
        return
    with suppress(FileNotFoundError):
        raise not_plain(Path(entry.path), entry.stat(follow_symlinks=False).st_mode)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from entries
