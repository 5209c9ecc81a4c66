"""Verifies every byte of a memory, and reports what is damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from memgpt_rag.errors import MemgptRagError
from memgpt_rag.memory import Manifest, Memory, list_versions
from memgpt_rag.memory.dense.faiss_index import exact_search
from memgpt_rag.memory.lexical.analysis import is_analysis
from memgpt_rag.memory.lexical.postings import write_lexical_index
from memgpt_rag.memory.segment import OpenSegment
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.storage.files import StoredFile, describe
from memgpt_rag.memory.storage.keys import first_not_unit
from memgpt_rag.memory.storage.manifest import read_bytes

_BLOCK = 1024
# Tolerance by which a key's score with itself may be below that of its nearest key, due to rounding.
_ROUNDING = 1e-5
# For an index: number of queries, k of recall@k, and tolerance below the recall at its choice.
_QUERIES, _NEAREST, _FEWER = 100, 10, 0.1


def verify_memory(
    memory: Path, *, sample: int = 20_000, on_step: Callable[[str], object] = lambda step: None
) -> list[str]:
    """Check files against their checksums, manifests against each other, and keys, values and states against one another.

    Args:
        sample: number of entries, evenly spread, that are searched by their own key and must be found first.
        on_step: called with a description of each step.

    Returns:
        One sentence for each fault; none for an intact memory.
    """
    try:
        kept = list_versions(memory)
        faults = [*_manifests(memory, kept)]
    except MemgptRagError as error:
        return [str(error)]
    described: dict[tuple[str, str], set[StoredFile]] = {}
    for manifest in kept:
        for one in manifest.segments:
            for name, file in one.files.items():
                described.setdefault((one.name, name), set()).add(file)
    for (segment, name), committed in described.items():
        path = layout.segment_dir(memory, segment) / name
        on_step(f"{segment}/{name}")
        if not path.is_file() or path.is_symlink():
            faults.append(f"{path} is missing.")
        elif {describe(path)} != committed:
            faults.append(f"{path} is not as it was committed: its digest differs.")
    if faults:
        return faults
    try:
        opened = Memory.open(memory)
        for part in opened.segments:
            _ = part.sparse  # raises where these are not the sparse vectors of so many rows
        return [
            *_values(opened),
            *_keys(opened, sample, on_step),
            *_indexes(memory, kept, on_step),
            *_states(opened),
            *_words(opened),
            *_pictures(opened),
        ]
    except MemgptRagError as error:
        return [str(error)]


def _pictures(memory: Memory) -> Iterator[str]:
    """Report what is kept as a picture and is none."""
    for row in memory.rows().tolist() if memory.manifest.has_pictures else ():
        try:
            memory.pictures([row])
        except MemgptRagError as error:  # noqa: PERF203 - every picture that is none is named
            yield str(error)


def _manifests(memory: Path, kept: list[Manifest]) -> Iterator[str]:
    """Check that the current manifest is the last version's, and that each version contains the checksum of the previous one."""
    last = layout.version_path(memory, kept[-1].commit)
    if last.exists() and read_bytes(last) != read_bytes(memory / layout.MANIFEST):
        yield f"{memory / layout.MANIFEST} and {last} differ and should be the same."
    for before, after in pairwise(kept):
        path = layout.version_path(memory, before.commit)
        if after.commit == before.commit + 1 and describe(path).sha256 != after.previous:
            yield f"{path} is not as it was committed: its digest differs."


def _values(memory: Memory) -> Iterator[str]:
    ids: Counter[str] = Counter()
    for segment in memory.segments:
        segment_ids = segment.values.column("id").to_numpy(zero_copy_only=False)
        ids.update(segment_ids if segment.live is None else segment_ids[segment.live])
    for id, times in ids.items():
        if times > 1:
            yield f"{memory.path} has {times} entries of the id {id!r}; ids must differ."


