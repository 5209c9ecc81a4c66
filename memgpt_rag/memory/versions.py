"""Commits: one job at a time writes, a manifest is swapped in when all that it names is on disk, earlier ones are kept.

Readers take no part in this: they hold what they opened. Files are removed only when no manifest that is kept names them.
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
from memgpt_rag.memory.storage.plain_files import require_plain


@contextmanager
def writing(memory: Path) -> Iterator[None]:
    """Hold the right to write to a memory's folder, which must exist; leftovers of a job that was killed are removed.

    Raises:
        BusyError: another job holds it.
        MemoryFormatError: something in the folder is no plain file or folder; nothing was removed then.
    """
    require_plain(memory)
    lock = FileLock(memory / layout.LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BusyError(
            f"Another job is writing to {memory}; wait until it is done, or stop it, and start this one again."
        ) from error
    try:
        sweep(memory)
        yield
    except BaseException:
        sweep(memory)
        raise
    finally:
        lock.release()


def publish(memory: Path, manifest: layout.Manifest) -> layout.Manifest:
    """Make a manifest the present one. All that it names must be on disk.

    Returns:
        The manifest, which knows the digest of the one before by now.
    """
    present, versions = memory / layout.MANIFEST, memory / layout.VERSIONS
    files.make_folder(versions)
    if present.exists():
        before = layout.version_path(memory, layout.parse_manifest(present).commit)
        if not before.exists():
            _write(before, layout.read_bytes(present))  # one from before there were commits
        manifest = replace(manifest, previous=files.describe(before).sha256)
    content = (json.dumps(manifest.to_json(), ensure_ascii=False, indent=2) + "\n").encode()
    _write(layout.version_path(memory, manifest.commit), content)
    files.sync_folder(versions)
    fresh = memory / f"{layout.MANIFEST}.new"
    _write(fresh, content)
    files.rename(fresh, present)
    return manifest


def list_versions(memory: Path) -> list[layout.Manifest]:
    """The manifests that can be opened, the present one last.

    Raises:
        MemoryFormatError: no memory there, or a damaged one.
    """
    present = layout.read_manifest(memory)
    require_plain(memory)
    earlier = [commit for commit in layout.commits(memory) if commit < present.commit]
    return [*(layout.parse_manifest(layout.version_path(memory, commit)) for commit in earlier), present]


def roll_back(memory: Path, commit: int) -> layout.Manifest:
    """Make an earlier version the present one again, as a commit of its own, so that nothing is lost by it.

    Raises:
        MemoryFormatError: there is no such version, or it is the present one.
    """
    with writing(memory):
        present, wanted = layout.read_manifest(memory), layout.read_manifest(memory, commit)
        if wanted.commit == present.commit:
            raise MemoryFormatError(f"{memory} is at version {commit} already; name an earlier one.")
        manifest = replace(wanted, commit=present.commit + 1, job={"name": "rollback", "to": commit})
        return publish(memory, manifest)


def expire(memory: Path, keep: int) -> list[int]:
    """Forget all versions but the last few, and remove the files that only they named.

    Args:
        keep: how many to keep, the present one among them.

    Returns:
        The numbers of the versions forgotten.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}; expected 1 or more.")
    with writing(memory):
        kept = [manifest.commit for manifest in list_versions(memory)[-keep:]]
        return forget(memory, kept[0])


def forget(memory: Path, before: int) -> list[int]:
    """Forget the versions before one, for whoever holds the right to write."""
    forgotten = [commit for commit in layout.commits(memory) if commit < before]
    for commit in forgotten:
        files.remove(layout.version_path(memory, commit))
    if forgotten:
        files.sync_folder(memory / layout.VERSIONS)
    sweep(memory)
    return forgotten


def sweep(memory: Path) -> None:
    """Remove what no manifest names: leftovers of jobs that did not commit, and files of versions that were forgotten.

    Raises:
        MemoryFormatError: something in the folder is no plain file or folder; nothing was removed then.
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
