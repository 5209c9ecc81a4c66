"""A cache in one SQLite file, bounded in bytes: values are bytes, looked up by their source, each with a checksum.

A cache saves time and never changes a result. A value counts as absent if its checksum does not match the value, its source
and the identity of what computed it. A file that cannot be used (no space, damaged, locked for long, a link, another
program's) is not used for the rest of the process, with one warning; nothing here raises an error. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from memgpt_rag.io.cache_folder import (
    CacheWarning,
    make_private,
    require_plain,
    warn_left_out,
)

# Version of the tables, increased when they change; part of the file's name, so that releases never share a file across versions.
_LAYOUT = 2
_TABLE = "CREATE TABLE entries (key BLOB PRIMARY KEY, used INTEGER, size INTEGER, checksum BLOB, value BLOB)"
_ORDER = "CREATE INDEX by_use ON entries (used, size)"
_LEAST_USED = """DELETE FROM entries WHERE rowid IN (SELECT rowid FROM (SELECT rowid,
    sum(size) OVER (ORDER BY used, rowid ROWS UNBOUNDED PRECEDING) - size AS before FROM entries) WHERE before < ?)"""
# Overhead of a row in bytes: two keys, a checksum, a time, and what SQLite adds.
ROW_BYTES = 128
# Keys in one query: old releases of SQLite accept at most 999 parameters.
_ASKED = 500
_LOCK_SECONDS = 1.0
# The time of use of a row is updated only if it is older than this.
_FRESH_NANOSECONDS = 60 * 10**9

_Result = TypeVar("_Result")


class SqliteCache:
    """Cache of values, looked up by their source; the least recently used are evicted first. Processes may share a file.

    Args:
        folder: the folder of the file; it need not exist.
        name: the stem of the file's name.
        identity: names what computes the values; values of another identity are not found.
        max_bytes: approximate limit of the size of all rows.

    Attributes:
        path: path of the file.
    """

    def __init__(self, folder: Path, name: str, identity: str, max_bytes: int = 2**30):
        self.path, self.max_bytes = folder / f"{name}-{_LAYOUT}.sqlite", max_bytes
        self._identity = hashlib.blake2b(identity.encode(), digest_size=32).digest()
        self._lock, self._damage_told, self._unweighed = threading.Lock(), False, float("inf")
        self._file: sqlite3.Connection | None = None
        try:
            make_private(folder)
            self._file = _open(self.path)
            weakref.finalize(self, self._file.close)
        except (OSError, sqlite3.Error) as error:
            self._leave_out(error)

    def __len__(self) -> int:
        return self._with_file(lambda file: int(file.execute("SELECT count(*) FROM entries").fetchone()[0]), 0)

    @property
    def num_bytes(self) -> int:
        """Return the size of all rows in bytes."""
        return self._with_file(_weigh, 0)

    def get(self, sources: Sequence[bytes]) -> list[bytes | None]:
        """Return the value computed from each source; None where it is missing or damaged."""
        keys = [self._key(source) for source in sources]
        none: dict[bytes, bytes] = {}
        found = self._with_file(lambda file: self._read(file, keys), none)
        return [found.get(key) for key in keys]

    def put(self, sources: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Store the value computed from each source."""
        keys, now, rows = [self._key(source) for source in sources], time.time_ns(), []
        for key, value in zip(keys, values, strict=True):
            if (size := len(value) + ROW_BYTES) <= self.max_bytes:
                rows.append((key, now, size, self._checksum(key, value), value))
        self._with_file(lambda file: self._write(file, rows), None)

    def _read(self, file: sqlite3.Connection, keys: list[bytes]) -> dict[bytes, bytes]:
        found, stale, now = {}, [], time.time_ns()
        for start in range(0, len(keys), _ASKED):
            part = keys[start : start + _ASKED]
            places = ",".join("?" * len(part))
            asked = f"SELECT key, used > ?, checksum, value FROM entries WHERE key IN ({places})"  # noqa: S608
            for key, is_fresh, checksum, value in file.execute(asked, (now - _FRESH_NANOSECONDS, *part)):
                # In a damaged file, types may be wrong, too.
                if not (isinstance(key, bytes) and isinstance(value, bytes) and checksum == self._checksum(key, value)):
                    self._warn_of_damage()
                    continue
                found[key] = value
                if not is_fresh:
                    stale.append((now, key))
        if stale:
            with file:
                file.execute("BEGIN IMMEDIATE")
                file.executemany("UPDATE entries SET used = ? WHERE key = ?", stale)
        return found

    def _write(self, file: sqlite3.Connection, rows: list[tuple[bytes, int, int, bytes, bytes]]) -> None:
        if not rows:
            return
        with file:
            file.execute("BEGIN IMMEDIATE")
            file.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", rows)
            self._unweighed += sum(row[2] for row in rows)
            if self._unweighed > self.max_bytes // 64:
                self._unweighed = 0
                if (excess := _weigh(file) - self.max_bytes) > 0:
                    file.execute(_LEAST_USED, (excess,))

    def _key(self, source: bytes) -> bytes:
        return hashlib.blake2b(source, key=self._identity, person=b"source", digest_size=32).digest()

    def _checksum(self, key: bytes, value: bytes) -> bytes:
        checksum = hashlib.blake2b(key, key=self._identity, person=b"value", digest_size=16)
        checksum.update(value)
        return checksum.digest()

    def _with_file(self, work: Callable[[sqlite3.Connection], _Result], otherwise: _Result) -> _Result:
        with self._lock:
            if self._file is not None:
                try:
                    return work(self._file)
                except sqlite3.Error as error:
                    self._leave_out(error)
        return otherwise

    def _leave_out(self, error: OSError | sqlite3.Error) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(sqlite3.Error):
                file.close()
        if isinstance(error, OSError):
            warn_left_out(self.path, error)
        elif "locked" in str(error):
            warn_left_out(self.path, error, "wait for the process that holds it, or end it")
        else:
            warn_left_out(self.path, error, "remove it, or make room beside it")

    def _warn_of_damage(self) -> None:
        if not self._damage_told:
            self._damage_told = True
            text = f"{self.path} holds values that are not as they were kept; they are computed anew."
            warnings.warn(text, CacheWarning, stacklevel=1)


