"""Keys of a FAISS file beside a store, by the numbers that the store gives them; or why they cannot be taken out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from indexing.imports.stored_entry import refusing
from memgpt_rag.memory.dense.foreign_index import CompressedKeysError, ForeignIndex

Keys = Mapping[int, Float[np.ndarray, " dimension"]]


def keys_by_number(file: Path, what: str) -> tuple[Keys, str]:
    """Return the keys of an index file by number, and an empty text; or no keys, and why.

    Raises:
        SourceError: the file is missing, no FAISS index, or damaged.
    """
    try:
        with refusing(file, what, OSError):
            numbers, keys = ForeignIndex(file).keys_by_number()
    except CompressedKeysError as error:
        return {}, f"{error}, which does not hold its keys as they are"
    return dict(zip(numbers.tolist(), keys)), ""
