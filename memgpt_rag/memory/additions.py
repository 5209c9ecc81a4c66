"""Adds states, sparse vectors, a lexical index or approximate indexes to a stored memory. Each addition commits a new version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from memgpt_rag.errors import BusyError
from memgpt_rag.fingerprint import SparseFingerprint, SparseVector, StatesFingerprint
from memgpt_rag.memory import versions
from memgpt_rag.memory.dense.faiss_index import ApproximateIndex
from memgpt_rag.memory.lexical.analysis import ANALYSIS
from memgpt_rag.memory.lexical.postings import write_lexical_index
from memgpt_rag.memory.reader import MemoryReader
from memgpt_rag.memory.segment import OpenSegment
from memgpt_rag.memory.sparse import store_sparse_vectors
from memgpt_rag.memory.storage import files, layout
from memgpt_rag.memory.storage.manifest import Manifest, read_manifest
from memgpt_rag.memory.storage.states import StatesShape, StatesWriter
from memgpt_rag.passage import Passage
from memgpt_rag.state_codes import Codes, encode

_BLOCK = 1024
_ENCODED = 128  # texts at once, so that progress is seen


def add_states(
    memory: MemoryReader,
    fingerprint: StatesFingerprint,
    lengths: Callable[[Sequence[int]], Sequence[int]],
    states: Callable[[Sequence[int]], Iterable[Codes]],
) -> Manifest:
    """Store the states of a memory's entries. Segments that have intact states of this fingerprint keep them.

    Args:
        memory: the current version; states computed from one version are not committed to another.
        lengths: returns the number of tokens of the entry in each row given.
        states: returns the states of the entries in the rows given, as `memgpt_rag.state_codes.encode` does.

    Raises:
        ValueError: the number of states is not the number of entries.
        BusyError: another job is writing there, or has committed since the memory was opened.
    """
    with _changing(memory):
        shape, segments, start = StatesShape.of(fingerprint), [], 0
        for segment in memory.segments:
            described = segment.described
            if memory.manifest.states != fingerprint or not segment.has_intact("states"):
                name = layout.states_name(fingerprint, described.file("deleted"))
                stored = versions.intact_file(memory.path, described.name, name)  # an earlier version may have it
                if stored is None:
                    fresh = segment.folder / f"{name}.new"
                    live = np.arange(len(segment)) if segment.live is None else np.flatnonzero(segment.live)
                    rows, token_counts = (start + live).tolist(), np.zeros(len(segment), np.int64)
                    token_counts[live] = lengths(rows)
                    with StatesWriter(fresh, shape, token_counts.tolist()) as writer:
                        computed = iter(states(rows))
                        for length in token_counts:
                            writer.add_codes(*(next(computed) if length else encode(shape.none(), shape.dtype)))
                    files.rename(fresh, segment.folder / name)
                    stored = files.describe(segment.folder / name)
                described = replace(described, files=described.with_file(name, stored, described.file("states")))
            segments.append(described)
            start += len(segment)
        number, job = memory.manifest.commit + 1, {"name": "states"}
        manifest = replace(memory.manifest, segments=tuple(segments), states=fingerprint, commit=number, job=job)
        return versions.publish(memory.path, manifest)


def add_lexical_index(memory: MemoryReader) -> Manifest:
    """Add a lexical index to a memory; entries that are added later are indexed, too.

    Args:
        memory: the current version.

    Raises:
        BusyError: another job is writing there, or has committed since the memory was opened.
    """
    with _changing(memory):
        segments, name = [], layout.words_name(ANALYSIS)
        for segment in memory.segments:
            described = segment.described
            if described.file("words") != name:
                # Where an earlier version has the file, the same bytes replace it: that is quick, and certain to be right.
                fresh = segment.folder / f"{name}.new"
                stored = write_lexical_index(fresh, segment.values.blocks(_BLOCK))
                files.rename(fresh, segment.folder / name)
                described = replace(described, files=described.with_file(name, stored, described.file("words")))
            segments.append(described)
        number, job = memory.manifest.commit + 1, {"name": "words"}
        manifest = replace(memory.manifest, segments=tuple(segments), words=ANALYSIS, commit=number, job=job)
        return versions.publish(memory.path, manifest)


def add_sparse_vectors(
    memory: MemoryReader,
    encoder: SparseFingerprint,
    vectors: Callable[[list[Passage]], Iterable[SparseVector]],
) -> Manifest:
    """Store the sparse vectors of a memory's entries. Segments that have intact ones of this encoder keep them.

    Args:
        memory: the current version.
        encoder: fingerprint of the sparse encoder.
        vectors: returns the sparse vectors of the passages given.

    Returns:
        The manifest of the new version, or of the current one if nothing was missing.

    Raises:
        BusyError: another job is writing there, or has committed since the memory was opened.
    """
    with _changing(memory):
        segments = []
        for segment in memory.segments:
            described = segment.described
            if memory.manifest.sparse != encoder or not segment.has_intact("sparse"):
                name, stored = store_sparse_vectors(segment.folder, _sparse_blocks(segment, vectors))
                described = replace(described, files=described.with_file(name, stored, described.file("sparse")))
            segments.append(described)
        manifest = replace(memory.manifest, segments=tuple(segments), sparse=encoder)
        if manifest == memory.manifest:
            return manifest
        job = {"name": "sparse vectors"}
        return versions.publish(memory.path, replace(manifest, commit=manifest.commit + 1, job=job))


def _sparse_blocks(
    segment: OpenSegment, vectors: Callable[[list[Passage]], Iterable[SparseVector]]
) -> Iterator[list[SparseVector]]:
    """Yield the sparse vectors of a segment's rows in blocks; deleted rows have empty ones."""
    start = 0
    for block in segment.values.blocks(_ENCODED):
        live = [True] * len(block) if segment.live is None else segment.live[start : start + len(block)].tolist()
        computed = iter(vectors([passage for passage, is_live in zip(block, live, strict=True) if is_live]))
        yield [next(computed) if is_live else {} for is_live in live]
        start += len(block)


