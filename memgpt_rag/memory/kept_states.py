"""States that were computed on demand, kept for the next process: a cache in one SQLite file, bounded in bytes.

An entry is found by its tokens, whatever memory it is in; the file belongs to one language model, prefix and set of layers,
which its name tells. What is read from it is what a memory with stored states would have given, to the bit.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.fingerprint import StatesFingerprint
from memgpt_rag.memory.states import StatesShape, encode

Codes = tuple[np.ndarray, np.ndarray | None]

_TABLE = (
    "CREATE TABLE IF NOT EXISTS states (entry BLOB PRIMARY KEY, used INTEGER, size INTEGER, codes BLOB, scales BLOB)"
)


class KeptStates:
    """States by the tokens of their entry; the least recently used go first. Several processes may use one file.

    Args:
        folder: where files of states are kept; it need not exist.
        fingerprint: of the language model, as it is to read and write them.
        max_bytes: of codes and scales in the file.

    Raises:
        MemoryFormatError: the file there is no such cache, or cannot be written.
    """

    def __init__(self, folder: Path, fingerprint: StatesFingerprint, max_bytes: int = 2**30):
        self.shape, self.max_bytes = StatesShape.of(fingerprint), max_bytes
        digest = hashlib.sha256(repr(fingerprint).encode()).hexdigest()[:16]
        self.path = folder / f"{digest}.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self.path, isolation_level=None, timeout=30, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise MemoryFormatError(
                f"{self.path} cannot keep states ({error}); remove it, or free its folder."
            ) from error

    def __len__(self) -> int:
        return int(self._file.execute("SELECT count(*) FROM states").fetchone()[0])

    @property
    def num_bytes(self) -> int:
        """Bytes of all codes and scales."""
        return int(self._file.execute("SELECT coalesce(sum(size), 0) FROM states").fetchone()[0])

    def get(self, token_ids: Sequence[int]) -> Codes | None:
        """Codes and scales as `StoredStates.entry` gives them; None where there are none."""
        key = _key(token_ids)
        row = self._file.execute("SELECT codes, scales FROM states WHERE entry = ?", (key,)).fetchone()
        if row is None:
            return None
        self._file.execute("UPDATE states SET used = ? WHERE entry = ?", (time.time_ns(), key))
        regions = self.shape.regions(1, len(token_ids))
        found = {}
        for name, data in zip(("codes", "scales"), row, strict=True):
            if name in regions:
                _, numpy_type, shape = regions[name]
                if len(data) != np.prod(shape) * np.dtype(numpy_type).itemsize:
                    raise MemoryFormatError(
                        f"{self.path} holds {len(data)} bytes of {name} for an entry of {len(token_ids)} tokens; remove it."
                    )
                found[name] = np.frombuffer(data, dtype=numpy_type).reshape(shape)
        return found["codes"], found.get("scales")

    def put(self, token_ids: Sequence[int], states: Float[np.ndarray, "tokens layers 2 kv_heads head_dim"]) -> Codes:
        """Keep the states of an entry; returns them as `get` will."""
        codes, scales = encode(states, self.shape.dtype)
        data = (codes.tobytes(), b"" if scales is None else scales.tobytes())
        size = sum(map(len, data))
        if size <= self.max_bytes:
            self._file.execute(
                "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?)", (_key(token_ids), time.time_ns(), size, *data)
            )
            self._forget()
        return codes, scales

    def _forget(self) -> None:
        excess = self.num_bytes - self.max_bytes
        while excess > 0:
            key, size = self._file.execute("SELECT entry, size FROM states ORDER BY used LIMIT 1").fetchone()
            self._file.execute("DELETE FROM states WHERE entry = ?", (key,))
            excess -= size


def _key(token_ids: Sequence[int]) -> bytes:
    return hashlib.sha256(np.asarray(token_ids, dtype="<i8").tobytes()).digest()
