"""What a job would read and how large its memory would get, found by doing all of it but the embedding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa

from indexing.build_memory import BuildReport, PassageStream
from indexing.read_documents import SourceFile
from memgpt_rag.memory.format import VALUES_SCHEMA

_BYTES_PER_NUMBER = 4


@dataclass(frozen=True)
class Plan:
    """Sizes of a memory that has not been built; exact but for the manifest and a few bytes of headers."""

    report: BuildReport
    entries_of: dict[str, int]
    keys_bytes: int
    values_bytes: int


def plan_memory(stream: PassageStream, *, dimension: int) -> Plan:
    """Raises SourceError as the job itself would."""
    entries_of: Counter[str] = Counter()
    sink = pa.MockOutputStream()
    with pa.ipc.new_file(sink, VALUES_SCHEMA) as values:
        for block in stream:
            entries_of.update(passage.source for passage in block)
            values.write_batch(pa.RecordBatch.from_pylist([asdict(passage) for passage in block], VALUES_SCHEMA))
    return Plan(stream.report, dict(entries_of), stream.report.entries * dimension * _BYTES_PER_NUMBER, sink.size())


def table(plan: Plan, files: Iterable[SourceFile]) -> str:
    """One line a file: format, size, entries, name."""
    lines = [f"{'format':<9}{'size':>10}{'entries':>9}  file"]
    for file in files:
        lines.append(f"{file.format:<9}{size(file.bytes):>10}{plan.entries_of.get(file.name, 0):>9,}  {file.name}")
    return "\n".join(lines)


def size(count: float) -> str:
    """Bytes for people: 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
