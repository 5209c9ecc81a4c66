"""Where texts were cut, kept for the next job: a cache in one SQLite file, bounded in rows.

To find the cuts, a tokenizer reads each text some four times; they depend on nothing but the text, the tokenizer and the
longest passage. A tokenizer is told from others by its name and by how many tokens it finds in known texts.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from memgpt_rag.encoding.known_texts import JUDGED_QUERIES
from memgpt_rag.errors import MemoryFormatError

# Raised when `PassageSplitter` cuts in another way, so that what it cut before is not taken for that.
_RECIPE = 1
_MOST_ROWS = 2**20
_TABLE = "CREATE TABLE IF NOT EXISTS cuts (text BLOB PRIMARY KEY, used INTEGER, places TEXT) WITHOUT ROWID"


class KeptCuts:
    """Beginning and end of each piece of a text, in characters. Several processes may use one file.

    Args:
        folder: of the cache; it need not exist.
        tokenizer: its name.
        count_tokens: how it counts.
        max_tokens: longest passage.

    Raises:
        MemoryFormatError: the file there is no such cache, or cannot be written.
    """

    def __init__(self, folder: Path, tokenizer: str, count_tokens: Callable[[str], int], max_tokens: int):
        counts = [count_tokens(text) for text in JUDGED_QUERIES]
        self._identity = json.dumps([_RECIPE, tokenizer, counts, max_tokens]).encode()
        self.path = folder / "cuts.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self.path, isolation_level=None, timeout=30, check_same_thread=False)
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF", _TABLE):
                self._file.execute(statement)
            self._rows = int(self._file.execute("SELECT count(*) FROM cuts").fetchone()[0])
        except (OSError, sqlite3.Error) as error:
            raise MemoryFormatError(
                f"{self.path} cannot keep cuts ({error}); remove it, or free its folder."
            ) from error

    def get(self, text: str) -> list[tuple[int, int]] | None:
        """Raises MemoryFormatError: what is kept for the text does not fit it."""
        row = self._file.execute("SELECT places FROM cuts WHERE text = ?", (self._digest(text),)).fetchone()
        if row is None:
            return None
        places = [(int(start), int(end)) for start, end in json.loads(row[0])]
        if not all(0 <= start < end <= len(text) for start, end in places):
            raise MemoryFormatError(f"{self.path} holds cuts that do not fit their text; remove the file.")
        return places

    def put(self, text: str, places: list[tuple[int, int]]) -> None:
        row = self._digest(text), time.time_ns(), json.dumps(places)
        self._file.execute("INSERT OR REPLACE INTO cuts VALUES (?, ?, ?)", row)
        self._rows += 1
        if self._rows > _MOST_ROWS:
            half = "DELETE FROM cuts WHERE text IN (SELECT text FROM cuts ORDER BY used LIMIT ?)"
            self._file.execute(half, (_MOST_ROWS // 2,))
            self._rows -= _MOST_ROWS // 2

    def _digest(self, text: str) -> bytes:
        return hashlib.blake2b(self._identity + text.encode(), digest_size=16).digest()
