"""Every change to a memory's folder: nothing but the lock creates, writes, syncs, renames or removes anything there.

What must survive a crash is synced before anything names it: first a file's bytes, then the folder that holds its name,
then, by a rename, the file that refers to it.

A memory may have been sent by anybody, so nothing here follows a link: a link in place of a file is refused, a new file
never takes the place of one that is there, and what is removed is a name in the memory, never what the name leads to.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from memgpt_rag.errors import MemoryFormatError

_BLOCK = 2**20
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
}


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
        with _naming(self._handle):
            while done < len(view):
                done += os.write(self._handle, view[done:])
        self._digest.update(view)
        self._bytes += done
        return done

    def close(self) -> None:
        if not self.closed:
            super().close()  # first, for whatever comes of the rest, it is done once
            close(self._handle)

    @property
    def described(self) -> StoredFile:
        """Size and digest of what has been written."""
        return StoredFile(self._bytes, self._digest.hexdigest())


def create(path: Path) -> int:
    """Handle of a new file to write into; `close` it.

    Raises:
        FileExistsError: there is something of that name.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Open a plain file to read.

    Raises:
        MemoryFormatError: it is a link, a pipe, a device or a folder.
        FileNotFoundError: it is missing.
    """
    handle = _open_plain(path, os.O_RDONLY)
    with os.fdopen(handle, "rb") as file:
        yield file


def kind_of(mode: int) -> str:
    """Name what stands at a path, from its `st_mode`: "a file", "a folder", "a symbolic link"."""
    return _KINDS.get(stat.S_IFMT(mode), "no file")


def close(handle: int) -> None:
    """Once what was written is on disk."""
    try:
        with _naming(handle):
            os.fsync(handle)
    finally:
        os.close(handle)


def resize(handle: int, size: int) -> None:
    with _naming(handle):
        os.ftruncate(handle, size)


def append(path: Path, data: bytes) -> None:
    """Add to the end of a plain file of one name, and to the disk.

    Raises:
        MemoryFormatError: it is anything else, so that something outside the memory would be written to.
    """
    handle = _open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        done = 0
        with _naming(handle):
            while done < len(data):
                done += os.write(handle, data[done:])
    finally:
        close(handle)


def write_at(handle: int, data: Any, offset: int) -> None:
    """Write into the middle of an open file."""
    view = memoryview(data).cast("B")
    done = 0
    with _naming(handle):
        while done < len(view):
            done += os.pwrite(handle, view[done:], offset + done)


def sync_folder(folder: Path) -> None:
    """Make new names, renames and removals in a folder durable."""
    close(os.open(folder, os.O_RDONLY))


def make_folder(folder: Path) -> None:
    """With all folders above it, each durable in the one that holds it; another job may make them at the same time."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(one)  # noqa: PTH102 - one place for all calls of the operating system
        sync_folder(one.parent)


def rename(path: Path, new: Path) -> None:
    """Take the place of `new` in one step."""
    os.replace(path, new)  # noqa: PTH105
    sync_folder(new.parent)


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it; what is not there is left alone. Of a link, only the link goes."""
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            remove(child)
        os.rmdir(path)  # noqa: PTH106
    elif path.exists() or path.is_symlink():
        os.unlink(path)  # noqa: PTH108


def remove_if_empty(folder: Path) -> None:
    """Remove a folder unless something is in it, which another job may have put there a moment ago."""
    try:
        os.rmdir(folder)  # noqa: PTH106
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def describe(path: Path) -> StoredFile:
    """Size and digest of a plain file that is there."""
    digest, size = hashlib.sha256(), 0
    with reading(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return StoredFile(size, digest.hexdigest())


def cut(path: Path, size: int) -> None:
    """Take away what a plain file of one name has beyond a size."""
    handle = _open_plain(path, os.O_WRONLY)
    resize(handle, size)
    close(handle)


@contextmanager
def _naming(handle: int) -> Iterator[None]:
    """Let a fault of the machine, such as a full disk, say which file it is about; the system tells it of paths only."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            error.filename = error.filename or os.readlink(f"/proc/self/fd/{handle}")  # noqa: PTH115
        raise


def _open_plain(path: Path, flags: int) -> int:
    """Without waiting for whoever is at the other end of a pipe."""
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise not_plain(path, os.lstat(path).st_mode) from error
        raise
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise not_plain(path, found.st_mode)
    if flags & os.O_ACCMODE != os.O_RDONLY and found.st_nlink > 1:
        os.close(handle)
        raise MemoryFormatError(
            f"{path} is known by {found.st_nlink} names (hard links), so that writing to it would change another file; remove it."
        )
    return handle


def not_plain(path: Path, mode: int) -> MemoryFormatError:
    """The sentence about something in a memory that is neither a plain file nor a plain folder, or the other of the two."""
    return MemoryFormatError(
        f"{path} is {kind_of(mode)}; a memory holds plain files in plain folders. Do not use what somebody sent you like "
        "this; nothing was changed."
    )
