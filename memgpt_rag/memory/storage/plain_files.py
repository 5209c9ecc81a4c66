"""Checks that a memory consists of plain files and folders, before anything in it is opened, written or removed.

A memory may come from an untrusted sender. A link in it could make a reader open a file of the user, and a job overwrite or
remove one; a pipe or a device could block a reader forever. A sound memory contains none of these.
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
    """Check that every known name in a memory's folder is a plain file or folder; unknown names are ignored, and never opened.

    Files that a concurrent job removes in the meantime are ignored, too.

    Raises:
        MemoryFormatError: a link, a pipe, a device, or a folder in place of a file; a lock file that is not empty.
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
    # Usually known from the directory listing, without another system call.
    if entry.is_file(follow_symlinks=False) or (folder_too and entry.is_dir(follow_symlinks=False)):
        return
    with suppress(FileNotFoundError):
        raise not_plain(Path(entry.path), entry.stat(follow_symlinks=False).st_mode)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from entries