def _keys(memory: Memory, sample: int, on_step: Callable[[str], object]) -> Iterator[str]:
    rows = memory.rows()
    for start in range(0, len(rows), _BLOCK):
        keys = memory.keys(rows[start : start + _BLOCK])
        if not np.isfinite(keys).all():
            yield f"{memory.path} has keys among rows {rows[start]} and after that are no numbers."
            return
        if memory.manifest.metric == "cosine" and (wrong := first_not_unit(keys)) is not None:
            yield f"The key of row {rows[start + wrong]} in {memory.path} is not of length 1."
            return
    looked_up = rows[np.unique(np.linspace(0, len(rows) - 1, min(sample, len(rows))).astype(np.int64))]
    for start in range(0, len(looked_up), _BLOCK):
        part = looked_up[start : start + _BLOCK]
        on_step(f"own keys of {start + len(part):,} of {len(looked_up):,} entries")
        yield from _strangers(memory, part)


def _strangers(memory: Memory, rows: np.ndarray) -> Iterator[str]:
    """Report entries whose own key is nearer to another entry."""
    keys = memory.keys(rows)
    found = memory.search(keys, 1, exact=True)
    own = np.einsum("ij,ij->i", keys, keys) if memory.manifest.metric == "cosine" else np.zeros(len(rows))
    # In Euclidean distance, the tolerance is the square root of the rounding error.
    near = _ROUNDING if memory.manifest.metric == "cosine" else 0.02 * (1 + np.linalg.norm(keys, axis=1))
    for row, other, missed in zip(rows, found.rows[:, 0], found.scores[:, 0] > own + near, strict=True):
        if missed and row != other:
            yield f"The key of row {row} in {memory.path} finds row {other} first."


def _indexes(memory: Path, kept: Sequence[Manifest], on_step: Callable[[str], object]) -> Iterator[str]:
    """Check that every index of every version has about the recall that was measured when it was chosen."""
    checked: set[tuple[str, str]] = set()
    for manifest in kept:
        for described in manifest.segments:
            name = described.file("index")
            if name is None or (described.name, name) in checked:
                continue
            checked.add((described.name, name))
            on_step(f"{described.name}/{name}")
            segment = OpenSegment(memory, manifest, described)
            assert segment.index is not None and described.index is not None
            queries = segment.keys[np.unique(np.linspace(0, len(segment) - 1, _QUERIES).astype(np.int64))]
            k = min(_NEAREST, len(segment))
            found, _ = segment.index.search(segment.keys, queries, k)
            nearest, _ = exact_search(segment.keys, queries, k, manifest.metric)
            recall = float((found[:, :, None] == nearest[:, None]).any(axis=1).mean())
            if recall < described.index.get("recall", 0.0) - _FEWER:
                yield (
                    f"{segment.folder / name} finds {recall:.3f} of the {k} nearest keys, and {described.index['recall']:.3f} when it was "
                    "chosen; make it again with: memgpt-index rebuild-index"
                )


def _states(memory: Memory) -> Iterator[str]:
    for segment in memory.segments:
        if segment.states is None:
            continue
        empty = np.diff(segment.states.offsets) == 0
        if (empty if segment.live is None else empty & segment.live).any():
            yield f"{segment.folder} has entries without states beside others that have them."


def _words(memory: Memory) -> Iterator[str]:
    """Check the lexical index against a new analysis of the texts, if this release has the same analysis."""
    analysis = memory.manifest.words
    if not is_analysis(analysis):
        return
    for segment in memory.segments:
        with TemporaryDirectory() as folder:
            again = write_lexical_index(Path(folder) / "words", segment.values.blocks(_BLOCK), analysis)
        name = segment.described.file("words")
        if name is None or segment.described.files[name] != again:
            yield f"The words of {segment.folder} are not those of its entries; find them again with: memgpt-index compact"


def difference(memory: Path, before: int, after: int | None) -> tuple[list[str], list[str]]:
    """Return the ids of the entries that were added and those that were removed between two versions.

    Raises:
        MemoryFormatError: there is no such version.
    """
    ids = []
    for version in (before, after):
        opened = Memory.open(memory, version=version)
        ids.append({passage.id: passage for passage in opened.passages(opened.rows())})
    earlier, later = ids
    return (
        [id for id, passage in later.items() if earlier.get(id) != passage],
        [id for id, passage in earlier.items() if later.get(id) != passage],
    )
