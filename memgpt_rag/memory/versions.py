"""Commits: one job at a time writes; a manifest becomes current when all its files are on disk; earlier ones are kept.

Readers take no lock: an opened memory is a snapshot. Files are removed only when no stored manifest names them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from memgpt_rag.errors import BusyError, MemoryFormatError
from memgpt_rag.memory.storage import files, layout
from memgpt_rag.memory.storage.manifest import Manifest, parse_manifest, read_bytes, read_manifest
from memgpt_rag.memory.storage.plain_files import require_plain

# What the message of BusyError begins with, by which a process that started a job knows it.
BUSY = "Another job is writing to"


@contextmanager
def writing(memory: Path) -> Iterator[None]:
    """Hold the writer lock of a memory's folder, which must exist, and remove leftovers of a killed job.

    Raises:
        BusyError: another job holds the lock.
        MemoryFormatError: the folder contains something other than plain files and folders; nothing was removed then.
    """
    require_plain(memory)
    lock = FileLock(memory / layout.LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BusyError(f"{BUSY} {memory}; wait until it is done, or stop it, and start this one again.") from error
    try:
        sweep(memory)
        yield
    except BaseException:
        sweep(memory)
        raise
    finally:
        lock.release()


def publish(memory: Path, manifest: Manifest) -> Manifest:
    """Make a manifest the current one. All files that it names must be on disk.

    Returns:
        The manifest with the checksum of the previous one.
    """
    present, versions = memory / layout.MANIFEST, memory / layout.VERSIONS
    files.make_folder(versions)
    if present.exists():
        before = layout.version_path(memory, parse_manifest(present).commit)
        if not before.exists():
            _write(before, read_bytes(present))  # of a format without commits
        manifest = replace(manifest, previous=files.describe(before).sha256)
    content = (json.dumps(manifest.to_json(), ensure_ascii=False, indent=2) + "\n").encode()
    _write(layout.version_path(memory, manifest.commit), content)
    files.sync_folder(versions)
    fresh = memory / f"{layout.MANIFEST}.new"
    _write(fresh, content)
    files.rename(fresh, present)
    return manifest


def list_versions(memory: Path) -> list[Manifest]:
    """Return the manifests of all versions that can be opened, the current one last.

    Raises:
        MemoryFormatError: the folder holds no memory, or a damaged one.
    """
    present = read_manifest(memory)
    require_plain(memory)
    earlier = [commit for commit in layout.commits(memory) if commit < present.commit]
    return [*(parse_manifest(layout.version_path(memory, commit)) for commit in earlier), present]


def intact_file(memory: Path, segment: str, name: str) -> files.StoredFile | None:
    """Return size and checksum of a segment's file, if some version lists it and it still matches; otherwise None."""
    path = layout.segment_dir(memory, segment) / name
    if not path.exists():
        return None
    described = (one for manifest in list_versions(memory) for one in manifest.segments if one.name == segment)
    committed = next((one.files[name] for one in described if name in one.files), None)
    return committed if files.describe(path) == committed else None


def roll_back(memory: Path, commit: int) -> Manifest:
    """Restore an earlier version as a new commit, so that no version is lost.

    Raises:
        MemoryFormatError: there is no such version, or it is the current one.
    """
    with writing(memory):
        present, wanted = read_manifest(memory), read_manifest(memory, commit)
        if wanted.commit == present.commit:
            raise MemoryFormatError(f"{memory} is at version {commit} already; name an earlier one.")
        manifest = replace(wanted, commit=present.commit + 1, job={"name": "rollback", "to": commit})
        return publish(memory, manifest)


def expire(memory: Path, keep: int) -> list[int]:
    """Remove all versions but the last few, and the files that only they named.

    Args:
        keep: number of versions to keep, including the current one.

    Returns:
        The numbers of the removed versions.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}; expected 1 or more.")
    with writing(memory):
        kept = [manifest.commit for manifest in list_versions(memory)[-keep:]]
        return forget(memory, kept[0])


def forget(memory: Path, before: int) -> list[int]:
    """Remove the versions before a commit; the caller holds the writer lock."""
    forgotten = [commit for commit in layout.commits(memory) if commit < before]
    for commit in forgotten:
        files.remove(layout.version_path(memory, commit))
    if forgotten:
        files.sync_folder(memory / layout.VERSIONS)
    sweep(memory)
    return forgotten


def sweep(memory: Path) -> None:
    """Remove files that no manifest names: leftovers of jobs that did not commit, and files of removed versions.

    Raises:
        MemoryFormatError: the folder contains something other than plain files and folders; nothing was removed then.
    """
    require_plain(memory)
    kept: dict[str, set[str]] = {}
    if (memory / layout.MANIFEST).exists():
        manifests = list_versions(memory)
        for commit in layout.commits(memory):
            if commit > manifests[-1].commit:
                files.remove(layout.version_path(memory, commit))
        for manifest in manifests:
            for segment in manifest.segments:
                kept.setdefault(segment.name, set()).update(segment.files)
    else:
        files.remove(memory / layout.VERSIONS)
    files.remove(memory / f"{layout.MANIFEST}.new")
    segments = memory / layout.SEGMENTS
    for folder in sorted(segments.iterdir()) if segments.is_dir() else ():
        if folder.name not in kept:
            files.remove(folder)
            continue
        for file in sorted(folder.iterdir()):
            if file.name not in kept[folder.name]:
                files.remove(file)


def _write(path: Path, content: bytes) -> None:
    with files.NewFile(path) as file:
        file.write(content)
