"""Forecasts a job's time and its memory's size on this machine, from measurements on a few passages.

Also chooses the index, the states and the maximum number of entries that satisfy the user's constraints.
"""

from __future__ import annotations

import math
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexing.jobs.encode_passages import BLOCK
from indexing.planning.forecast_index import IndexForecast, forecast_indexes, timed
from indexing.planning.plan import Plan, size
from memgpt_rag.choices import DEFAULT_LATENCY, DEFAULT_RECALL, PRESETS, Metric
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.memory import MemoryWriter
from memgpt_rag.memory.lexical.analysis import terms
from memgpt_rag.memory.lexical.postings import COUNTS, WEIGHTS, index_bytes

if TYPE_CHECKING:
    from memgpt_rag.encoders.sparse_encoder import SparseTextEncoder
    from memgpt_rag.model import MemoryDecoder

# Number of entries that are written to measure the time.
_WRITTEN = 4096
# Number of passages whose sparse vectors or states are computed to measure the time.
_ENCODED = 32
# Memory that a job needs per entry for deduplication, and for its full caches, in bytes.
_SEEN_BYTES, _CACHES = 700, 3 * 32 * 2**20


@dataclass(frozen=True)
class Constraints:
    """Constraints of a memory and its job.

    Attributes:
        recall: recall@10 that a search must reach.
        milliseconds: latency of one search.
        disk_bytes: size of the built memory with its states.
        memory_bytes: main memory of the job, without mapped files.
    """

    recall: float = DEFAULT_RECALL
    milliseconds: float = DEFAULT_LATENCY
    disk_bytes: float = math.inf
    memory_bytes: float = math.inf


@dataclass(frozen=True)
class Forecast:
    """Forecast for all passages from measurements on a few.

    Attributes:
        entries: number of entries of the memory.
        disk_bytes: size of keys and values.
        reading_seconds, embedding_seconds, writing_seconds: time to read and split, to compute all keys, and to write both.
        exact_milliseconds: latency of one exact search on one thread.
        index: the chosen index.
        words: bytes and seconds of a lexical index.
        sparse: those of sparse vectors; None without a sparse encoder.
        states: preset → bytes on disk and seconds to compute the states.
        peak_bytes: peak main memory of the job, without mapped files.
    """

    entries: int
    disk_bytes: float
    reading_seconds: float
    embedding_seconds: float
    writing_seconds: float
    exact_milliseconds: float
    index: IndexForecast
    words: tuple[float, float]
    sparse: tuple[float, float] | None
    states: dict[str, tuple[float, float]]
    peak_bytes: float

    @property
    def seconds(self) -> float:
        """Return the seconds of a build without states."""
        indexes = self.index.seconds + self.words[1] + (self.sparse[1] if self.sparse else 0)
        return self.reading_seconds + self.embedding_seconds + self.writing_seconds + indexes

    def disk_with(self, preset: str | None) -> float:
        """Return the size in bytes of the memory with the states of a preset."""
        added = (self.sparse[0] if self.sparse else 0) + (self.states[preset][0] if preset else 0)
        return self.disk_bytes + self.index.disk_bytes + self.words[0] + added

    def preset(self, constraints: Constraints) -> str | None:
        """Return the best preset whose states fit on the disk; None if none fits."""
        fitting = (one for one in PRESETS if one in self.states)
        return next((one for one in fitting if self.disk_with(one) <= constraints.disk_bytes), None)

    def most_entries(self, constraints: Constraints, preset: str | None) -> float:
        """Return the number of entries like these that fit on the disk."""
        return constraints.disk_bytes / self.disk_with(preset) * self.entries


