"""Vector stores: memories that clients fill with files, and the memories of the command line, which take files, too.

A file's status is "completed" only when a version of the memory with its entries is on disk.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from memgpt_rag.io.json_file import read_json, replace_json
from memgpt_rag.serving.access import Access
from memgpt_rag.serving.api_errors import ApiError, api_error
from memgpt_rag.serving.files import FileStore, StoredFile
from memgpt_rag.serving.index_jobs import IndexJobs, remove_left_over
from memgpt_rag.serving.log import log_event
from memgpt_rag.serving.memories import Memories

_RECORD = "store.json"
_MOST_RECORD_BYTES = 2**26
Refresh = Callable[[str], Any]  # opens the present version of a memory; awaited


@dataclass
class FileInStore:
    """A file in a vector store."""

    id: str
    filename: str
    created_at: int
    bytes: int
    attributes: dict[str, str | float | bool] = field(default_factory=dict)
    status: str = "in_progress"
    error_code: str = ""
    error: str = ""

    @property
    def source(self) -> str:
        """Return the source that its entries have in the memory."""
        return f"{self.id}/{self.filename}"

    def to_json(self, store: str) -> dict[str, Any]:
        """Return the file as OpenAI's clients read it."""
        return {
            "id": self.id,
            "object": "vector_store.file",
            "created_at": self.created_at,
            "vector_store_id": store,
            "status": self.status,
            "last_error": {"code": self.error_code, "message": self.error} if self.error else None,
            "usage_bytes": self.bytes if self.status == "completed" else 0,
            "attributes": self.attributes,
        }


@dataclass
class VectorStore:
    """A memory as a vector store. `managed` is false for a memory of the command line."""

    id: str
    name: str
    created_at: int
    metadata: dict[str, str] = field(default_factory=dict)
    files: dict[str, FileInStore] = field(default_factory=dict)
    batches: dict[str, list[str]] = field(default_factory=dict)
    managed: bool = True

    def to_json(self, usage_bytes: int) -> dict[str, Any]:
        """Return the store as OpenAI's clients read it."""
        counts = Counter(file.status for file in self.files.values())
        names = ("in_progress", "completed", "failed", "cancelled")
        return {
            "id": self.id,
            "object": "vector_store",
            "created_at": self.created_at,
            "name": self.name,
            "usage_bytes": usage_bytes,
            "file_counts": {**{name: counts[name] for name in names}, "total": len(self.files)},
            "status": "in_progress" if counts["in_progress"] else "completed",
            "expires_after": None,
            "expires_at": None,
            "last_active_at": self.created_at,
            "metadata": self.metadata,
        }


