"""Journal of the keys that a job has computed, block by block, so that a restarted job does not compute them again.

A block is looked up by the encoder and all its texts, in order; never by its position in the job. Each record of the file is

    sha256 of encoder and texts (32 bytes) | rows (u32) | dimension (u32) | sha256 of the keys (32 bytes) | keys (f32)

in little-endian order. When a job is resumed, the file is truncated at the first incomplete record.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from memgpt_rag.fingerprint import EncoderFingerprint
from memgpt_rag.memory.storage import files, layout

_HEAD = struct.Struct("<32sII32s")


class Journal:
    """The journal of the job that holds the memory's writer lock.

    Attributes:
        path: path of the file, which need not exist.
    """

    def __init__(self, memory: Path, encoder: EncoderFingerprint):
        self.path = memory / layout.JOURNAL
        self._encoder = json.dumps(encoder.to_json(), sort_keys=True).encode()
        self._blocks: dict[bytes, tuple[int, int, int]] = {}
        if self.path.exists() or self.path.is_symlink():
            self._read()

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, texts: Sequence[str]) -> bool:
        return self._digest(texts) in self._blocks

    def keys(self, texts: Sequence[str]) -> Float[np.ndarray, "n dimension"]:
        """Return the keys of a block of texts, which must be in the journal."""
        start, rows, dimension = self._blocks[self._digest(texts)]
        with files.reading(self.path) as file:
            file.seek(start)
            return np.frombuffer(file.read(4 * rows * dimension), dtype="<f4").reshape(rows, dimension)

    def add(self, texts: Sequence[str], keys: Float[np.ndarray, "n dimension"]) -> None:
        """Append the keys of a block of texts.

        Raises:
            ValueError: their number is not that of the texts, or a key holds NaN or infinity.
        """
        keys = np.ascontiguousarray(keys, dtype="<f4")
        if len(keys) != len(texts) or not np.isfinite(keys).all():
            wrong = next((text for text, key in zip(texts, keys) if not np.isfinite(key).all()), "")
            raise ValueError(
                f"The encoder gave {len(keys)} vectors for {len(texts)} texts"
                + (f", and NaN or infinity for {wrong!r:.80}." if wrong else ".")
            )
        payload, digest = keys.tobytes(), self._digest(texts)
        start = self.path.stat().st_size if self.path.exists() else 0
        head = _HEAD.pack(digest, *keys.shape, hashlib.sha256(payload).digest())
        files.append(self.path, head + payload)
        if not start:
            files.sync_folder(self.path.parent)
        self._blocks[digest] = (start + _HEAD.size, *keys.shape)

    def _digest(self, texts: Sequence[str]) -> bytes:
        digest = hashlib.sha256(self._encoder)
        for text in texts:
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)
        return digest.digest()

    def _read(self) -> None:
        """Index the complete records, and truncate the file after the last one."""
        end = 0
        with files.reading(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            while head := file.read(_HEAD.size):
                if len(head) < _HEAD.size:
                    break
                digest, rows, dimension, expected = _HEAD.unpack(head)
                length = 4 * rows * dimension
                if length > size - file.tell() or hashlib.sha256(file.read(length)).digest() != expected:
                    break
                self._blocks[digest] = (file.tell() - length, rows, dimension)
                end = file.tell()
        if end < size:
            files.cut(self.path, end)
