"""Imports a store of another program as a memory, one entry each; its vectors become keys where they prove to be the encoder's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float

from indexing.engines.base import Engine
from indexing.imports.stored_entry import Store
from indexing.imports.survey import Survey, survey
from indexing.job_log import JobLog
from indexing.jobs.build_memory import NewMemory
from indexing.jobs.encode_passages import encode_values
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.errors import MemoryFormatError, SourceError
from memgpt_rag.io.console import progress_bar
from memgpt_rag.io.printable import counted, shortened
from memgpt_rag.memory import MemoryWriter

_BLOCK = 1024
# Cosine between a stored vector and the one that the encoder makes of its text. Of 36 paragraphs, E5 in bf16 gave .99996 and more, in
# int8 .998 to .9992, without its prompt .989 to .9993, with the prompt of queries .934 to .992.
SAME_KEY = 0.9995


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        entries: number of entries.
        embedded: number of texts that were embedded for their keys; 0 where the store's vectors became keys.
        reason: why they did, or why not.
        columns: metadata column → type.
        left_out: what of the store is not in the memory.
        commit: number of the version.
    """

    entries: int
    embedded: int
    reason: str
    columns: dict[str, str]
    left_out: list[str] = field(default_factory=list)
    commit: int = 1
    seconds: float = 0.0

    def sentence(self) -> str:
        """Return a sentence on where the keys come from."""
        how = "embedded anew" if self.embedded else "keys taken over"
        return f"{counted(self.entries, 'entry', 'entries')}, {how}: {self.reason}"


def import_store(
    store: Store,
    memory: Path,
    engine: Engine,
    *,
    title: str | None = None,
    new: NewMemory = NewMemory(),
    embed_anew: bool = False,
    log: JobLog | None = None,
) -> ImportReport:
    """Write the entries of a store to a new memory, atomically: on an error, the folder is unchanged.

    The texts of a sample are embedded with the engine's encoder. If the store's vectors of them are the same, all become keys;
    if one of them differs, all texts are embedded.

    Args:
        title: name of the metadata field that is put before each text, which is then embedded with it.
        embed_anew: embed all texts, whatever vectors the store holds.

    Raises:
        SourceError: the store is damaged, or holds an entry that no memory can hold; the message names it.
        MemoryFormatError: the folder holds other files, or a memory that is not to be replaced.
        BusyError: another job is writing there.
    """
    began, log = time.perf_counter(), log or JobLog("none")
    if embed_anew:
        store = replace(store, without_vectors="that was asked for")
    found = survey(store, title)
    why, agreement = _difference(found, engine.encoder)
    with MemoryWriter(
        memory, metric=new.metric, metadata=dict(found.columns), replace=new.replace, lexical=new.lexical
    ) as writer:
        if writer.base is not None:
            raise MemoryFormatError(f"{memory} holds a memory; name another folder, or replace it with --replace.")
        passages = found.passages(store)
        while block := list(islice(passages, _BLOCK)):
            writer.add_values(block)
        embedded = 0
        if why:
            with progress_bar(total=writer.entries, desc="embedding", unit=" entries", shown=log.shows_progress) as bar:
                embedded = encode_values(writer, engine, on_block=bar.update)
        else:
            for keys in _keys(store, writer, unit=new.metric == "cosine"):
                writer.add_keys(keys)
        fingerprint, counts = engine.encoder.fingerprint, {"added": writer.entries, "embedded": embedded}
        splitting = {"tokenizer": fingerprint.name, "max_tokens": 0}  # no tokenizer split the texts
        manifest = writer.commit(fingerprint, splitting=splitting, job={"name": "import", **counts})
    log.event("committed", version=manifest.commit, **counts)
    return ImportReport(
        found.entries,
        embedded,
        why or agreement,
        dict(found.columns),
        found.left_out,
        manifest.commit,
        time.perf_counter() - began,
    )


def _difference(found: Survey, encoder: Encoder) -> tuple[str, str]:
    """Return why the store's vectors are not the encoder's, or an empty text and how well they agree."""
    if found.without_vectors:
        return found.without_vectors, ""
    dimension = encoder.fingerprint.dimension
    if found.dimension != dimension:
        return f"the store's vectors have {found.dimension:,} numbers, those of {encoder.name} have {dimension:,}", ""
    stored = np.stack([vector for _, vector in found.sample if vector is not None])
    keys = encoder.encode_passages([passage.titled_text for passage, _ in found.sample])
    lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(keys, axis=1)
    cosines = (stored * keys).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    if not encoder.normalized:  # their lengths count, too
        ratios = np.linalg.norm(stored, axis=1) / np.maximum(np.linalg.norm(keys, axis=1), np.finfo(np.float32).tiny)
        cosines = np.minimum(cosines, np.minimum(ratios, 1 / np.maximum(ratios, np.finfo(np.float32).tiny)))
    worst = int(cosines.argmin())
    compared = f"of {counted(len(keys), 'text')} embedded again with {encoder.name}"
    if cosines[worst] >= SAME_KEY:
        return "", f"{compared}, all agree with the store's vectors (least cosine {cosines[worst]:.4f})"
    entry = shortened(repr(found.sample[worst][0].id), 80)
    differing = int((cosines < SAME_KEY).sum())
    return (
        f"{compared}, {differing:,} differ from the store's vectors (cosine {cosines[worst]:.3f} for the entry {entry})",
        "",
    )


def _keys(store: Store, writer: MemoryWriter, *, unit: bool) -> Iterator[Float[np.ndarray, "n dimension"]]:
    """Yield the store's vectors in the order of the rows, each only where its entry is that of the row.

    Raises:
        SourceError: the store has changed since the rows were written.
    """
    entries = iter(store.entries())
    for passages in writer.value_blocks(_BLOCK):
        block = list(islice(entries, len(passages)))
        same = len(block) == len(passages) and all(
            (entry.id, entry.text) == (passage.id, passage.text) and entry.vector is not None
            for entry, passage in zip(block, passages, strict=True)
        )
        if not same:
            raise SourceError(f"{store.name} changed while it was read; stop what writes there, and import again.")
        vectors = np.stack([entry.vector for entry in block if entry.vector is not None])
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if unit else vectors