def file_name(identity: str) -> str:
    """Return the stem of the name of an identity's file: 16 hexadecimal digits."""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _open(path: Path) -> sqlite3.Connection:
    """Open an existing file, or a new one. SQLite itself refuses links in place of its files -wal and -shm."""
    # An existing file is never opened here: closing it would release the locks that this process has on it.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    for suffix in ("", "-wal", "-shm", "-journal"):
        require_plain(path.with_name(path.name + suffix))
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        file = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=_LOCK_SECONDS,
            check_same_thread=False,
        )
        try:
            file.text_factory = bytes  # a damaged text is no Unicode
            _prepare(file)
        except sqlite3.Error as error:
            file.close()
            # Where several processes create a file at once, SQLite does not wait for its lock.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return file


def _prepare(file: sqlite3.Connection) -> None:
    if not _tables(file):
        with file:
            file.execute("BEGIN IMMEDIATE")
            if not _tables(file):  # another process may have been faster
                file.execute(_TABLE)
                file.execute(_ORDER)
    if _tables(file) != [_ORDER.encode(), _TABLE.encode()]:
        raise sqlite3.DatabaseError("it is a database of another program or release")
    file.execute("PRAGMA journal_mode=WAL")
    file.execute("PRAGMA synchronous=NORMAL")


def _tables(file: sqlite3.Connection) -> list[bytes]:
    return [sql for (sql,) in file.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")]


def _weigh(file: sqlite3.Connection) -> int:
    return int(file.execute("SELECT coalesce(sum(size), 0) FROM entries").fetchone()[0])