class VectorStores:
    """The vector stores, and the worker that indexes their files.

    Args:
        folder: of their records and memories; None where no files are taken.
        refresh: opens the present version of a memory, so that it is served when a file's status changes.
    """

    def __init__(
        self, folder: Path | None, files: FileStore | None, memories: Memories, jobs: IndexJobs, refresh: Refresh
    ):
        self._folder, self._files, self._memories = folder, files, memories
        self._jobs, self._refresh = jobs, refresh
        self._stores: dict[str, VectorStore] = {}
        self._work = asyncio.Event()
        self._busy = asyncio.Lock()  # held while a memory is changed
        for name in memories:
            self._stores[name] = VectorStore(name, name, int(time.time()), managed=False)
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            remove_left_over(folder)
            for record in sorted(folder.glob(f"*/{_RECORD}")):
                self._load(record)

    @property
    def files(self) -> FileStore:
        """Return the uploaded files.

        Raises:
            ApiError: 403 where the server takes none.
        """
        if self._files is None:
            raise ApiError(403, "This server takes no files; start it with --files DIR.", code="no_files")
        return self._files

    def all(self, access: Access) -> list[VectorStore]:
        """Return the stores that a client may read, the newest first."""
        seen = [store for store in self._stores.values() if access.reads(store.id)]
        return sorted(seen, key=lambda store: (store.created_at, store.id), reverse=True)

    def get(self, id: str, access: Access, *, write: bool = False) -> VectorStore:
        """Return a store.

        Raises:
            ApiError: 404 where there is none that the client may read, 403 where it may not write it.
        """
        store = self._stores.get(id)
        if store is None or not access.reads(id):
            raise ApiError(404, f"There is no vector store {id[:80]!r}.", code="vector_store_not_found")
        if write and not access.writes(id):
            raise ApiError(403, f"Your key may not change the vector store {id!r}.", code="read_only")
        return store

    def known(self, id: str) -> VectorStore | None:
        """Return a store, whoever asks; None where there is none."""
        return self._stores.get(id)

    def path(self, file: FileInStore) -> Path:
        """Return where the content of a file lies."""
        return self.files.folder / file.id / file.filename

    def usage_bytes(self, store: VectorStore) -> int:
        """Return what the memory takes on disk."""
        return self._memories.folder_bytes(store.id)

    def create(self, name: str, metadata: dict[str, str], access: Access) -> VectorStore:
        """Create an empty store.

        Raises:
            ApiError: 403 where the server or the key does not allow it.
        """
        assert self.files is not None
        if not access.creates:
            raise ApiError(403, "Your key may not create vector stores.", code="read_only")
        store = VectorStore(f"vs_{secrets.token_hex(12)}", name, int(time.time()), metadata)
        self._save(store)
        self._stores[store.id] = store
        self._memories.add(store.id, self._memory(store))
        return store

    def change(self, store: VectorStore, name: str | None, metadata: dict[str, str] | None) -> None:
        """Give a store another name or other metadata."""
        changed = name or store.name, store.metadata if metadata is None else metadata
        self._save(replace(store, name=changed[0], metadata=changed[1]))
        store.name, store.metadata = changed

    async def delete(self, store: VectorStore) -> None:
        """Remove a store and its memory.

        Raises:
            ApiError: 409 for a memory of the command line.
        """
        if not store.managed:
            raise ApiError(
                409, f"The memory {store.id!r} was named at the server's start; it is not deleted from here."
            )
        async with self._busy:
            self._stores.pop(store.id, None)
            self._memories.remove(store.id)
            await asyncio.to_thread(shutil.rmtree, self._home(store), ignore_errors=True)

    def attach(self, store: VectorStore, file: StoredFile, attributes: dict[str, str | float | bool]) -> FileInStore:
        """Have a file indexed into a store; a file that is in it stays."""
        known = store.files.get(file.id)
        if known is not None and known.status != "failed":
            return known
        attached = FileInStore(file.id, file.filename, int(time.time()), file.bytes, attributes)
        self._save(replace(store, files={**store.files, file.id: attached}))
        store.files[file.id] = attached
        self._work.set()
        return attached

    def batch(self, store: VectorStore, ids: list[str]) -> str:
        """Note files that were attached together, and return the id of the batch."""
        id = f"vsfb_{secrets.token_hex(12)}"
        self._save(replace(store, batches={**store.batches, id: ids}))
        store.batches[id] = ids
        return id

    def file(self, store: VectorStore, id: str) -> FileInStore:
        """Return a file of a store.

        Raises:
            ApiError: 404 where it is not in it.
        """
        if id not in store.files:
            raise ApiError(404, f"There is no file {id[:80]!r} in {store.id!r}.", code="file_not_found")
        return store.files[id]

    def holders(self, file: StoredFile) -> list[str]:
        """Return the ids of the stores that hold a file."""
        return [store.id for store in self._stores.values() if file.id in store.files]

    def set_attributes(self, store: VectorStore, file: FileInStore, attributes: dict[str, str | float | bool]) -> None:
        """Give a file of a store other attributes."""
        self._save(replace(store, files={**store.files, file.id: replace(file, attributes=attributes)}))
        file.attributes = attributes

    async def detach(self, store: VectorStore, file: FileInStore) -> None:
        """Delete a file's entries from a store.

        Raises:
            ApiError: 409 where it is being indexed, or holds all that a memory of the command line has.
        """
        if file.status == "in_progress":
            raise ApiError(409, "The file is being indexed; delete it when that is done.", code="in_progress")
        async with self._busy:
            if file.status == "completed":
                await self._delete_entries(store, file)
            store.files.pop(file.id, None)
            self._save(store)

    async def run(self) -> None:
        """Index files as they come, until cancelled."""
        self._work.set()
        while True:
            await self._work.wait()
            self._work.clear()
            for store in list(self._stores.values()):
                waiting = [file for file in store.files.values() if file.status == "in_progress"]
                if waiting:
                    await self._index_safely(store, waiting)

    async def _index_safely(self, store: VectorStore, waiting: list[FileInStore]) -> None:
        """Index files; what nobody expected fails them, and leaves the worker at work."""
        try:
            async with self._busy:
                if self._stores.get(store.id) is store:  # it may have been deleted while this waited
                    await self._index(store, waiting)
        except Exception as error:
            log_event("index_failed", level=40, error=error, store=store.id)
            for file in waiting:
                file.status, file.error_code = "failed", "server_error"
                file.error = api_error(error).message

    async def _index(self, store: VectorStore, waiting: list[FileInStore]) -> None:
        paths = {file.id: self.path(file) for file in waiting}
        assert self._folder is not None
        try:
            result = await self._jobs.add(self._memory(store), paths, self._folder)
            problem, faults = result.problem, result.faults
        except OSError as error:
            problem, faults = f"The job could not be run ({error.strerror}).", {}
        if problem and len(waiting) > 1:  # one of them may be at fault
            for file in waiting:
                await self._index(store, [file])
            return
        if not problem:
            await self._refresh(store.id)
        for file in waiting:
            file.error = faults.get(file.id, problem)
            file.status = "failed" if file.error else "completed"
            file.error_code = "" if not file.error else "invalid_file" if file.id in faults else "server_error"
            log_event("indexed", store=store.id, file=file.id, status=file.status)
        if store.id in self._stores:
            self._save(store)

    async def _delete_entries(self, store: VectorStore, file: FileInStore) -> None:
        left = [one for one in store.files.values() if one.status == "completed" and one is not file]
        if store.managed and not left:  # no memory is without entries
            gone = self._home(store) / f"deleted-{secrets.token_hex(4)}"
            self._memories.empty(store.id)
            self._memory(store).rename(gone)  # in one step, so that nobody opens a part of it
            await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)
            return
        result = await self._jobs.delete(self._memory(store), file.source)
        if result.problem:
            raise ApiError(409, result.problem)
        await self._refresh(store.id)

    def _home(self, store: VectorStore) -> Path:
        assert self._folder is not None
        return self._folder / store.id

    def _memory(self, store: VectorStore) -> Path:
        return self._home(store) / "memory" if store.managed else self._memories.folder(store.id)

    def _save(self, store: VectorStore) -> None:
        if self._folder is not None:
            replace_json(self._home(store) / _RECORD, asdict(store))

    def _load(self, record: Path) -> None:
        value = read_json(record, max_bytes=_MOST_RECORD_BYTES)
        files = {id: FileInStore(**file) for id, file in value.pop("files").items()}
        store = VectorStore(**value, files=files)
        if store.managed:
            self._stores[store.id] = store
            self._memories.add(store.id, self._memory(store))
        elif store.id in self._stores:
            self._stores[store.id] = store
