"""The build job: read → clean → split → drop duplicates → number → encode → commit.

If the folder holds a memory, the passages are compared with its entries: unchanged entries are kept, missing ones are
deleted, and only new texts are embedded. A stopped job is resumed with the keys in its journal.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from indexing.engines.base import Engine
from indexing.job_log import JobLog, Reject
from indexing.jobs.encode_passages import encode_values
from indexing.jobs.known_entries import KnownEntries
from indexing.passages.drop_duplicates import DuplicateFilter
from indexing.sources.document import Note
from indexing.sources.file_of_source import in_files
from indexing.sources.find_files import SourceFile
from indexing.sources.read_options import ReadOptions
from memgpt_rag.choices import Metric
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.errors import MismatchError, SourceError
from memgpt_rag.io.console import progress_bar
from memgpt_rag.io.printable import counted
from memgpt_rag.memory import Manifest, MemoryReader, MemoryWriter
from memgpt_rag.passage import Passage

_BLOCK = 1024
_NO_TEXT = "holds no text"


@dataclass
class BuildReport:
    """The counts of a job: what it read, dropped and stored.

    Attributes:
        entries: number of passages without duplicates.
        added, kept, deleted: numbers of new, unchanged and deleted entries.
        embedded: number of texts that were embedded.
        rejected: number of records and files that could not be read.
        notes: what was left out of files, and why.
        commit: number of the version; None if nothing changed.
    """

    files: int = 0
    documents: int = 0
    passages: int = 0
    exact_duplicates: int = 0
    near_duplicates: int = 0
    entries: int = 0
    added: int = 0
    kept: int = 0
    deleted: int = 0
    embedded: int = 0
    rejected: int = 0
    notes: list[Note] = field(default_factory=list)
    commit: int | None = None
    seconds: float = 0.0

    def counts(self) -> dict[str, int]:
        """Return the counts that are stored in the manifest."""
        names = "documents", "passages", "exact_duplicates", "near_duplicates", "added", "kept", "deleted"
        return {name: getattr(self, name) for name in names}

    def sentence(self) -> str:
        """Return a sentence on what was read and dropped."""
        return (
            f"read {counted(self.files, 'file')}: {counted(self.documents, 'document')}, {counted(self.passages, 'passage')}; dropped "
            f"{self.exact_duplicates:,} exact and {self.near_duplicates:,} near duplicates; {counted(self.entries, 'entry', 'entries')}"
        )

    def changes(self) -> str:
        """Return a sentence on the changes of the memory."""
        version = "nothing to commit" if self.commit is None else f"version {self.commit}"
        return (
            f"{self.added:,} added, {self.kept:,} kept, {self.deleted:,} deleted, {self.embedded:,} embedded; {version}"
        )


class PassageStream:
    """Yields the passages of the files in blocks without duplicates; its report is complete when the iteration ends.

    Args:
        known: passages of the memory that are kept; duplicates of them are dropped, too.
        log: log of what is read; if it collects rejects, they do not stop the job.
        progress: show a progress bar; None for the log's setting.
    """

    def __init__(
        self,
        files: Sequence[SourceFile],
        engine: Engine,
        options: ReadOptions,
        *,
        known: Iterable[Passage] = (),
        log: JobLog | None = None,
        progress: bool | None = None,
    ):
        self.report, self.log = BuildReport(files=len(files)), log or JobLog("none")
        self.shows_progress = self.log.shows_progress if progress is None else progress
        self._on_reject = options.on_reject
        if self.log.keeps_rejects or options.on_reject is not None:
            options = dataclasses.replace(options, on_reject=self._reject)
        self._on_note = options.on_note
        self.files, self.engine = files, engine
        self._options = dataclasses.replace(options, on_note=self._note)
        self._known = known
        self._remarked = set[str]()  # sources of notes and rejects of the present file

    def __iter__(self) -> Iterator[list[Passage]]:
        """Yield blocks of new passages; raises SourceError if a file cannot be read, or no file contains text."""
        passages = self._passages()
        while block := list(islice(passages, _BLOCK)):
            yield block

    def _passages(self) -> Iterator[Passage]:
        report, duplicates = self.report, DuplicateFilter(self._known)
        total = sum(file.bytes for file in self.files)
        with progress_bar(total=total, desc="reading", unit="B", unit_scale=True, shown=self.shows_progress) as bar:
            finished = files = passages = 0  # bytes, files and passages when the present file began

            def on_progress(done: float) -> None:
                bar.update(finished + int(done * self.files[files].bytes) - bar.n)

            def on_file(file: SourceFile) -> None:
                nonlocal finished, files, passages
                finished, files = finished + file.bytes, files + 1
                bar.update(finished - bar.n)
                if report.passages == passages and file.name not in self._remarked:
                    self._note(Note(file.name, _NO_TEXT))
                passages = report.passages
                self._remarked.clear()
                self.log.event("read", file=file.name, bytes=file.bytes)
                self.log.count("files_read")

            options = dataclasses.replace(self._options, on_progress=on_progress)
            for document_passages in self.engine.passages(self.files, options, on_file):
                report.documents += 1
                for passage in document_passages:
                    report.passages += 1
                    if duplicates.is_new(passage):
                        report.entries += 1
                        yield passage
        report.exact_duplicates, report.near_duplicates = duplicates.counts.exact, duplicates.counts.near
        self.log.count("passages_read", report.passages)
        if not report.passages:
            raise SourceError(_without_text([file.name for file in self.files], report.notes))

    def _note(self, note: Note) -> None:
        self._remarked.add(note.source)
        self.report.notes.append(note)
        self.log.event("note", file=note.source, note=note.text)
        self._on_note(note)

    def _reject(self, reject: Reject) -> None:
        self._remarked.add(reject.source)
        self.report.rejected += 1
        if self._on_reject is not None:
            self._on_reject(reject)
        self.log.reject(reject)


def _without_text(names: Sequence[str], notes: Sequence[Note]) -> str:
    """Return the sentence about sources that hold no text, with the first notes on what was left out of them."""
    clauses = list(dict.fromkeys(note.text for note in notes if note.text != _NO_TEXT))
    why = f" ({'; '.join(clauses[:3])})" if clauses else ""
    if len(names) == 1:
        return f"{names[0]} holds no text{why}; name a source that does."
    return f"None of the {len(names):,} files holds any text{why}; name sources that do."


@dataclass(frozen=True)
class NewMemory:
    """What a new memory is like; one that the folder holds keeps what it has.

    Attributes:
        metric: metric of its search.
        lexical: whether it has a lexical index (BM25).
        replace: replace the memory in the folder by a new one, and embed everything again.
    """

    metric: Metric = "cosine"
    lexical: bool = False
    replace: bool = False


def build_memory(
    files: Sequence[SourceFile],
    memory: Path,
    engine: Engine,
    *,
    tokenizer_name: str,
    options: ReadOptions = ReadOptions(),
    new: NewMemory = NewMemory(),
    log: JobLog | None = None,
) -> BuildReport:
    """Build the memory of these files in a folder, atomically: on an error, the folder is unchanged.

    Args:
        engine: reads, splits and embeds; the result is the same for every engine.
        new: what a new memory is like.
        log: log of the job.

    Raises:
        SourceError: a file cannot be read, or no file contains text.
        MismatchError: the existing memory was built with other settings.
        MemoryFormatError: the folder contains other files, which would be overwritten.
        BusyError: another job is writing there.
    """
    began = time.perf_counter()
    splitting = {"tokenizer": tokenizer_name, "max_tokens": engine.max_tokens}
    with MemoryWriter(
        memory, metric=new.metric, metadata=options.metadata, replace=new.replace, lexical=new.lexical
    ) as writer:
        known = None
        if writer.base is not None:
            require_same_way(memory, writer.base.manifest, engine.encoder, new.metric, splitting, options.metadata)
            known = KnownEntries(writer.base)
        stream = PassageStream(files, engine, options, log=log)
        gone = () if writer.base is None or known is None else without_pictures(writer.base, known.rows, files)
        store(writer, stream, engine, known, splitting, "build", gone)
    stream.report.seconds = time.perf_counter() - began
    return stream.report


def store(
    writer: MemoryWriter,
    stream: PassageStream,
    engine: Engine,
    known: KnownEntries | None,
    splitting: dict[str, Any],
    name: str,
    instead_of: Iterable[int],
    *,
    dry_run: bool = False,
) -> None:
    """Write the passages of a stream to a memory, and commit if they change it.

    Args:
        known: entries of the current version.
        name: name of the job.
        instead_of: rows that are deleted unless a passage of the stream is the same entry.
        dry_run: count only.
    """
    report = stream.report
    kept: set[int] = set()
    for block in stream:
        rows = [None if known is None else known.same(passage) for passage in block]
        kept.update(row for row in rows if row is not None)
        fresh = [passage for passage, row in zip(block, rows, strict=True) if row is None]
        if fresh:
            writer.add_values(fresh)
    gone = sorted(set(instead_of) - kept)
    report.added, report.kept, report.deleted = writer.entries, len(kept), len(gone)
    if dry_run or not (writer.entries or gone):
        return
    with progress_bar(total=writer.entries, desc="embedding", unit=" entries", shown=stream.shows_progress) as bar:

        def on_block(entries: int) -> None:
            bar.update(entries)
            stream.log.count("entries_embedded", entries)

        report.embedded = encode_values(writer, engine, known, on_block=on_block)
    writer.delete(np.asarray(gone, dtype=np.int64))
    fingerprint = engine.encoder.fingerprint if writer.base is None else writer.base.manifest.encoder
    report.commit = writer.commit(fingerprint, splitting=splitting, job={"name": name, **report.counts()}).commit
    stream.log.event("committed", version=report.commit, **report.counts())


def without_pictures(memory: MemoryReader, rows: Iterable[int], files: Sequence[SourceFile]) -> list[int]:
    """Return the rows but those with pictures of these files, which only the job that reads pictures brings up to date."""
    if not memory.manifest.has_pictures:
        return list(rows)
    here = set(memory.rows(in_files({file.name for file in files})).tolist())
    return [row for row in rows if row not in here or not memory.has_picture(row)]


def require_same_way(
    memory: Path,
    manifest: Manifest,
    encoder: Encoder,
    metric: Metric,
    splitting: dict[str, Any],
    metadata: dict[str, str],
) -> None:
    """Check that a memory was built with the same encoder and settings; raises MismatchError if not."""
    manifest.encoder.require_match(
        encoder.fingerprint,
        "this job embeds",
        "Use the encoder that embedded it, or build the memory anew with --replace.",
    )
    pairs: list[tuple[str, Any, Any]] = [
        ("metric", manifest.metric, metric),
        ("metadata", manifest.metadata, metadata),
        ("backend", manifest.encoder.backend, encoder.backend),
        ("precision", manifest.encoder.precision, encoder.precision),
    ]
    pairs += [(what, manifest.splitting.get(what), splitting[what]) for what in splitting]
    differs = [f"{what} {was!r} against {now!r}" for what, was, now in pairs if was != now]
    if differs:
        raise MismatchError(
            f"{memory} was built in another way: {'; '.join(differs)}. Build it in the same way, or all anew with --replace."
        )
