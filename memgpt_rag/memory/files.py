"""Every change to a memory's folder: nothing but the lock creates, writes, syncs, renames or removes anything there.

What must survive a crash is synced before anything names it: first a file's bytes, then the folder that holds its name,
then, by a rename, the file that refers to it.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BLOCK = 2**20


@dataclass(frozen=True)
class StoredFile:
    bytes: int
    sha256: str


class NewFile(io.RawIOBase):
    """A file written in order, digested as it goes, and on disk once it is closed."""

    def __init__(self, path: Path):
        self._handle = create(path)
        self._digest, self._bytes = hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            done += os.write(self._handle, view[done:])
        self._digest.update(view)
        self._bytes += done
        return done

    def close(self) -> None:
        if not self.closed:
            close(self._handle)
        super().close()

    @property
    def described(self) -> StoredFile:
        """Size and digest of what has been written."""
        return StoredFile(self._bytes, self._digest.hexdigest())


def create(path: Path) -> int:
    """Handle of a new file to write into; `close` it."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)


def close(handle: int) -> None:
    """Once what was written is on disk."""
    os.fsync(handle)
    os.close(handle)


def resize(handle: int, size: int) -> None:
    os.ftruncate(handle, size)


def append(path: Path, data: bytes) -> None:
    """Add to the end of a file, and to the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        done = 0
        while done < len(data):
            done += os.write(handle, data[done:])
    finally:
        close(handle)


def write_at(handle: int, data: Any, offset: int) -> None:
    """Write into the middle of an open file."""
    view = memoryview(data).cast("B")
    done = 0
    while done < len(view):
        done += os.pwrite(handle, view[done:], offset + done)


def sync_folder(folder: Path) -> None:
    """Make new names, renames and removals in a folder durable."""
    close(os.open(folder, os.O_RDONLY))


def make_folder(folder: Path) -> None:
    """With all folders above it, each durable in the one that holds it."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        os.mkdir(one)  # noqa: PTH102 - one place for all calls of the operating system
        sync_folder(one.parent)


def rename(path: Path, new: Path) -> None:
    """Take the place of `new` in one step."""
    os.replace(path, new)  # noqa: PTH105
    sync_folder(new.parent)


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it; what is not there is left alone."""
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            remove(child)
        os.rmdir(path)  # noqa: PTH106
    elif path.exists() or path.is_symlink():
        os.unlink(path)  # noqa: PTH108


def describe(path: Path) -> StoredFile:
    """Size and digest of a file that is there."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return StoredFile(path.stat().st_size, digest.hexdigest())


def cut(path: Path, size: int) -> None:
    """Take away what a file has beyond a size."""
    handle = os.open(path, os.O_WRONLY)
    resize(handle, size)
    close(handle)
