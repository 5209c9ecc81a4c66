"""The whole job: read → clean → split → drop duplicates → number → encode → commit."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from indexing.drop_duplicates import DuplicateFilter
from indexing.encode_passages import encode_values
from indexing.read_documents import ReadOptions, SourceFile, read_documents
from indexing.split_passages import PassageSplitter
from memgpt_rag.encoder import Encoder
from memgpt_rag.errors import SourceError
from memgpt_rag.memory import MemoryWriter, Metric
from memgpt_rag.passage import Passage

_BLOCK = 1024


@dataclass
class BuildReport:
    """What a job read, dropped and stored."""

    files: int = 0
    documents: int = 0
    passages: int = 0
    exact_duplicates: int = 0
    near_duplicates: int = 0
    entries: int = 0
    seconds: float = 0.0

    def counts(self) -> dict[str, int]:
        return {
            "documents": self.documents,
            "passages": self.passages,
            "exact_duplicates": self.exact_duplicates,
            "near_duplicates": self.near_duplicates,
        }

    def sentence(self) -> str:
        return (
            f"read {self.files:,} {'file' if self.files == 1 else 'files'}: {self.documents:,} documents, {self.passages:,} passages; dropped "
            f"{self.exact_duplicates:,} exact and {self.near_duplicates:,} near duplicates; {self.entries:,} entries"
        )


class PassageStream:
    """Passages of the files in blocks, each passage new, and a report that is complete when they have all been taken."""

    def __init__(
        self, files: Sequence[SourceFile], splitter: PassageSplitter, options: ReadOptions, *, progress: bool = False
    ):
        self.report = BuildReport(files=len(files))
        self._files, self._splitter, self._options, self._progress = files, splitter, options, progress

    def __iter__(self) -> Iterator[list[Passage]]:
        """Raises SourceError: a file cannot be read, or no file holds any text."""
        passages = self._passages()
        while block := list(islice(passages, _BLOCK)):
            yield block

    def _passages(self) -> Iterator[Passage]:
        report, duplicates = self.report, DuplicateFilter()
        total = sum(file.bytes for file in self._files)
        with tqdm(
            total=total, desc="reading", unit="B", unit_scale=True, disable=None if self._progress else True
        ) as bar:
            for document in read_documents(self._files, self._options, on_file=lambda file: bar.update(file.bytes)):
                report.documents += 1
                for passage in self._splitter.split(document):
                    report.passages += 1
                    if duplicates.is_new(passage):
                        report.entries += 1
                        yield passage
        report.exact_duplicates, report.near_duplicates = duplicates.counts.exact, duplicates.counts.near
        if not report.passages:
            raise SourceError(f"None of the {report.files} files holds any text; name sources that do.")


def build_memory(
    files: Sequence[SourceFile],
    memory: Path,
    *,
    encoder: Encoder,
    splitter: PassageSplitter,
    tokenizer_name: str,
    options: ReadOptions = ReadOptions(),
    metric: Metric = "cosine",
    replace: bool = False,
    progress: bool = False,
) -> BuildReport:
    """Build a memory from files; the folder holds the whole of it afterwards, or what it held before.

    Raises:
        SourceError: a file cannot be read, or there is no text.
        MemoryFormatError: the folder holds something that would be overwritten.
    """
    began = time.perf_counter()
    with MemoryWriter(memory, metric=metric, replace=replace) as writer:
        stream = PassageStream(files, splitter, options, progress=progress)
        for block in stream:
            writer.add_values(block)
        with tqdm(total=writer.entries, desc="embedding", unit=" entries", disable=None if progress else True) as bar:
            encode_values(writer, encoder, on_block=bar.update)
        report = stream.report
        splitting = {"tokenizer": tokenizer_name, "max_tokens": splitter.max_tokens}
        writer.commit(encoder.fingerprint, splitting=splitting, sources=report.counts())
    report.seconds = time.perf_counter() - began
    return report
