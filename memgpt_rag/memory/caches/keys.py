"""Cache of keys that jobs have computed, for use in other memories: one file for each encoder, at most a gigabyte."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from memgpt_rag.fingerprint import EncoderFingerprint
from memgpt_rag.memory.caches.sqlite_cache import SqliteCache, file_name


class KeyCache:
    """Cache of keys, looked up by their text.

    Args:
        folder: where files of keys are kept; it need not exist.
        encoder: the encoder that computes them.
    """

    def __init__(self, folder: Path, encoder: EncoderFingerprint):
        identity = json.dumps(encoder.to_json(), sort_keys=True)
        self._cache = SqliteCache(folder, file_name(identity), identity)
        self._row_bytes = 4 * encoder.dimension

    def get(self, texts: Sequence[str]) -> list[Float[np.ndarray, " dimension"] | None]:
        """Return the key of each text; None where there is none."""
        found = self._cache.get([text.encode() for text in texts])
        return [None if data is None or len(data) != self._row_bytes else np.frombuffer(data, "<f4") for data in found]

    def put(self, texts: Sequence[str], keys: Float[np.ndarray, "n dimension"]) -> None:
        """Keep the keys of texts."""
        data = [key.tobytes() for key in np.ascontiguousarray(keys, dtype="<f4")]
        self._cache.put([text.encode() for text in texts], data)
