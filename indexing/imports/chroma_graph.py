"""Vectors in the graph files of a collection of Chroma, as hnswlib writes them: read as numbers, without a search in them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float

from indexing.imports.pickle_data import Instance, read_pickle
from indexing.imports.stored_entry import refusing
from memgpt_rag.errors import SourceError

_WHAT = "a graph of Chroma"
# Version; where links begin; room for elements, elements, bytes of one; where its label and its vector begin in it.
_HEADER = struct.Struct("<i6Q")
_VERSION = 1
_NAMES = "chromadb.segment.impl.vector.local_persistent_hnsw.PersistentData"
_MOST_BYTES = 2**30


class UnknownGraphError(Exception):
    """The graph is of a form that cannot be read, which says nothing against the store."""


def graph_vectors(folder: Path) -> dict[str, Float[np.ndarray, " dimension"]]:
    """Return the vector of each id; none where Chroma has not written a graph yet.

    Raises:
        SourceError: a file is damaged, or its names are no plain names.
        UnknownGraphError: the files are of another version.
    """
    names = folder / "index_metadata.pickle"
    if not names.is_file():
        return {}
    with refusing(names, _WHAT, ValueError, OSError):
        if names.stat().st_size > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES:,} bytes")
        value = read_pickle(names.read_bytes(), {_NAMES})
    labels = (value.attributes if isinstance(value, Instance) else value if isinstance(value, dict) else {}).get(
        "id_to_label"
    )
    if not isinstance(labels, dict) or not all(type(label) is int for label in labels.values()):
        raise SourceError(f"{names} does not say which vector is whose; rebuild the store with Chroma.")
    vectors = _vectors_by_label(folder)
    if missing := [id for id, label in labels.items() if label not in vectors]:
        raise SourceError(
            f"{folder} holds no vector of the entry {str(missing[0])[:80]!r}; rebuild the store with Chroma."
        )
    return {str(id): vectors[label] for id, label in labels.items()}


def _vectors_by_label(folder: Path) -> dict[int, Float[np.ndarray, " dimension"]]:
    header, data = folder / "header.bin", folder / "data_level0.bin"
    with refusing(folder, _WHAT, OSError, struct.error, ValueError):
        version, _, _, elements, size, label, start = _HEADER.unpack_from(header.read_bytes())
        if version != _VERSION or not start < label == size - 8 or (label - start) % 4:
            raise UnknownGraphError(f"its graph is of another form (version {version})")
        if elements * size > data.stat().st_size or not elements:
            raise ValueError(f"{data.name} is shorter than {elements:,} elements of {size:,} bytes")
        rows = np.memmap(data, np.uint8, "r", shape=(elements, size))
        labels = rows[:, label:].copy().view("<u8").ravel()
        vectors = rows[:, start:label].copy().view("<f4")
    return dict(zip(labels.tolist(), vectors, strict=True))