def add_indexes(
    memory: MemoryReader, indexes: Mapping[str, tuple[ApproximateIndex, dict[str, Any]] | None]
) -> Manifest:
    """Replace the approximate indexes of segments.

    Args:
        memory: the current version.
        indexes: segment name → its index with settings and figures; None for exact search. Other segments keep theirs.

    Raises:
        BusyError: another job is writing there, or has committed since the memory was opened.
    """
    with _changing(memory):
        segments = []
        for segment in memory.segments:
            described = segment.described
            if described.name not in indexes:
                segments.append(described)
                continue
            chosen = indexes[described.name]
            name, stored, report = "", None, None
            if chosen is not None:
                index, report = chosen
                name = layout.index_name(report)
                stored = versions.intact_file(memory.path, described.name, name)  # an earlier version may have it
                if stored is None:
                    with files.NewFile(fresh := segment.folder / f"{name}.new") as file:
                        index.write(file)
                    files.rename(fresh, segment.folder / name)
                    stored = files.describe(segment.folder / name)
            kept = described.with_file(name, stored, described.file("index"))
            segments.append(replace(described, files=kept, index=report))
        number, job = memory.manifest.commit + 1, {"name": "rebuild-index"}
        return versions.publish(memory.path, replace(memory.manifest, segments=tuple(segments), commit=number, job=job))


@contextmanager
def _changing(memory: MemoryReader) -> Iterator[None]:
    """Hold the writer lock on a memory whose current version is still the one that was opened."""
    with versions.writing(memory.path):
        if read_manifest(memory.path) != memory.manifest:
            raise BusyError(f"Another job has committed to {memory.path} in the meantime; start this one again.")
        yield
