"""Uploaded files: kept as they came under an id, each with a record of who brought it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
import time
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from memgpt_rag.io.json_file import read_json, replace_json
from memgpt_rag.serving.access import Access
from memgpt_rag.serving.api_errors import ApiError

_PREFIX = re.compile(r"file-[0-9a-f]{24}/")
_MOST_RECORD_BYTES = 2**16
_MOST_NAME_BYTES = 200
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@dataclass(frozen=True)
class StoredFile:
    """An uploaded file.

    Attributes:
        owner: name of the key that brought it.
    """

    id: str
    filename: str
    bytes: int
    created_at: int
    purpose: str
    owner: str

    def to_json(self) -> dict[str, Any]:
        """Return the file as OpenAI's clients read it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


class FileStore:
    """The uploaded files in a folder: `ID/NAME` and the record `ID.json`, which is written last.

    Args:
        folder: it is created.

    Raises:
        OSError: it cannot be.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._files: dict[str, StoredFile] = {}
        for record in sorted(folder.glob("file-*.json")):
            value = read_json(record, max_bytes=_MOST_RECORD_BYTES)
            self._files[value["id"]] = StoredFile(**value)
        for left in folder.glob("file-*"):  # of an upload that did not end
            if left.is_dir() and left.name not in self._files:
                shutil.rmtree(left, ignore_errors=True)

    def all(self, access: Access) -> list[StoredFile]:
        """Return the files that a client may see, the newest first."""
        seen = [file for file in self._files.values() if self._sees(file, access)]
        return sorted(seen, key=lambda file: (file.created_at, file.id), reverse=True)

    def get(self, id: str, access: Access) -> StoredFile:
        """Return a file.

        Raises:
            ApiError: 404 where there is none that the client may see.
        """
        file = self._files.get(id)
        if file is None or not self._sees(file, access):
            raise ApiError(404, f"There is no file {id[:80]!r}.", code="file_not_found")
        return file

    def path(self, file: StoredFile) -> Path:
        """Return where its content lies."""
        return self.folder / file.id / file.filename

    def create(self, filename: str | None, content: Any, purpose: str, access: Access) -> StoredFile:
        """Keep a file.

        Args:
            content: a file object that gives its bytes.

        Raises:
            ApiError: 400 for an empty one.
            OSError: the disk is full, or the like; nothing is kept then.
        """
        id, name = f"file-{secrets.token_hex(12)}", safe_name(filename)
        folder = self.folder / id
        folder.mkdir(mode=0o700)
        try:
            with (folder / name).open("xb") as kept:
                shutil.copyfileobj(content, kept, 2**20)
                kept.flush()
                os.fsync(kept.fileno())
            size = (folder / name).stat().st_size
            if not size:
                raise ApiError(400, f"The file {name!r} is empty; upload one with content.", param="file")
            file = StoredFile(id, name, size, int(time.time()), purpose, access.name)
            replace_json(self.folder / f"{id}.json", asdict(file))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with self._lock:
            self._files[id] = file
        return file

    def delete(self, file: StoredFile) -> None:
        """Remove a file."""
        with self._lock:
            self._files.pop(file.id, None)
        (self.folder / f"{file.id}.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder / file.id, ignore_errors=True)

    def _sees(self, file: StoredFile, access: Access) -> bool:
        return access.creates or (file.owner == access.name and bool(access.write))


def safe_name(name: str | None) -> str:
    """Return a file name of a client as one that can stand in a folder: no path, no hidden file, no control characters."""
    base = PurePosixPath((name or "").replace("\\", "/")).name
    shown = "".join(one for one in unicodedata.normalize("NFC", base) if unicodedata.category(one) not in _UNSEEN)
    shown = shown.strip().lstrip(".").strip() or "file.txt"
    stem, dot, suffix = shown.rpartition(".")
    while len(shown.encode()) > _MOST_NAME_BYTES:
        stem, suffix = (stem[:-1], suffix) if stem else ("", suffix[:-1])
        shown = f"{stem}{dot}{suffix}"
    return shown


def shown_name(source: str) -> str:
    """Return a source, or a place in it, for people: that of an uploaded file without its id."""
    return _PREFIX.sub("", source, count=1) if _PREFIX.match(source) else source
