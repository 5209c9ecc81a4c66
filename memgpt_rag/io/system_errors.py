"""System errors, such as a full disk, as sentences: the file, the system's message, and what to do.

They are raised as OSError, or contained in the text of a library's own error.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FREE = "free some, or name a place on another device; then run the command again"
_ALLOW = "see to its permissions, or name another place"
_ADVICE = {
    errno.ENOSPC: _FREE,
    errno.EDQUOT: _FREE,
    errno.EFBIG: "raise the limit (ulimit -f), or name a place on another file system",
    errno.EROFS: "name a place that can be written",
    errno.EACCES: _ALLOW,
    errno.EPERM: _ALLOW,
    errno.EMFILE: "raise the limit of this process (ulimit -n)",
    errno.ENFILE: "close other programs, or raise the limit of the machine",
    errno.EIO: "its device fails; see to it, then run the command again",
    errno.ENODEV: "its device is gone; see to it, then run the command again",
    errno.ESTALE: "its server has changed it; run the command again",
    errno.ETIMEDOUT: "its server does not answer; run the command again",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ENOMEM: "close other programs, or ask for less at once",
}
# The machine is at its limits, whatever file is read: no disk, or no file handles are left.
EXHAUSTED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})
# Errors that do not depend on the file itself or the operation on it.
_NOBODYS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENODEV, errno.ENOMEM}
# How libraries written in C and Rust print an errno.
_NUMBER = re.compile(r"(?:os error|errno) (\d+)", re.IGNORECASE)
_WORDS = {
    "database or disk is full": errno.ENOSPC,
    "disk I/O error": errno.EIO,
    "attempt to write a readonly database": errno.EROFS,
    "can't allocate memory": errno.ENOMEM,
    "out of memory": errno.ENOMEM,
    **{os.strerror(number): number for number in _ADVICE},
}


def machine_errno(error: BaseException) -> int | None:
    """Return the errno of the system error behind an error; None for other causes, such as a missing file."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in _ADVICE else None
    text = str(error)
    numbers = {int(number) for number in _NUMBER.findall(text)} | {_WORDS[words] for words in _WORDS if words in text}
    return min(numbers & _ADVICE.keys(), default=None)


def machine_fault_behind(error: BaseException) -> OSError | None:
    """Return the system error, such as a full disk, behind an error about a missing or damaged file; None if there is none."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _NOBODYS:
            return cause
        cause = cause.__cause__
    return None


def system_sentence(error: BaseException) -> str | None:
    """Return a sentence for users about a system error; None for errors of another kind."""
    number, path = machine_errno(error), None
    if isinstance(error, OSError):
        path = error.filename if error.filename2 is None else f"{error.filename} or {error.filename2}"
    if number == errno.ENOMEM:
        return f"Memory ran out ({_first_line(error)}); {_ADVICE[number]}."
    if number is None and not isinstance(error, OSError):
        return None
    where = "A file could not be read or written" if path is None else os.fsdecode(path) if _is_path(path) else path
    if number is not None:
        return f"{where}: {os.strerror(number)}; {_ADVICE[number]}."
    assert isinstance(error, OSError)
    return f"{where}: {error.strerror or _first_line(error)}; see to it, then run the command again."


@contextmanager
def at_path(path: str | Path) -> Iterator[None]:
    """Add a path to system errors inside the block, including those that are in the text of a library's own error.

    Raises:
        OSError: the system error, with the path as its `filename`.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    except Exception as error:
        number = machine_errno(error)
        if number is None or isinstance(error, MemoryError):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _is_path(path: object) -> bool:
    return isinstance(path, str | bytes | os.PathLike)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
