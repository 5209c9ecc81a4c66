"""Plans a job: what it reads, and the size of its memory, by running all of it except the embedding. Times are in
`indexing.planning.forecast`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from indexing.jobs.build_memory import BuildReport, PassageStream
from indexing.sources.file_of_source import file_of_source
from indexing.sources.find_files import SourceFile
from memgpt_rag.io.printable import printable
from memgpt_rag.memory.storage.layout import values_schema
from memgpt_rag.memory.storage.values import to_row
from memgpt_rag.passage import Passage

_BYTES_PER_NUMBER = 4
# Number of sampled passages: enough to estimate a rate, few enough to be quick.
_SAMPLE = 96


@dataclass(frozen=True)
class Plan:
    """Sizes of a memory that has not been built; exact but for the manifest and a few bytes of headers.

    Attributes:
        entries_by_file: file name → number of entries.
        sample: evenly spaced sample of the passages.
        reading_seconds: seconds of reading, splitting and deduplication.
    """

    report: BuildReport
    entries_by_file: dict[str, int]
    keys_bytes: int
    values_bytes: int
    sample: list[Passage]
    reading_seconds: float


def plan_memory(stream: PassageStream, *, dimension: int, metadata: dict[str, str] | None = None) -> Plan:
    """Plan a job by reading its passages without embedding them; raises SourceError as the job itself would."""
    began, entries_by_file = time.perf_counter(), Counter[str]()
    sink, sample, every = pa.MockOutputStream(), list[Passage](), 1
    schema = values_schema(metadata or {})
    with pa.ipc.new_file(sink, schema) as values:
        for block in stream:
            entries_by_file.update(passage.source for passage in block)
            sample += block[:: max(1, every)]
            if len(sample) > 4 * _SAMPLE:
                sample, every = sample[::2], 2 * every
            values.write_batch(pa.RecordBatch.from_pylist([to_row(passage) for passage in block], schema))
    sample = sample[:: -(-len(sample) // _SAMPLE)]
    keys_bytes = stream.report.entries * dimension * _BYTES_PER_NUMBER
    return Plan(stream.report, dict(entries_by_file), keys_bytes, sink.size(), sample, time.perf_counter() - began)


def table(plan: Plan, files: Iterable[SourceFile]) -> str:
    """Render a table of the files: format, size, entries, name."""
    lines = [f"{'format':<13}{'size':>10}{'entries':>9}  file"]
    files = list(files)
    names, entries = {file.name for file in files}, Counter[str]()
    for source, count in plan.entries_by_file.items():
        entries[file_of_source(source, names)] += count
    for file in files:
        lines.append(
            f"{file.format.replace('_', ' '):<13}{size(file.bytes):>10}{entries[file.name]:>9,}  {printable(file.name)}"
        )
    return "\n".join(lines)


def size(count: float) -> str:
    """Format a number of bytes, such as 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
