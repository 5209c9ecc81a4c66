"""Writes the next version of a memory: values first, which define the rows, then one key per row, then the manifest.

A row's number is its position in the values file; keys are computed from that file, read back in order.
Until `commit`, readers see the version that the folder already holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.fingerprint import EncoderFingerprint, SparseFingerprint, StatesFingerprint
from memgpt_rag.memory import versions
from memgpt_rag.memory.lexical.analysis import ANALYSIS, require_analysis
from memgpt_rag.memory.lexical.postings import write_lexical_index
from memgpt_rag.memory.reader import MemoryReader
from memgpt_rag.memory.sparse import store_sparse_vectors
from memgpt_rag.memory.storage import files, layout
from memgpt_rag.memory.storage.journal import Journal
from memgpt_rag.memory.storage.keys import KeysWriter
from memgpt_rag.memory.storage.manifest import Manifest, Segment, read_manifest
from memgpt_rag.memory.storage.pictures import PicturesWriter
from memgpt_rag.memory.storage.states import StatesShape, StatesWriter
from memgpt_rag.memory.storage.values import StoredValues, ValuesWriter
from memgpt_rag.passage import Passage

_BLOCK = 1024
_TRIES = 20


class MemoryWriter:
    """Writes the next version of a memory, for use in a `with` block: without a commit, its files are removed at the end.

    New entries become a segment of their own; entries of the current version are kept unless they are deleted.

    Args:
        metric: metric of a new memory; an existing memory keeps its own.
        metadata: metadata columns of a new memory, likewise.
        replace: start from an empty memory; the versions in the folder are removed when this one commits.
        lexical: give a new memory a lexical index; an existing memory keeps its own, or none.

    Attributes:
        base: the current version, opened; None where there is none, or it is to be replaced.

    Raises:
        MemoryFormatError: the folder holds something that is no memory.
        BusyError: another job is writing there.
    """

    def __init__(
        self,
        memory: Path,
        *,
        metric: layout.Metric = "cosine",
        metadata: dict[str, str] | None = None,
        replace: bool = False,
        lexical: bool = False,
    ):
        if memory.exists() and not memory.is_dir():
            raise MemoryFormatError(f"{memory} is a file; name a folder for the memory.")
        is_memory = not memory.exists() or (memory / layout.MANIFEST).exists()
        if not is_memory and any(not layout.is_known(child.name) for child in memory.iterdir()):
            raise MemoryFormatError(f"{memory} holds files that are no memory; name a new or an empty folder.")
        self.memory, self._replace = memory, replace
        self.base: MemoryReader | None = None
        self.metric, self.metadata, self._lexical = metric, metadata or {}, lexical
        self._missing_folders = [folder for folder in (memory, *memory.parents) if not folder.exists()]
        self._held = ExitStack()
        self._values: ValuesWriter | None = None
        self._keys: KeysWriter | None = None
        self._pictures: PicturesWriter | None = None
        self._described: dict[str, files.StoredFile] = {}
        self._states: StatesFingerprint | None = None
        self._sparse: SparseFingerprint | None = None
        self._journal: Journal | None = None
        self._deleted: list[Int[np.ndarray, " n"]] = []
        self.entries = 0
        self._committed = False

    def __enter__(self) -> MemoryWriter:
        self._hold()  # if this fails, everything in the folder belongs to another job
        try:
            exists = (self.memory / layout.MANIFEST).exists()
            self._number = read_manifest(self.memory).commit + 1 if exists else 1
            if exists and not self._replace:
                self.base = MemoryReader.open(self.memory)
                self.metric, self.metadata = self.base.manifest.metric, self.base.manifest.metadata
            taken = [int(child.name) for child in (self.memory / layout.SEGMENTS).glob("*") if child.name.isdigit()]
            self._segment = f"{max(taken, default=0) + 1:06d}"
            self._folder = layout.segment_dir(self.memory, self._segment)
            self._schema = layout.values_schema(self.metadata)
        except BaseException:
            self._release()
            raise
        return self

    def _hold(self) -> None:
        """Take the writer lock. A failed job may remove the folder in between; then it is created again."""
        for attempt in range(_TRIES):
            files.make_folder(self.memory)
            try:
                self._held.enter_context(versions.writing(self.memory))
                return
            except FileNotFoundError:
                if attempt == _TRIES - 1:
                    raise

    def add_values(self, passages: Sequence[Passage], pictures: Sequence[bytes | None] | None = None) -> None:
        """Append entries; the n-th value ever added is row n of the new segment.

        Args:
            pictures: of each entry, PNG or JPEG files, None where it has none; None for no pictures.

        Raises:
            ValueError: rows have been read back already, so that no more can be added, metadata does not fit, or a picture is none.
        """
        if self._described:
            raise ValueError("The values are complete: their rows have been read back to be embedded.")
        if self._values is None:
            files.make_folder(self._folder)
            self._values = ValuesWriter(self._folder / layout.VALUES, self._schema)
        self._values.add(passages)
        self._add_pictures([None] * len(passages) if pictures is None else pictures, len(passages))
        self.entries += len(passages)

    def _add_pictures(self, pictures: Sequence[bytes | None], entries: int) -> None:
        """Append the picture of each new entry; the file begins with the first entry that has one."""
        if len(pictures) != entries:
            raise ValueError(f"{entries} entries have {len(pictures)} pictures; give one for each, or None.")
        if self._pictures is None and any(picture is not None for picture in pictures):
            self._pictures = PicturesWriter(self._folder / layout.PICTURES)
            self._pictures.add([None] * self.entries)
        if self._pictures is not None:
            self._pictures.add(pictures)

    def value_blocks(self, block: int) -> Iterator[list[Passage]]:
        """Yield all new entries in row order, in blocks of at most `block`. No value can be added afterwards."""
        if self._values is None:
            return
        self._described[layout.VALUES] = self._values.close()
        yield from StoredValues.open(self._folder / layout.VALUES, self._schema, self.entries).blocks(block)

    def journal(self, encoder: EncoderFingerprint) -> Journal:
        """Return the journal, with the keys that an earlier run of this job computed before it was stopped."""
        self._journal = Journal(self.memory, encoder)
        return self._journal

    def add_keys(self, keys: Float[np.ndarray, "n dimension"]) -> None:
        """Append the keys of the next new rows.

        Raises:
            ValueError: a key is not finite, or not of unit length in a cosine memory.
        """
        if self._keys is None:
            files.make_folder(self._folder)
            self._keys = KeysWriter(self._folder / layout.KEYS, self.entries, keys.shape[1], self.metric)
        self._keys.add(keys)

    def delete(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> None:
        """Mark rows of the current version as deleted. Their bytes are freed when the memory is compacted and versions expire."""
        self._deleted.append(np.asarray(rows, dtype=np.int64))

    def copy_states(self, rows: Int[np.ndarray, " n"]) -> None:
        """Copy the states of entries of the current version to the new entries, if all of them have states.

        Args:
            rows: rows of the current version, one for each new entry.
        """
        assert self.base is not None
        if not len(rows):  # the new segment has no folder
            return
        fingerprint, row_states = self.base.manifest.states, [self.base.states(int(row)) for row in rows]
        stored = [codes for codes in row_states if codes is not None]
        if fingerprint is None or len(stored) < len(row_states):
            return
        self._states, name = fingerprint, layout.states_name(fingerprint, None)
        lengths = [len(codes) for codes, _ in stored]
        with StatesWriter(self._folder / name, StatesShape.of(fingerprint), lengths) as writer:
            for codes in stored:
                writer.add_codes(*codes)
        self._described[name] = files.describe(self._folder / name)

    def copy_sparse_vectors(self, rows: Int[np.ndarray, " n"]) -> None:
        """Copy the sparse vectors of entries of the current version to the new entries, if all of them have some.

        Args:
            rows: rows of the current version, one for each new entry.
        """
        assert self.base is not None
        base, fingerprint = self.base, self.base.manifest.sparse
        if not len(rows) or fingerprint is None or base.manifest.entries_without("sparse"):
            return
        vectors = (base.sparse_vector(row) or {} for row in rows.tolist())
        name, stored = store_sparse_vectors(self._folder, iter(lambda: list(islice(vectors, _BLOCK)), []))
        self._described[name], self._sparse = stored, fingerprint

    def commit(
        self, encoder: EncoderFingerprint, *, splitting: dict[str, Any], job: dict[str, Any], compacted: bool = False
    ) -> Manifest:
        """Make the new version visible.

        Args:
            job: {"name": name of the job, and its counts}.
            compacted: the new segment replaces all segments of the current version.

        Raises:
            ValueError: the numbers of new values and keys differ.
        """
        keys = 0 if self._keys is None else self._keys.written
        if keys != self.entries:
            raise ValueError(f"{self.entries} values have {keys} keys; every value needs exactly one key.")
        states, sparse, words, segments = None, None, ANALYSIS if self._lexical else None, []
        if self.base is not None:
            states, words = self._states if compacted else self.base.manifest.states, self.base.manifest.words
            sparse = self._sparse if compacted else self.base.manifest.sparse
            segments = [] if compacted else self._with_deletions(self.base)
        if self._values is not None and self._keys is not None:
            self._described.setdefault(layout.VALUES, self._values.close())
            self._described[layout.KEYS] = self._keys.close()
            if self._pictures is not None:
                self._described[layout.PICTURES] = self._pictures.close()
            if words is not None:
                analysis, name = require_analysis(words, self.memory), layout.words_name(words)
                self._described[name] = write_lexical_index(self._folder / name, self.value_blocks(_BLOCK), analysis)
            files.sync_folder(self._folder)
            segments.append(Segment(self._segment, self.entries, self._described))
        manifest = Manifest(
            self.metric,
            encoder,
            splitting,
            job,
            tuple(segments),
            states,
            self.metadata,
            self._number,
            words=words,
            sparse=sparse,
        )
        manifest = versions.publish(self.memory, manifest)
        self._committed = True
        if self._replace:
            versions.forget(self.memory, self._number)
        return manifest

    def _with_deletions(self, base: MemoryReader) -> list[Segment]:
        """Return the segments of the current version with updated bitmaps of deleted rows; empty segments are dropped."""
        rows = np.unique(np.concatenate([np.zeros(0, np.int64), *self._deleted]))
        kept, start = [], 0
        for segment in base.segments:
            inside = rows[(rows >= start) & (rows < start + len(segment))] - start
            start += len(segment)
            described = segment.described
            if len(inside):
                deleted = np.zeros(len(segment), bool) if segment.live is None else ~segment.live
                deleted[inside] = True
                if deleted.all():
                    continue
                bits = np.packbits(deleted, bitorder="little").tobytes()
                name = layout.deleted_name(bits)
                # Where an earlier version has the file, the same bytes replace it.
                with files.NewFile(fresh := segment.folder / f"{name}.new") as file:
                    file.write(bits)
                files.rename(fresh, segment.folder / name)
                described = replace(
                    described,
                    files=described.with_file(name, file.described, described.file("deleted")),
                    deleted=int(deleted.sum()),
                )
            kept.append(described)
        return kept

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as ending:  # every step runs, the last one first, also if an earlier one fails on a full disk
            ending.callback(self._release)
            ending.callback(self._clear)
            for file in (self._keys, self._values, self._pictures):
                if file is not None:
                    ending.callback(file.close)

    def _clear(self) -> None:
        if not self._committed:
            versions.sweep(self.memory)
        elif self._journal is not None:
            files.remove(self._journal.path)  # a journal that this job did not use is kept for its own job

    def _release(self) -> None:
        """Remove the folder if it holds no memory, and then release the lock; after that, the folder may be another job's.

        Called by the holder of the lock only. Once the lock file is removed, another job may begin, so only empty folders
        are removed.
        """
        if not (self.memory / layout.MANIFEST).exists() and not (self.memory / layout.JOURNAL).exists():
            for name in (layout.SEGMENTS, layout.VERSIONS, layout.LOCK):
                files.remove(self.memory / name)
            for folder in self._missing_folders:
                files.remove_if_empty(folder)
        self._held.close()
