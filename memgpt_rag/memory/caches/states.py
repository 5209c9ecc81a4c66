"""Cache of states that were computed on demand: one file for each language model, prefix and set of layers.

An entry is looked up by its tokens, in any memory. States from the cache equal those of a memory with stored states to the
bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from memgpt_rag.fingerprint import StatesFingerprint
from memgpt_rag.memory.caches.sqlite_cache import SqliteCache, file_name
from memgpt_rag.memory.storage.states import StatesShape
from memgpt_rag.state_codes import Codes, encode


class StateCache:
    """Cache of states, looked up by the tokens of their entry.

    Args:
        folder: where files of states are kept; it need not exist.
        fingerprint: fingerprint of the language model that computes and reads them.
    """

    def __init__(self, folder: Path, fingerprint: StatesFingerprint):
        identity = repr(fingerprint)
        self._shape = StatesShape.of(fingerprint)
        self._cache = SqliteCache(folder, file_name(identity), identity)

    def get(self, token_ids: Sequence[int]) -> Codes | None:
        """Return codes and scales as `StoredStates.entry` does; None if the entry is not cached."""
        (data,) = self._cache.get([_source(token_ids)])
        if data is None or len(data) != len(token_ids) * self._shape.bytes_per_token:
            return None
        arrays, begin = {}, 0
        for name, (_, numpy_type, shape) in self._shape.regions(1, len(token_ids)).items():
            if name != "offsets":
                array = np.frombuffer(data, numpy_type, count=math.prod(shape), offset=begin)
                arrays[name], begin = array.reshape(shape), begin + array.nbytes
        return arrays["codes"], arrays.get("scales")

    def put(self, token_ids: Sequence[int], states: Float[np.ndarray, "tokens layers 2 kv_heads head_dim"]) -> Codes:
        """Store the states of an entry, and return them as `get` will."""
        codes, scales = encode(states, self._shape.dtype)
        self._cache.put([_source(token_ids)], [(b"" if scales is None else scales.tobytes()) + codes.tobytes()])
        return codes, scales


def _source(token_ids: Sequence[int]) -> bytes:
    return np.asarray(token_ids, dtype="<i8").tobytes()
