"""The user's cache folder: its location, its permissions, and the fallback if it cannot be used.

Everything in it can be recomputed, so no problem with it is ever an error: what cannot be stored there is recomputed by each
process, with one warning.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

# Folder that cannot be used → temporary folder in its place, which is removed when this process ends.
_TEMPORARY: dict[Path, Path] = {}
# Free space in bytes that a folder must have for a failure not to be attributed to it.
_ROOM = 2**20
_ADVICE = "make it a folder that you may write, and nobody else"


class CacheWarning(UserWarning):
    """Something in the cache folder cannot be used; work continues without it, and commands print this as a sentence."""


def cache_folder(*parts: str) -> Path:
    """Return the path of a folder in the user's cache folder; it is not created."""
    from platformdirs import user_cache_path

    return user_cache_path("memgpt_rag").joinpath(*parts)


def is_there(file: Path) -> bool:
    """Return whether a file exists; False in a home folder without access."""
    try:
        return file.is_file()
    except PermissionError:
        return False


def make_private(folder: Path) -> None:
    """Create a folder that only the user can write to, inside a cache folder that only the user can read.

    Raises:
        OSError: it cannot be created or written, or another user could change its contents.
    """
    root = cache_folder()
    inside = root in (folder, *folder.parents)
    for one in (root, folder) if inside else (folder,):
        if inside and not one.is_absolute():
            raise FileNotFoundError(errno.ENOENT, "there is no home folder to hold it", str(one))
        one.mkdir(mode=0o700, parents=True, exist_ok=True)
        if inside and not one.is_symlink():
            _make_private(one)
        require_own(one)
        if not os.access(one, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, "it cannot be written", str(one))


def require_own(folder: Path) -> None:
    """Check the owner and permissions of a folder; raises OSError if another user owns it or others can write to it."""
    if os.name != "posix":
        return
    found = folder.stat()
    if found.st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EACCES, "it belongs to another user", str(folder))
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise PermissionError(errno.EACCES, "every user may write there", str(folder))


def require_plain(file: Path) -> None:
    """Check that a path is free or the user's own plain file; raises OSError for anything else, such as a link."""
    try:
        found = file.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.ELOOP, "it is a link, or no plain file", str(file))
    if os.name == "posix":
        if found.st_uid != os.geteuid():
            raise PermissionError(errno.EACCES, "it belongs to another user", str(file))
        with contextlib.suppress(
            FileNotFoundError
        ):  # another process may have removed it, as SQLite does with its journal
            _make_private(file)


def warn_left_out(place: Path, error: BaseException, advice: str = _ADVICE) -> None:
    """Warn that a cache is not used.

    Args:
        place: file or folder of the cache; an OSError may name another one that caused it.
        advice: how to fix it.
    """
    reason: object = error
    if isinstance(error, OSError) and error.strerror:
        place, reason = Path(error.filename or place), error.strerror
    warnings.warn(
        f"{place} cannot be used as a cache ({reason}), and work goes on without it; {advice}.",
        CacheWarning,
        stacklevel=1,  # this line, so that the same sentence is shown once
    )


def made_once(folder: Path, make: Callable[[Path], object], is_whole: Callable[[Path], bool]) -> Path:
    """Return a folder of files that take long to create: from an earlier process, or created now.

    Args:
        folder: folder in the cache folder. If it cannot be written, the files go to a temporary folder, which is removed
            when this process ends.
        make: writes the files into an empty folder.
        is_whole: returns whether a folder exists and is intact; if not, it is created again.
    """
    if folder in _TEMPORARY:
        return _TEMPORARY[folder]
    fault: OSError | None = None
    try:
        make_private(folder.parent)
    except OSError as error:
        fault = error  # an existing folder may still be readable
    try:
        if folder.is_dir():
            require_own(cache_folder())
            require_own(folder.parent)
            if is_whole(folder):
                return folder
            warnings.warn(f"{folder} is not as it was made; it is made anew.", CacheWarning, stacklevel=1)
        if fault is not None:
            raise fault
        scratch = tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.", ignore_cleanup_errors=True)
    except OSError as error:
        return _for_this_process(folder, make, fault or error)
    with scratch:
        made = Path(scratch.name) / "made"
        try:
            made.mkdir()
            make(made)
            _sync(made)  # a crash must not leave files of the right name and size without their contents
        except Exception:
            if (fault := _fault(Path(scratch.name))) is None:
                raise
            return _for_this_process(folder, make, fault)
        try:
            _move(made, folder, is_whole)
        except OSError as error:
            return _for_this_process(folder, lambda to: shutil.copytree(made, to, dirs_exist_ok=True), error)
    return folder


def _for_this_process(folder: Path, make: Callable[[Path], object], error: OSError) -> Path:
    warn_left_out(folder, error)
    temporary = Path(tempfile.mkdtemp(prefix="memgpt_rag-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    make(temporary)
    return _TEMPORARY.setdefault(folder, temporary)


def _fault(folder: Path) -> OSError | None:
    """Return what prevents writing to a folder, such as a full disk; not every library raises an OSError for it."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(folder.parent)
        return error
    return None


def _sync(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as written:
                os.fsync(written.fileno())


def _move(made: Path, folder: Path, is_whole: Callable[[Path], bool]) -> None:
    try:
        made.rename(folder)
    except OSError:
        if folder.is_dir() and is_whole(folder):
            return  # another process has created the same in the meantime
        # The folder is damaged, or has other files already, such as a model's calibration; those are kept.
        for file in made.iterdir():
            file.replace(folder / file.name)


def _make_private(path: Path) -> None:
    if os.name == "posix" and (found := path.stat()).st_uid == os.geteuid() and found.st_mode & 0o077:
        path.chmod(found.st_mode & 0o700)
