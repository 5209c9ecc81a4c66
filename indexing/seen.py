"""What a job has seen already, in a database on disk of the job's own: so that its memory does not grow with what it reads.

The latest of it is in a cache of some megabytes; the database has no name and goes with whoever asked for it.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Sequence
from hashlib import blake2b

_CACHE_KILOBYTES = 32 * 1024


class _Seen:
    tables: tuple[str, ...]

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # a collector may close it
        weakref.finalize(self, self._database.close)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KILOBYTES}"):
            self._database.execute(f"PRAGMA {pragma}")
        for table in self.tables:
            self._database.execute(f"CREATE TABLE {table}")
        self._database.execute("BEGIN")  # and no end: nothing of it outlives the process


class SeenIds(_Seen):
    """Where each id of a file's records stands; a digest of 128 bits stands for the id."""

    tables = ("ids (digest BLOB PRIMARY KEY, place INTEGER) WITHOUT ROWID",)

    def where(self, id: str) -> int | None:
        """Return where an id was seen before; None where it was not."""
        found = self._database.execute("SELECT place FROM ids WHERE digest = ?", (_digest(id),)).fetchone()
        return None if found is None else int(found[0])

    def add(self, id: str, place: int) -> None:
        """Note where an id was seen."""
        self._database.execute("INSERT INTO ids VALUES (?, ?)", (_digest(id), place))


class SeenTexts(_Seen):
    """Texts by a digest of 128 bits."""

    tables = ("texts (digest BLOB PRIMARY KEY) WITHOUT ROWID",)

    def add(self, text: str) -> bool:
        """Whether it was not there."""
        return self._database.execute("INSERT OR IGNORE INTO texts VALUES (?)", (_digest(text),)).rowcount == 1


class SeenRuns(_Seen):
    """Runs of bytes, each found by numbers that stand for its parts."""

    tables = (
        "runs (number INTEGER PRIMARY KEY, bytes BLOB)",
        "parts (part INTEGER, run INTEGER, PRIMARY KEY (part, run)) WITHOUT ROWID",
    )

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def sharing_parts(self, parts: Sequence[int], most_bytes: float) -> list[bytes]:
        """The runs that have one of these parts and are no longer than that."""
        numbers = f"SELECT run FROM parts WHERE part IN ({','.join('?' * len(parts))})"  # noqa: S608
        wanted = f"SELECT bytes FROM runs WHERE number IN ({numbers}) AND length(bytes) <= ?"  # noqa: S608
        return [run for (run,) in self._database.execute(wanted, (*parts, most_bytes))]

    def add(self, run: bytes, parts: Sequence[int]) -> None:
        """Note the runs of words of a text."""
        self._database.execute("INSERT INTO runs VALUES (?, ?)", (self._count, run))
        self._database.executemany("INSERT INTO parts VALUES (?, ?)", [(part, self._count) for part in parts])
        self._count += 1


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()
