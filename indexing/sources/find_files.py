"""Finds the files of a source: on this machine, or through fsspec in an object store, on a server, in an archive."""

from __future__ import annotations

import fnmatch
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from indexing.sources.addresses import shown_address, without_secrets
from indexing.sources.document import Note
from indexing.sources.folder_walk import FolderWalk, special_kind
from indexing.sources.formats import file_format
from indexing.sources.hub_datasets import hub_dataset
from indexing.sources.inflation import Allowance, Counted
from indexing.sources.saved_datasets import rows_only
from memgpt_rag.errors import SourceError
from memgpt_rag.io.system_errors import EXHAUSTED, machine_errno

# HTTP status codes of missing files, in contrast to refused access.
_GONE = (404, 410)
# File systems of fsspec that inflate what they read.
_COMPRESSED = ("zip:", "tar:", "libarchive:")


@dataclass(frozen=True)
class SourceFile:
    """A file to read.

    Attributes:
        location: its path, or the address of its source, such as "s3://bucket/docs".
        name: its name in citations.
        bytes: its size; 0 if the store does not report it.
        inside: its path in the file system of the address; of a dataset of the hub, its split.
        problem: the sentence why it cannot be read, which is known already; empty if it can.
    """

    location: Path | str
    name: str
    bytes: int
    inside: str = ""
    problem: str = ""

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
            if dataset := hub_dataset(self.location):
                dataset.write(self.inside, path)
                yield path
                return
            with _fetching(self.location) as (files, _):
                if self.location.startswith(_COMPRESSED):
                    with files.open(self.inside) as stream, path.open("wb") as copy:
                        shutil.copyfileobj(Counted(stream, Allowance(path, self.name)), copy, 2**20)
                else:
                    files.get_file(self.inside, str(path))
            yield path


def find_files(
    sources: Sequence[Path | str],
    exclude: Sequence[str] = (),
    *,
    follow_links: bool = False,
    on_note: Callable[[Note], object] = lambda note: None,
) -> list[SourceFile]:
    """Find the files of the sources, sorted by name; hidden files in folders are left out.

    Links in a folder are followed where they stay inside it, and each real file and folder is read once.

    Args:
        sources: files and folders, or addresses of them; folders are searched recursively.
        exclude: patterns of names to leave out, such as "*.png".
        follow_links: also follow links that lead out of a folder.
        on_note: called with what is left out of a folder: links that lead out of it, pipes, sockets and devices.

    Raises:
        SourceError: a source does not exist, cannot be reached or contains no file, or two files would have the same name.
    """

    def leave_out(name: str, why: str) -> None:
        if not is_excluded(name, exclude):
            on_note(Note(_citable(name), why))

    found: dict[str, SourceFile] = {}
    _file_system.cache_clear()  # an archive may have changed
    for source in sources:
        remote = isinstance(source, str) and "://" in source
        kept = 0
        for file in _remote_files(str(source)) if remote else _local_files(Path(source), follow_links, leave_out):
            if is_excluded(file.name, exclude):
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


def is_excluded(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a file's name, or the last part of it, matches a pattern such as "*.png"."""
    if not patterns:
        return False
    # Systems differ in how they store an accent; a pattern that is typed matches both forms.
    name = unicodedata.normalize("NFC", name)
    names = name, PurePosixPath(name).name
    return any(fnmatch.fnmatch(one, unicodedata.normalize("NFC", pattern)) for pattern in patterns for one in names)


def _local_files(source: Path, follow_links: bool, leave_out: Callable[[str, str], object]) -> Iterator[SourceFile]:
    if not source.exists():
        raise SourceError(f"{source} does not exist; name a file or a folder of documents.")
    if kind := special_kind(source.stat().st_mode):
        raise SourceError(f"{source} is {kind}, not a file; name a file or a folder of documents.")
    folder = FolderWalk(source, follow_links=follow_links, leave_out=leave_out) if source.is_dir() else None
    for path, name in rows_only(folder.files(), leave_out) if folder else [(source, source.name)]:
        shown = _citable(name)
        problem = (
            "" if shown == name else f"{shown} has a name that is no UTF-8; rename it, or leave it out with --exclude."
        )
        yield SourceFile(path, shown, _size(path), problem=problem)


def _citable(name: str) -> str:
    """Return a name with the bytes escaped that are no UTF-8, which Python keeps as lone surrogates."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it is missing, which is reported when it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _remote_files(address: str) -> Iterator[SourceFile]:
    if dataset := hub_dataset(address):
        for split in dataset.splits():
            yield SourceFile(address, dataset.file_name(split), 0, split)
        return
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


@lru_cache(maxsize=1)  # an archive's table of contents is read once, not once for each of its files
def _file_system(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    file_system, path = url_to_fs(address)
    return file_system, path


@contextmanager
def _fetching(address: str) -> Iterator[tuple[Any, str]]:
    """Provide the file system and path of an address inside the block; errors of its client become sentences without secrets."""
    try:
        yield _file_system(address)
    except (SourceError, MemoryError):
        raise
    except Exception as error:  # each store's client raises errors of its own
        if machine_errno(error) in EXHAUSTED:
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
    # A ValueError is about the address itself.
    refused = isinstance(cause, OSError | ValueError) and not isinstance(cause, FileNotFoundError)
    return cause if refused or (isinstance(status, int) and status not in _GONE) else None


def _same(one: SourceFile, other: SourceFile) -> bool:
    if isinstance(one.location, Path) and isinstance(other.location, Path):
        return one.location.resolve() == other.location.resolve()
    return (one.location, one.inside) == (other.location, other.inside)


def _shown(location: Path | str) -> str:
    return str(location) if isinstance(location, Path) else shown_address(location)