def forecast(
    plan: Plan,
    encoder: Encoder,
    models: Mapping[str, Callable[[], MemoryDecoder]],
    constraints: Constraints = Constraints(),
    metric: Metric = "cosine",
    sparse_encoder: SparseTextEncoder | None = None,
) -> Forecast:
    """Forecast a job by embedding, writing, searching and reading a few passages.

    Args:
        models: preset → function that loads a model with that preset; empty for no states.
        sparse_encoder: the one whose sparse vectors the memory is to have; None for none.
    """
    entries, texts = plan.report.entries, [passage.titled_text for passage in plan.sample]
    encoder.encode_passages(texts[:8])
    keys, embedding = timed(lambda: encoder.encode_passages((texts * -(-BLOCK // len(texts)))[:BLOCK]))
    taken, seen = anonymous_bytes(), min(_CACHES, _SEEN_BYTES * entries)
    exact, *others = forecast_indexes(
        keys, entries, metric, recall=constraints.recall, fast_enough=constraints.milliseconds
    )
    fitting = (other for other in others if taken + other.memory_bytes <= constraints.memory_bytes)
    index = min([exact, *fitting], key=lambda one: one.milliseconds)
    return Forecast(
        entries,
        plan.keys_bytes + plan.values_bytes,
        plan.reading_seconds,
        embedding * entries / BLOCK,
        _writing_seconds(plan, keys, encoder) * entries,
        exact.milliseconds,
        index,
        _words(plan),
        None if sparse_encoder is None else _sparse(plan, sparse_encoder),
        {preset: _states(plan, load()) for preset, load in models.items()},
        taken + max(seen, index.memory_bytes),  # the memory for deduplication is freed before an index is built
    )


def forecast_table(plan: Plan, expected: Forecast, constraints: Constraints = Constraints()) -> str:
    """Render a table of bytes and time of each part of the memory, and what follows from the constraints."""
    index, preset = expected.index, expected.preset(constraints)
    rows = [
        ("values", size(plan.values_bytes), f"{expected.reading_seconds:,.0f} s to read, split and drop duplicates"),
        ("keys", size(plan.keys_bytes), f"{expected.embedding_seconds:,.0f} s to embed"),
        ("journal", size(plan.keys_bytes), f"while the job runs; {expected.writing_seconds:,.0f} s to write all three"),
        (
            "search",
            size(index.disk_bytes),
            f"{index.kind}, {index.milliseconds:.2f} ms a query, {index.seconds:,.0f} s to choose; looking at all keys takes "
            f"{expected.exact_milliseconds:.2f} ms",
        ),
    ]
    rows.append(
        ("lexical", size(expected.words[0]), f"{expected.words[1]:,.0f} s to index; left out with --no-lexical")
    )
    if expected.sparse is not None:
        rows.append(("sparse vectors", size(expected.sparse[0]), f"{expected.sparse[1]:,.0f} s to compute"))
    for name, (bytes_, seconds) in expected.states.items():
        rows.append((f"states, {name}", size(bytes_), f"{seconds:,.0f} s to compute; optional"))
    rows.append(("memory", size(expected.peak_bytes), "at most while the job runs, but for files that are mapped"))
    rows.append(("all", size(expected.disk_with(preset)), f"{expected.seconds:,.0f} s to build, without states"))
    if constraints.disk_bytes < math.inf:
        if expected.disk_with(None) > constraints.disk_bytes:
            shown = (
                f"do not fit; {expected.most_entries(constraints, None):,.0f} entries like these would, without states"
            )
        else:
            shown = f"fit with {'no' if preset is None else preset} states, as would {expected.most_entries(constraints, preset):,.0f} entries"
        rows.append(("disk", size(constraints.disk_bytes), shown))
    for name, wished, needed, unit in (
        ("latency", constraints.milliseconds, index.milliseconds, "ms"),
        ("memory limit", constraints.memory_bytes / 1e6, expected.peak_bytes / 1e6, "MB"),
    ):
        if needed > wished:
            rows.append(
                (name, f"{wished:,.1f} {unit}", f"cannot be kept: {needed:,.1f} {unit} is the least that was found")
            )
    return "\n".join(f"{name:<18}{bytes_:>10}  {what}" for name, bytes_, what in rows)


def _writing_seconds(plan: Plan, keys: np.ndarray, encoder: Encoder) -> float:
    """Measure the seconds to write one entry: journal and keys, and values that are read back."""
    passages = [replace(plan.sample[row % len(plan.sample)], id=str(row)) for row in range(_WRITTEN)]
    metric: Metric = "cosine" if encoder.normalized else "euclidean"
    with tempfile.TemporaryDirectory() as scratch, MemoryWriter(Path(scratch) / "memory", metric=metric) as writer:
        writer.add_values(passages)
        began = time.perf_counter()
        journal = writer.journal(encoder.fingerprint)
        for block in writer.value_blocks(BLOCK):
            texts = [f"{passage.id} {passage.titled_text}" for passage in block]
            journal.add(texts, keys[: len(texts)])
        for block in writer.value_blocks(BLOCK):
            texts = [f"{passage.id} {passage.titled_text}" for passage in block]
            writer.add_keys(journal.keys(texts))
        writer.commit(encoder.fingerprint, splitting={"tokenizer": "", "max_tokens": 0}, job={"name": "plan"})
        return (time.perf_counter() - began) / _WRITTEN


def _words(plan: Plan) -> tuple[float, float]:
    """Forecast the lexical index: postings grow with the entries, terms with their square root (Heaps 1978)."""
    terms("The first call loads stop words.")
    counted, seconds = timed(lambda: [Counter(terms(passage.titled_text)) for passage in plan.sample])
    different = set().union(*counted)
    scale = plan.report.entries / len(plan.sample)
    more = math.sqrt(scale)
    text, postings = sum(len(term.encode()) for term in different), sum(map(len, counted))
    bytes_ = index_bytes(COUNTS, text * more, len(different) * more, postings * scale, plan.report.entries)
    return bytes_, seconds * scale


def _sparse(plan: Plan, encoder: SparseTextEncoder) -> tuple[float, float]:
    """Forecast the sparse vectors: postings grow with the entries, and no component is new once all of the encoder's occur."""
    texts = [passage.titled_text for passage in plan.sample[:_ENCODED]]
    encoder.encode_passages(texts[:1])
    vectors, seconds = timed(lambda: encoder.encode_passages(texts))
    scale = plan.report.entries / len(texts)
    different = min(len(set().union(*vectors)) * math.sqrt(scale), encoder.dimension)
    postings = sum(map(len, vectors)) * scale
    bytes_ = index_bytes(WEIGHTS, len(str(encoder.dimension)) * different, different, postings, plan.report.entries)
    return bytes_, seconds * scale


def _states(plan: Plan, model: MemoryDecoder) -> tuple[float, float]:
    from memgpt_rag.memory.storage.states import StatesShape
    from memgpt_rag.model.stored import states_fingerprint

    model.prefix_ids = model.prompt.prefix_ids
    ids = [model.prompt.entry_ids(passage) for passage in plan.sample[:_ENCODED]]
    entries = plan.report.entries / len(ids)
    bytes_per_token = StatesShape.of(states_fingerprint(model)).bytes_per_token
    _, seconds = timed(partial(model.entry_states, ids))
    return sum(map(model.entry_tokens, ids)) * entries * bytes_per_token, seconds * entries


def require_memory(limit: float | None) -> None:
    """Check that this process is below a memory limit in bytes; raises ValueError if it is not."""
    if limit is not None and (taken := anonymous_bytes()) > limit:
        raise ValueError(
            f"This job takes {size(taken)} with its models loaded, and --memory-limit is {size(limit)}; raise it, or name a "
            "smaller --encoder."
        )


def anonymous_bytes() -> float:
    """Return the anonymous memory of this process in bytes; its peak resident set where the system does not report it."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if "RssAnon" in fields:
            return 1024 * float(fields["RssAnon"].split()[0])
    return 1024 * float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
