"""What a job would read, how large its memory would get and how long it would take: by doing all of it but the embedding,
and by measuring the rest on a few passages.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from indexing.build_memory import BuildReport, PassageStream
from indexing.choose_index import FAST_ENOUGH
from indexing.encode_passages import BLOCK
from indexing.find_files import SourceFile
from memgpt_rag.encoder import Encoder
from memgpt_rag.memory.faiss_index import exact_search, one_thread
from memgpt_rag.memory.format import values_schema
from memgpt_rag.memory.values import to_row
from memgpt_rag.passage import Passage

if TYPE_CHECKING:
    from memgpt_rag.model import MemoryDecoder

_BYTES_PER_NUMBER = 4
# Passages that are tried: enough to tell a rate, few enough to be quick.
_SAMPLE = 96
_SCANNED = 20_000


@dataclass(frozen=True)
class Plan:
    """Sizes of a memory that has not been built; exact but for the manifest and a few bytes of headers.

    Attributes:
        entries_of: entries of each file.
        sample: some of the passages, evenly spread.
        reading_seconds: what reading, splitting and dropping copies took.
    """

    report: BuildReport
    entries_of: dict[str, int]
    keys_bytes: int
    values_bytes: int
    sample: list[Passage]
    reading_seconds: float


@dataclass(frozen=True)
class Forecast:
    """What was measured on a few passages, for all of them.

    Attributes:
        embedding_seconds: to give every entry its key.
        search_milliseconds: of one exact search among all keys, on one thread.
        states: by preset, bytes on disk and seconds to compute them.
    """

    embedding_seconds: float
    search_milliseconds: float
    states: dict[str, tuple[float, float]]

    @property
    def index(self) -> str:
        """What "auto" will come to."""
        return "exact" if self.search_milliseconds <= FAST_ENOUGH else "approximate, chosen by measurement"


def plan_memory(stream: PassageStream, *, dimension: int, metadata: dict[str, str] | None = None) -> Plan:
    """Raises SourceError as the job itself would."""
    began, entries_of = time.perf_counter(), Counter[str]()
    sink, sample, every = pa.MockOutputStream(), list[Passage](), 1
    schema = values_schema(metadata or {})
    with pa.ipc.new_file(sink, schema) as values:
        for block in stream:
            entries_of.update(passage.source for passage in block)
            sample += block[:: max(1, every)]
            if len(sample) > 4 * _SAMPLE:
                sample, every = sample[::2], 2 * every
            values.write_batch(pa.RecordBatch.from_pylist([to_row(passage) for passage in block], schema))
    sample = sample[:: -(-len(sample) // _SAMPLE)]
    keys_bytes = stream.report.entries * dimension * _BYTES_PER_NUMBER
    return Plan(stream.report, dict(entries_of), keys_bytes, sink.size(), sample, time.perf_counter() - began)


def forecast(plan: Plan, encoder: Encoder, models: dict[str, MemoryDecoder]) -> Forecast:
    """Embed, search and read a few passages.

    Args:
        models: by preset, a model that reads memory so; none to leave states out.
    """
    from memgpt_rag.memory.states import StatesShape
    from memgpt_rag.model.stored import states_fingerprint
    from memgpt_rag.prompt import Prompt

    entries, texts = plan.report.entries, [passage.titled_text for passage in plan.sample]
    encoder.encode_passages(texts[:8])
    keys, seconds = _timed(lambda: encoder.encode_passages((texts * -(-BLOCK // len(texts)))[:BLOCK]))
    scanned = np.tile(keys, (-(-_SCANNED // len(keys)), 1))
    with one_thread():
        exact_search(scanned, keys[:1], 10, "cosine")
        _, of_scan = _timed(
            lambda: [exact_search(scanned, keys[place : place + 1], 10, "cosine") for place in range(9)]
        )
    states = {}
    for preset, model in models.items():
        prompt = Prompt(model.tokenizer)
        model.prefix_ids = prompt.prefix_ids
        ids = [prompt.entry_ids(passage) for passage in plan.sample[:32]]
        tokens = sum(map(len, ids)) * entries / len(ids)
        shape = StatesShape.of(states_fingerprint(model))
        _, of_states = _timed(partial(model.states_of, ids))
        states[preset] = tokens * shape.bytes_per_token, of_states * entries / len(ids)
    return Forecast(seconds * entries / BLOCK, 1000 * of_scan / 9 * entries / len(scanned), states)


def table(plan: Plan, files: Iterable[SourceFile]) -> str:
    """One line a file: format, size, entries, name."""
    lines = [f"{'format':<9}{'size':>10}{'entries':>9}  file"]
    for file in files:
        lines.append(f"{file.format:<9}{size(file.bytes):>10}{plan.entries_of.get(file.name, 0):>9,}  {file.name}")
    return "\n".join(lines)


def forecast_table(plan: Plan, expected: Forecast) -> str:
    """One line a part of the memory: bytes on disk and time."""
    rows = [
        ("values", size(plan.values_bytes), f"{plan.reading_seconds:,.0f} s to read, split and drop copies"),
        ("keys", size(plan.keys_bytes), f"{expected.embedding_seconds:,.0f} s to embed"),
        ("journal", size(plan.keys_bytes), "while the job runs"),
    ]
    for preset, (bytes_, seconds) in expected.states.items():
        rows.append((f"states, {preset}", size(bytes_), f"{seconds:,.0f} s to compute; optional"))
    rows.append(("search", "", f"{expected.search_milliseconds:.2f} ms a query among all keys: {expected.index}"))
    return "\n".join(f"{name:<18}{bytes_:>10}  {what}" for name, bytes_, what in rows)


def size(count: float) -> str:
    """Bytes for people: 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _timed(job: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return job(), time.perf_counter() - began
