"""Computes the sparse vectors of a memory's entries with a sparse encoder, and stores them in the memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memgpt_rag.encoders.sparse_encoder import SparseTextEncoder
from memgpt_rag.errors import MismatchError
from memgpt_rag.fingerprint import SparseFingerprint, SparseVector
from memgpt_rag.io.console import progress_bar
from memgpt_rag.memory import Manifest, Memory, add_sparse_vectors
from memgpt_rag.passage import Passage


@dataclass(frozen=True)
class SparseReport:
    """What a job computed.

    Attributes:
        manifest: of the memory with the sparse vectors.
        computed: number of entries whose vectors were computed; the others had theirs.
        components: number of components of all these vectors.
        cut: number of these entries whose text is longer than what the encoder reads.
    """

    manifest: Manifest
    computed: int
    components: int
    cut: int


def compute_sparse_vectors(folder: Path, encoder: SparseTextEncoder, *, progress: bool = False) -> SparseReport:
    """Compute and store the sparse vectors of the entries that have none of this encoder.

    Args:
        folder: folder of a memory. Vectors of another encoder are replaced when all new ones are stored.

    Raises:
        MemoryFormatError: the folder holds no memory, or a damaged one.
        ModelError: the encoder cannot search, or computes what is no number.
        BusyError: another job is writing there.
    """
    memory = Memory.open(folder)
    computed = components = cut = 0
    with progress_bar(total=len(memory), desc="sparse vectors", unit=" entries", shown=progress) as bar:

        def vectors(passages: Sequence[Passage]) -> list[SparseVector]:
            nonlocal computed, components, cut
            texts = [passage.titled_text for passage in passages]
            found = encoder.encode_passages(texts)
            computed, components = computed + len(texts), components + sum(map(len, found))
            cut += sum(map(encoder.is_cut, texts))
            bar.update(len(texts))
            return found

        manifest = add_sparse_vectors(memory, _fingerprint(memory, encoder), vectors)
    return SparseReport(manifest, computed, components, cut)


def _fingerprint(memory: Memory, encoder: SparseTextEncoder) -> SparseFingerprint:
    """Return the fingerprint of the stored vectors if this encoder computed them; else a new one."""
    if (stored := memory.manifest.sparse) is not None:
        try:
            stored.require_match(encoder.fingerprint)
        except MismatchError:
            return encoder.fingerprint
        return stored
    return encoder.fingerprint
