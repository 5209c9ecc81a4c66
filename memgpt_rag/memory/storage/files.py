"""Every change to a memory's folder: apart from the lock, only this module creates, writes, syncs, renames or removes files.

What must survive a crash is synced before anything names it: first a file's bytes, then the folder that holds its name,
then, by a rename, the file that refers to it.

A memory may come from an untrusted sender, so nothing here follows a link: a link in place of a file is refused, a new file
never replaces an existing one, and removing a link never removes its target.
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
    """Size and SHA-256 checksum of a file, as a manifest lists them."""

    bytes: int
    sha256: str


class NewFile(io.RawIOBase):
    """A file that is written sequentially and hashed on the way, and synced to disk when it is closed."""

    def __init__(self, path: Path):
        self._handle = create(path)
        self._digest, self._bytes = hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """Write all of a bytes-like object, and return its number of bytes."""
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
            super().close()  # first, so that a failure below does not close the handle twice
            close(self._handle)

    @property
    def described(self) -> StoredFile:
        """Return size and checksum of the bytes written."""
        return StoredFile(self._bytes, self._digest.hexdigest())


def create(path: Path) -> int:
    """Create a new file and return its handle, to be closed with `close`.

    Raises:
        FileExistsError: the name is taken.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Open a plain file for reading inside the block.

    Raises:
        MemoryFormatError: it is a link, a pipe, a device or a folder.
        FileNotFoundError: it is missing.
    """
    handle = _open_plain(path, os.O_RDONLY)
    with os.fdopen(handle, "rb") as file:
        yield file


def file_kind(mode: int) -> str:
    """Return the kind of a file from its `st_mode`: "a file", "a folder", "a symbolic link"."""
    return _KINDS.get(stat.S_IFMT(mode), "no file")


def close(handle: int) -> None:
    """Sync a file to disk and close its handle."""
    try:
        with _naming(handle):
            os.fsync(handle)
    finally:
        os.close(handle)


def resize(handle: int, size: int) -> None:
    """Set the size of an open file in bytes."""
    with _naming(handle):
        os.ftruncate(handle, size)


def append(path: Path, data: bytes) -> None:
    """Append bytes to a plain file with one hard link, and sync it to disk.

    Raises:
        MemoryFormatError: it is anything else, so that something outside the memory could be written to.
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
    """Write bytes at an offset of an open file."""
    view = memoryview(data).cast("B")
    done = 0
    with _naming(handle):
        while done < len(view):
            done += os.pwrite(handle, view[done:], offset + done)


def sync_folder(folder: Path) -> None:
    """Make new names, renames and removals in a folder durable."""
    close(os.open(folder, os.O_RDONLY))


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, each synced in its parent; another job may create them at the same time."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(path)  # noqa: PTH102 - one place for all calls of the operating system
        sync_folder(path.parent)


def rename(path: Path, new: Path) -> None:
    """Rename a file to `new` atomically, replacing a file of that name, and sync the folder."""
    os.replace(path, new)  # noqa: PTH105
    sync_folder(new.parent)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its contents; a missing path is ignored, and a link's target is kept."""
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            remove(child)
        os.rmdir(path)  # noqa: PTH106
    elif path.exists() or path.is_symlink():
        os.unlink(path)  # noqa: PTH108


def remove_if_empty(folder: Path) -> None:
    """Remove a folder if it is empty; another job may have put a file there a moment ago."""
    try:
        os.rmdir(folder)  # noqa: PTH106
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def describe(path: Path) -> StoredFile:
    """Return size and checksum of an existing plain file."""
    digest, size = hashlib.sha256(), 0
    with reading(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return StoredFile(size, digest.hexdigest())


def cut(path: Path, size: int) -> None:
    """Truncate a plain file with one hard link to a size in bytes."""
    handle = _open_plain(path, os.O_WRONLY)
    resize(handle, size)
    close(handle)


@contextmanager
def _naming(handle: int) -> Iterator[None]:
    """Add the file's path to an OSError, such as of a full disk; for handles, the system does not report it."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            error.filename = error.filename or os.readlink(f"/proc/self/fd/{handle}")  # noqa: PTH115
        raise


def _open_plain(path: Path, flags: int) -> int:
    """Open a plain file without blocking: a pipe is refused, and its other end not waited for."""
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
    """Return the error for a path in a memory that is not the plain file or folder that belongs there."""
    return MemoryFormatError(
        f"{path} is {file_kind(mode)}; a memory holds plain files in plain folders. Do not use what somebody sent you like "
        "this; nothing was changed."
    )
