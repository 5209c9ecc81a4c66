"""Keys that jobs have computed, kept for other memories: a cache in one SQLite file an encoder, bounded in bytes.

A key is found by its text; the file belongs to one encoder, which its name tells. Each is stored with a checksum, and what
does not fit it is refused, since a wrong key would be copied into a memory as a right one.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.fingerprint import EncoderFingerprint

_TABLE = "CREATE TABLE IF NOT EXISTS keys (text BLOB PRIMARY KEY, used INTEGER, sum INTEGER, key BLOB) WITHOUT ROWID"
_ORDER = "CREATE INDEX IF NOT EXISTS by_use ON keys (used)"
# SQLite takes no more than 999 parameters where it is old.
_ASKED = 500


class KeptKeys:
    """Keys by their text; the least recently used go first. Several processes may use one file.

    Args:
        folder: where files of keys are kept; it need not exist.
        encoder: that computes them.
        max_bytes: of keys in the file.

    Raises:
        MemoryFormatError: the file there is no such cache, or cannot be written.
    """

    def __init__(self, folder: Path, encoder: EncoderFingerprint, max_bytes: int = 2**30):
        self._row_bytes = 4 * encoder.dimension
        self._most = max(1, max_bytes // self._row_bytes)
        identity = json.dumps(encoder.to_json(), sort_keys=True)
        self.path = folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self.path, isolation_level=None, timeout=30, check_same_thread=False)
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", _TABLE, _ORDER):
                self._file.execute(statement)
        except (OSError, sqlite3.Error) as error:
            raise MemoryFormatError(
                f"{self.path} cannot keep keys ({error}); remove it, or free its folder."
            ) from error

    def __len__(self) -> int:
        return int(self._file.execute("SELECT count(*) FROM keys").fetchone()[0])

    def get(self, texts: Sequence[str]) -> list[Float[np.ndarray, " dimension"] | None]:
        """The key of each text; None where there is none.

        Raises:
            MemoryFormatError: a key is not as it was kept.
        """
        digests = [_digest(text) for text in texts]
        found: dict[bytes, np.ndarray] = {}
        for start in range(0, len(digests), _ASKED):
            part = digests[start : start + _ASKED]
            asked = f"SELECT text, sum, key FROM keys WHERE text IN ({','.join('?' * len(part))})"  # noqa: S608
            for digest, checksum, key in self._file.execute(asked, part):
                if len(key) != self._row_bytes or zlib.crc32(digest + key) != checksum:
                    raise MemoryFormatError(f"{self.path} holds a key that is not as it was kept; remove the file.")
                found[digest] = np.frombuffer(key, dtype="<f4")
        now = time.time_ns()
        self._all_at_once("UPDATE keys SET used = ? WHERE text = ?", [(now, digest) for digest in found])
        return [found.get(digest) for digest in digests]

    def put(self, texts: Sequence[str], keys: Float[np.ndarray, "n dimension"]) -> None:
        """Keep the keys of texts."""
        now, rows = time.time_ns(), []
        for text, key in zip(texts, np.ascontiguousarray(keys, dtype="<f4"), strict=True):
            digest, data = _digest(text), key.tobytes()
            rows.append((digest, now, zlib.crc32(digest + data), data))
        self._all_at_once("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)", rows)
        if (excess := len(self) - self._most) > 0:
            self._file.execute(
                "DELETE FROM keys WHERE text IN (SELECT text FROM keys ORDER BY used, text LIMIT ?)", (excess,)
            )

    def _all_at_once(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                self._file.executemany(statement, rows)
            finally:
                self._file.execute("COMMIT")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
