"""Computes the keys of new entries in row order; texts with a known key are not embedded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from indexing.engines.base import Engine
from indexing.jobs.known_entries import KnownEntries
from memgpt_rag.memory import MemoryWriter
from memgpt_rag.memory.storage.journal import Journal

BLOCK = 256
# The first blocks are small, so that a job with a slow encoder that is killed early can be resumed.
FIRST_BLOCK = 16


def encode_values(
    writer: MemoryWriter,
    engine: Engine,
    known: KnownEntries | None = None,
    *,
    on_block: Callable[[int], object] = lambda entries: None,
) -> int:
    """Write the key of every new value of a memory; `on_block` is called with the number of keys in each block.

    The composition of the blocks of texts does not depend on interruptions or on the engine, so that keys are the same to
    the bit; keys of an earlier run are taken from the journal.

    Returns:
        The number of texts that were embedded.
    """
    journal, embedded = writer.journal(engine.encoder.fingerprint), 0

    def missing() -> Iterator[list[str]]:
        nonlocal embedded
        for texts in _unknown_blocks(writer, known):
            embedded += len(texts)
            if texts in journal:
                on_block(len(texts))
            else:
                yield texts

    for texts, keys in engine.keys(missing()):
        journal.add(texts, keys)
        on_block(len(texts))
    computed = _one_by_one(writer, known, journal)
    for passages in writer.value_blocks(BLOCK):
        rows = [None if known is None else known.row_with_text(passage.titled_text) for passage in passages]
        there = [row for row in rows if row is not None]
        known_keys = iter(known.keys(there)) if known is not None and there else iter(())
        writer.add_keys(np.stack([next(computed if row is None else known_keys) for row in rows]))
        on_block(len(there))
    return embedded


def _unknown_blocks(writer: MemoryWriter, known: KnownEntries | None) -> Iterator[list[str]]:
    """Yield texts without a key in row order, in blocks that double in size from a few texts up to a full block."""
    texts: list[str] = []
    size = min(FIRST_BLOCK, BLOCK)
    for passages in writer.value_blocks(BLOCK):
        block_texts = [passage.titled_text for passage in passages]
        texts += block_texts if known is None else [text for text in block_texts if known.row_with_text(text) is None]
        while len(texts) >= size:
            yield texts[:size]
            del texts[:size]
            size = min(2 * size, BLOCK)
    if texts:
        yield texts


def _one_by_one(writer: MemoryWriter, known: KnownEntries | None, journal: Journal) -> Iterator[np.ndarray]:
    for texts in _unknown_blocks(writer, known):
        if texts not in journal:
            raise ValueError(f"{len(texts)} texts, the first of them {texts[0]!r:.80}, came back without keys.")
        yield from journal.keys(texts)
