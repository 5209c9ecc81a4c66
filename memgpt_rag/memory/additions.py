"""What entries that are there are given afterwards: states, words, indexes. Each is a version of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from memgpt_rag.errors import BusyError
from memgpt_rag.fingerprint import StatesFingerprint
from memgpt_rag.memory import versions
from memgpt_rag.memory.dense.faiss_index import ApproximateIndex
from memgpt_rag.memory.lexical.analysis import ANALYSIS
from memgpt_rag.memory.lexical.postings import write_lexical_index
from memgpt_rag.memory.reader import MemoryReader
from memgpt_rag.memory.storage import files, layout
from memgpt_rag.memory.storage.states import Codes, StatesShape, StatesWriter, encode

_BLOCK = 1024


def add_states(
    memory: MemoryReader,
    fingerprint: StatesFingerprint,
    lengths: Callable[[Sequence[int]], Sequence[int]],
    states: Callable[[Sequence[int]], Iterable[Codes]],
) -> layout.Manifest:
    """Give a memory the states of its entries. Segments that have those of this fingerprint keep them.

    Args:
        memory: as it is now; states computed from one version are not committed to another.
        lengths: tells the tokens of the entries in the rows given.
        states: gives the states of the entries in the rows given, as `memgpt_rag.memory.storage.states.encode` does.

    Raises:
        ValueError: entries and states do not pair.
        BusyError: another job is writing there, or has committed since the memory was opened.
    """
    with _changing(memory):
        shape, segments, start = StatesShape.of(fingerprint), [], 0
        for segment in memory.segments:
            described = segment.described
            if memory.manifest.states != fingerprint or described.file("states") is None:
                name = layout.states_name(fingerprint, described.file("deleted"))
                if not (segment.folder / name).exists():  # else an earlier version has it
                    live = np.arange(len(segment)) if segment.live is None else np.flatnonzero(segment.live)
                    rows, of_rows = (start + live).tolist(), np.zeros(len(segment), np.int64)
                    of_rows[live] = lengths(rows)
                    with StatesWriter(segment.folder / name, shape, of_rows.tolist()) as writer:
                        computed = iter(states(rows))
                        for length in of_rows:
                            writer.add_codes(*(next(computed) if length else encode(shape.none(), shape.dtype)))
                    files.sync_folder(segment.folder)
                stored = files.describe(segment.folder / name)
                described = replace(described, files=described.with_file(name, stored, described.file("states")))
            segments.append(described)
            start += len(segment)
        number, job = memory.manifest.commit + 1, {"name": "states"}
        manifest = replace(memory.manifest, segments=tuple(segments), states=fingerprint, commit=number, job=job)
        return versions.publish(memory.path, manifest)


def add_lexical_index(memory: MemoryReader) -> layout.Manifest:
    """Let a memory be searched by words as well; what is added to it later is, too.

    Args:
        memory: as it is now.

    Raises:
        BusyError: another job is writing there, or has committed since the memory was opened.
    """
    with _changing(memory):
        segments, name = [], layout.words_name(ANALYSIS)
        for segment in memory.segments:
            described = segment.described
            if described.file("words") != name:
                # Where an earlier version has the file, the same bytes take its place: that is quick, and sure.
                fresh = segment.folder / f"{name}.new"
                stored = write_lexical_index(fresh, segment.values.blocks(_BLOCK))
                files.rename(fresh, segment.folder / name)
                described = replace(described, files=described.with_file(name, stored, described.file("words")))
            segments.append(described)
        number, job = memory.manifest.commit + 1, {"name": "words"}
        manifest = replace(memory.manifest, segments=tuple(segments), words=ANALYSIS, commit=number, job=job)
        return versions.publish(memory.path, manifest)


def add_indexes(
    memory: MemoryReader, indexes: Mapping[str, tuple[ApproximateIndex, dict[str, Any]] | None]
) -> layout.Manifest:
    """Give segments their indexes, in place of those that they had.

    Args:
        memory: as it is now.
        indexes: by the name of the segment, its index with settings and figures; None for exact search. Others stay.

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
                if not (segment.folder / name).exists():  # else an earlier version has it
                    with files.NewFile(segment.folder / name) as file:
                        index.write(file)
                    files.sync_folder(segment.folder)
                stored = files.describe(segment.folder / name)
            kept = described.with_file(name, stored, described.file("index"))
            segments.append(replace(described, files=kept, index=report))
        number, job = memory.manifest.commit + 1, {"name": "rebuild-index"}
        return versions.publish(memory.path, replace(memory.manifest, segments=tuple(segments), commit=number, job=job))


@contextmanager
def _changing(memory: MemoryReader) -> Iterator[None]:
    """Hold the right to write, to a memory that is still what was opened."""
    with versions.writing(memory.path):
        if layout.read_manifest(memory.path) != memory.manifest:
            raise BusyError(f"Another job has committed to {memory.path} in the meantime; start this one again.")
        yield
