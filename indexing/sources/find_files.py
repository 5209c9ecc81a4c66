"""Finds the files of a source: on this machine, or through fsspec in an object store, on a server, in an archive."""

from __future__ import annotations

import errno
import fnmatch
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from indexing.sources.addresses import shown_address, without_secrets
from indexing.sources.formats import file_format
from memgpt_rag.errors import SourceError
from memgpt_rag.io.system_errors import machine_errno

# HTTP status codes of missing files, in contrast to refused access.
_GONE = (404, 410)
_OF_THIS_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class SourceFile:
    """A file to read.

    Attributes:
        location: its path, or the address of its source, such as "s3://bucket/docs".
        name: its name in citations.
        bytes: its size; 0 if the store does not report it.
        inside: its path in the file system of the address.
    """

    location: Path | str
    name: str
    bytes: int
    inside: str = ""

    @property
    def format(self) -> str:
        """Return the name of its format, by its suffix; "plain_text" for an unknown suffix."""
        return file_format(self.name)

    @contextmanager
    def local(self) -> Iterator[Path]:
        """Provide its path on this machine inside the block; a remote file is downloaded to a temporary file.

        Raises:
            SourceError: it cannot be downloaded.
        """
        if isinstance(self.location, Path):
            yield self.location
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"file{PurePosixPath(self.name).suffix}"
            with _fetching(self.location) as (files, _):
                files.get_file(self.inside, str(path))
            yield path


def find_files(sources: Sequence[Path | str], exclude: Sequence[str] = ()) -> list[SourceFile]:
    """Find the files of the sources, sorted by name; hidden files in folders are left out.

    Args:
        sources: files and folders, or addresses of them; folders are searched recursively.
        exclude: patterns of names to leave out, such as "*.png".

    Raises:
        SourceError: a source does not exist, cannot be reached or contains no file, or two files would have the same name.
    """
    found: dict[str, SourceFile] = {}
    for source in sources:
        remote = isinstance(source, str) and "://" in source
        kept = 0
        for file in _remote_files(str(source)) if remote else _local_files(Path(source)):
            if any(fnmatch.fnmatch(file.name, one) or fnmatch.fnmatch(Path(file.name).name, one) for one in exclude):
                continue
            kept += 1
            if file.name in found:
                if _same(found[file.name], file):
                    continue
                shown = " and ".join(
                    str(one.location) if isinstance(one.location, Path) else f"{one.inside} in {_shown(one.location)}"
                    for one in (found[file.name], file)
                )
                raise SourceError(
                    f"{shown} would both be cited as {file.name}; name the folder above them as the source."
                )
            found[file.name] = file
        if not kept:
            raise SourceError(f"{_shown(source)} holds no documents to read; put files there, or name another source.")
    return list(found.values())


def _local_files(source: Path) -> Iterator[SourceFile]:
    if not source.exists():
        raise SourceError(f"{source} does not exist; name a file or a folder of documents.")
    for path in [source] if not source.is_dir() else sorted(_walk(source)):
        name = path.name if path == source else path.relative_to(source).as_posix()
        yield SourceFile(path, name, _size(path))


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it is missing, which is reported when it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _walk(folder: Path) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise SourceError(f"{error.filename} cannot be listed: {error.strerror}.")

    for parent, folders, names in os.walk(folder, onerror=stop):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in names if not name.startswith("."))


def _remote_files(address: str) -> Iterator[SourceFile]:
    with _fetching(address) as (files, inside):
        about = files.info(inside)
        if about["type"] == "file":
            yield SourceFile(address, PurePosixPath(_named(inside)).name or "file", about.get("size") or 0, inside)
            return
        found = files.find(inside, detail=True)
        for path, about in sorted(found.items(), key=lambda item: PurePosixPath(item[0])):  # the order of local folders
            name = _named(path)[len(_named(inside)) :].lstrip("/")
            if not any(part.startswith(".") for part in name.split("/")):
                yield SourceFile(address, name, about.get("size") or 0, path)


def _named(path: str) -> str:
    """Return a path in a file system for use in a name; of a web server, whose paths are whole addresses, without secrets."""
    return shown_address(path) if "://" in path else path


@contextmanager
def _fetching(address: str) -> Iterator[tuple[Any, str]]:
    """Provide the file system and path of an address inside the block; errors of its client become sentences without secrets."""
    from fsspec.core import url_to_fs

    try:
        yield url_to_fs(address)
    except (SourceError, MemoryError):
        raise
    except Exception as error:  # each store's client raises errors of its own
        if machine_errno(error) in _OF_THIS_MACHINE:
            raise
        cause = _refusal(error)
        if cause is None:
            raise SourceError(f"{_shown(address)} does not exist; name a file or a folder of documents.") from error
        reason = without_secrets((str(cause).strip().splitlines() or [type(cause).__name__])[0], address)
        raise SourceError(
            f"{_shown(address)} cannot be reached: {reason.rstrip('.:; ')}; see to its address, its keys and its package."
        ) from error


def _refusal(error: Exception) -> BaseException | None:
    """Return the reason why a store refuses a file; None if it does not exist. Some clients report every refusal as missing."""
    if not isinstance(error, FileNotFoundError):
        return error
    cause = error.__cause__
    status = getattr(cause, "status", None)
    refused = isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)
    return cause if refused or (isinstance(status, int) and status not in _GONE) else None


def _same(one: SourceFile, other: SourceFile) -> bool:
    if isinstance(one.location, Path) and isinstance(other.location, Path):
        return one.location.resolve() == other.location.resolve()
    return (one.location, one.inside) == (other.location, other.inside)


def _shown(location: Path | str) -> str:
    return str(location) if isinstance(location, Path) else shown_address(location)
