"""Adds sources to an existing memory, or updates them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from indexing.engines.base import Engine
from indexing.job_log import JobLog
from indexing.jobs.build_memory import (
    BuildReport,
    PassageStream,
    require_same_way,
    store,
    without_pictures,
)
from indexing.jobs.known_entries import KnownEntries
from indexing.sources.file_of_source import file_of_source, in_files
from indexing.sources.find_files import SourceFile
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import SourceError
from memgpt_rag.memory import Memory, MemoryReader, MemoryWriter
from memgpt_rag.memory.changes import parts
from memgpt_rag.passage import Passage


def add_sources(
    files: Sequence[SourceFile],
    memory: Path,
    engine: Engine,
    *,
    options: ReadOptions = ReadOptions(),
    update: bool = False,
    dry_run: bool = False,
    log: JobLog | None = None,
) -> BuildReport:
    """Add the entries of files to a memory; entries from other sources are kept.

    Args:
        engine: engine with the memory's encoder, tokenizer and maximum length of passages.
        options: how to read the files, with the memory's metadata columns.
        update: delete entries from these files whose text is no longer in them.
        dry_run: count the changes without making them.
        log: log of the job.

    Raises:
        SourceError: a file cannot be read, or, without `update`, the memory holds an older text of it.
        MismatchError: the memory was built with other settings.
        BusyError: another job is writing there.
    """
    began = time.perf_counter()
    Memory.open(memory)  # raises for a wrong folder before anything is created there
    with MemoryWriter(memory) as writer:
        base = writer.base
        assert base is not None
        splitting = {**base.manifest.splitting, "max_tokens": engine.max_tokens}
        require_same_way(memory, base.manifest, engine.encoder, base.manifest.metric, splitting, options.metadata)
        names = {file.name for file in files}
        known, from_files = KnownEntries(base), in_files(names)
        replaced = np.array(without_pictures(base, base.rows(from_files).tolist(), files), np.int64)
        others = _passages(base, base.rows(~from_files))
        unchanged = 0
        if not update and len(replaced):
            there = {file_of_source(passage.source, names) for passage in _passages(base, replaced)}
            again = PassageStream(
                [file for file in files if file.name in there], engine, options, known=others, log=log, progress=False
            )
            same = {known.same(passage) for block in again for passage in block}
            if same != set(replaced.tolist()):
                raise SourceError(
                    f"{memory} holds another text of {', '.join(sorted(there))}; bring it up to date with: memgpt-index update"
                )
            files, unchanged = [file for file in files if file.name not in there], len(same)
            others, replaced = _passages(base, base.rows()), np.zeros(0, np.int64)
        stream = PassageStream(files, engine, options, known=others, log=log)
        if files:
            name = "update" if update else "add"
            gone = replaced.tolist()
            store(writer, stream, engine, known, splitting, name, gone, dry_run=dry_run)
    stream.report.kept += unchanged
    stream.report.seconds = time.perf_counter() - began
    return stream.report


def _passages(memory: MemoryReader, rows: Int[np.ndarray, " n"]) -> Iterator[Passage]:
    return (passage for part in parts(rows) for passage in memory.passages(part))
