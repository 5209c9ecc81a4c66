"""Writes a memory: values first, which numbers the rows, then one key per row, then the manifest.

A row is numbered in one place, its position in the values file; keys are computed from that file, read back in order.
Until `commit`, a memory that the folder already holds stays as it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.fingerprint import EncoderFingerprint, StatesFingerprint
from memgpt_rag.memory import format as disk
from memgpt_rag.memory.faiss_index import KeyIndex, first_not_unit
from memgpt_rag.memory.states import StatesShape, StatesWriter
from memgpt_rag.passage import Passage


class MemoryWriter:
    """A memory in the making, for use in a `with` block: what is not committed by its end is removed.

    Raises:
        MemoryFormatError: the folder holds a memory and `replace` is false, or it holds something else.
    """

    def __init__(self, memory: Path, *, metric: disk.Metric = "cosine", replace: bool = False):
        self.memory = memory
        self.metric: disk.Metric = metric
        self.entries = 0
        if memory.exists() and not memory.is_dir():
            raise MemoryFormatError(f"{memory} is a file; name a folder for the memory.")
        if (memory / disk.MANIFEST).exists():
            if not replace:
                raise MemoryFormatError(
                    f"{memory} already holds a memory; name another folder, or replace it with --replace."
                )
        elif memory.exists() and any(child.name != disk.SEGMENTS for child in memory.iterdir()):
            raise MemoryFormatError(f"{memory} holds files that are no memory; name a new or an empty folder.")
        self._missing_folders = [folder for folder in (memory, *memory.parents) if not folder.exists()]
        taken = [int(child.name) for child in (memory / disk.SEGMENTS).glob("[0-9]*") if child.name.isdigit()]
        self._segment = f"{max(taken, default=0) + 1:06d}"
        self._folder = disk.segment_dir(memory, self._segment)
        self._values: pa.ipc.RecordBatchFileWriter | None = None
        self._index: KeyIndex | None = None
        self._committed = False

    def __enter__(self) -> MemoryWriter:
        self._folder.mkdir(parents=True)
        self._values = pa.ipc.new_file(self._folder / disk.VALUES, disk.VALUES_SCHEMA)
        return self

    def add_values(self, passages: Sequence[Passage]) -> None:
        """Append entries; the n-th value ever added is row n.

        Raises:
            ValueError: rows have been read back already, so that their number is settled.
        """
        if self._values is None:
            raise ValueError("The values are complete: their rows have been read back to be embedded.")
        self._values.write_batch(pa.RecordBatch.from_pylist([asdict(p) for p in passages], disk.VALUES_SCHEMA))
        self.entries += len(passages)

    def value_blocks(self, block: int) -> Iterator[list[Passage]]:
        """All entries in row order, at most `block` at a time. No value can be added afterwards."""
        if self._values is not None:
            self._values.close()
            self._values = None
        with pa.memory_map(str(self._folder / disk.VALUES)) as source:
            yield from passage_blocks(pa.ipc.open_file(source), block)

    def add_keys(self, keys: Float[np.ndarray, "n dimension"]) -> None:
        """Append the keys of the next rows.

        Raises:
            ValueError: a key is not finite, or not of unit length in a cosine memory.
        """
        first = 0 if self._index is None else len(self._index)
        if not np.isfinite(keys).all():
            row = first + int(np.flatnonzero(~np.isfinite(keys).all(axis=1))[0])
            raise ValueError(f"The key of row {row} holds NaN or infinity; the encoder failed on that passage.")
        if self.metric == "cosine" and (wrong := first_not_unit(keys)) is not None:
            raise ValueError(
                f"The key of row {first + wrong} has length {np.linalg.norm(keys[wrong]):.4g}; a cosine memory takes vectors of length 1."
            )
        if self._index is None:
            self._index = KeyIndex.new(keys.shape[1], self.metric)
        self._index.add(keys)

    def commit(
        self, encoder: EncoderFingerprint, *, splitting: dict[str, Any], sources: dict[str, int]
    ) -> disk.Manifest:
        """Make the memory visible, replacing the one that was there.

        Raises:
            ValueError: there are more values than keys, or fewer.
        """
        keys = 0 if self._index is None else len(self._index)
        if self._index is None or keys != self.entries:
            raise ValueError(f"{self.entries} values have {keys} keys; every value needs exactly one key.")
        self._index.write(self._folder / disk.KEYS)
        for name in (disk.KEYS, disk.VALUES):
            with (self._folder / name).open("rb") as file:
                os.fsync(file.fileno())
        disk.sync_dir(self._folder)
        disk.sync_dir(self._folder.parent)
        files = {name: disk.describe_file(self._folder / name) for name in (disk.KEYS, disk.VALUES)}
        segment = disk.Segment(self._segment, self.entries, files)
        manifest = disk.Manifest(self.metric, self.entries, encoder, splitting, sources, (segment,))
        disk.write_manifest(self.memory, manifest)
        self._committed = True
        return manifest

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._values is not None:
            self._values.close()
        if self._committed:
            for child in self._folder.parent.iterdir():
                if child.name != self._segment:
                    shutil.rmtree(child)
            return
        shutil.rmtree(self._folder)
        for folder in (self._folder.parent, *self._missing_folders):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def add_states(
    memory: Path, fingerprint: StatesFingerprint, lengths: Sequence[int], states: Iterable[np.ndarray]
) -> None:
    """Give a memory the states of its entries, in place of those that it had; without a commit it stays as it was.

    Args:
        lengths: tokens of each entry, in row order.
        states: of each entry in row order, [tokens, layers, 2, kv_heads, head_dim] in fp32.

    Raises:
        ValueError: entries and states do not pair.
    """
    manifest = disk.read_manifest(memory)
    (segment,) = manifest.segments
    if len(lengths) != segment.entries:
        raise ValueError(f"{len(lengths)} entries have states and {segment.entries} have keys; every entry needs both.")
    folder, name = disk.segment_dir(memory, segment.name), disk.states_name(fingerprint)
    fresh = folder / f"{name}.new"
    try:
        with StatesWriter(fresh, StatesShape.of(fingerprint), lengths) as writer:
            for of_entry in states:
                writer.add(of_entry)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    fresh.replace(folder / name)
    disk.sync_dir(folder)
    files = {kept: file for kept, file in segment.files.items() if kept != segment.states}
    files[name] = disk.describe_file(folder / name)
    disk.write_manifest(memory, replace(manifest, segments=(replace(segment, files=files),), states=fingerprint))
    if segment.states not in (None, name):
        (folder / str(segment.states)).unlink(missing_ok=True)


def passage_blocks(values: pa.ipc.RecordBatchFileReader, block: int) -> Iterator[list[Passage]]:
    """Entries of a values file in row order, `block` at a time."""
    for number in range(values.num_record_batches):
        batch = values.get_batch(number)
        for start in range(0, batch.num_rows, block):
            yield [Passage(**row) for row in batch.slice(start, block).to_pylist()]
