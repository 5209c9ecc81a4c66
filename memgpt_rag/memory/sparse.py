"""Sparse vectors of entries: stored in an inverted index for each segment, and searched by their dot product with a query's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.fingerprint import SparseFingerprint, SparseVector
from memgpt_rag.io.printable import counted
from memgpt_rag.memory.lexical.postings import InvertedIndex, write_sparse_index
from memgpt_rag.memory.storage import files, layout
from memgpt_rag.memory.storage.manifest import Manifest


@dataclass(frozen=True)
class SparseQueries:
    """Sparse vectors of queries.

    Attributes:
        encoder: fingerprint of the sparse encoder that computed them, which every search compares with the memory's; None if none was
            named, which every search refuses.
    """

    encoder: SparseFingerprint | None
    vectors: Sequence[SparseVector]


def sparse_scores(index: InvertedIndex, query: SparseVector) -> Float[np.ndarray, " rows"]:
    """Return the dot product of a query and the sparse vector of every row."""
    scores = np.zeros(len(index.lengths), np.float32)
    for component, weight in query.items():
        rows, weights = index.postings(component)
        scores[rows] += weight * weights
    return scores


def require_sparse_vectors(memory: Path, manifest: Manifest, encoder: SparseFingerprint | None) -> None:
    """Check that all entries of a memory have sparse vectors, and of which encoder.

    Args:
        encoder: of the queries; None if none is named.

    Raises:
        MemoryFormatError: some have none; the message says which command adds them.
        MismatchError: another sparse encoder computed them.
    """
    if manifest.sparse is None:
        name = "NAME" if encoder is None else encoder.name
        raise MemoryFormatError(f"{memory} has no sparse vectors; {_remedy(memory, name)}")
    if encoder is None:
        raise MemoryFormatError(
            f"{memory} has sparse vectors of {manifest.sparse.name!r}, and no sparse encoder was named for the question; name that "
            "one with --sparse-encoder, or in Python with Search(sparse_encoder=load_sparse_encoder(…))."
        )
    manifest.sparse.require_match(encoder)
    if missing := missing_vectors_sentence(memory, manifest):
        raise MemoryFormatError(missing)


def missing_vectors_sentence(memory: Path, manifest: Manifest) -> str:
    """Return the sentence about entries that came after a memory's sparse vectors; empty where all have some, or none has."""
    if manifest.sparse is None or not (later := manifest.entries_without("sparse")):
        return ""
    return (
        f"{counted(later, 'entry', 'entries')} of {memory} came after its sparse vectors and cannot be found by them; "
        f"{_remedy(memory, manifest.sparse.name)}"
    )


def _remedy(memory: Path, encoder: str) -> str:
    return f"add them with: memgpt-index sparse {memory} --sparse-encoder {encoder}"


def store_sparse_vectors(folder: Path, blocks: Iterable[Sequence[SparseVector]]) -> tuple[str, files.StoredFile]:
    """Write the sparse vectors of a segment's rows to its folder, and return the file's name and description."""
    fresh = folder / layout.sparse_name("unnamed")
    stored = write_sparse_index(fresh, blocks)
    name = layout.sparse_name(stored.sha256)
    files.rename(fresh, folder / name)
    return name, stored
