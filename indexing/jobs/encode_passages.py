"""Gives new entries their keys, in the order in which their values are numbered; what is known is not embedded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from indexing.engines.base import Engine
from indexing.jobs.known_entries import KnownEntries
from memgpt_rag.memory import MemoryWriter
from memgpt_rag.memory.storage.journal import Journal

BLOCK = 256
# The first blocks are small, so that a job which is killed soon has something to go on from, however slow its encoder is.
FIRST_BLOCK = 16


def encode_values(
    writer: MemoryWriter,
    engine: Engine,
    known: KnownEntries | None = None,
    *,
    on_block: Callable[[int], object] = lambda entries: None,
) -> int:
    """Give every new value of a memory its key; `on_block` hears how many got theirs.

    Blocks of texts go to the encoder in the same composition however often the job is stopped, and wherever it runs, so
    that their keys are the same to the bit; the journal has those of an earlier run.

    Returns:
        How many had to be embedded.
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
        rows = [None if known is None else known.of_text(passage.titled_text) for passage in passages]
        there = [row for row in rows if row is not None]
        of_known = iter(known.keys(there)) if known is not None and there else iter(())
        writer.add_keys(np.stack([next(computed if row is None else of_known) for row in rows]))
        on_block(len(there))
    return embedded


def _unknown_blocks(writer: MemoryWriter, known: KnownEntries | None) -> Iterator[list[str]]:
    """Texts that have no key yet, in row order: a few at first, and twice as many each time, up to a whole block."""
    texts: list[str] = []
    size = min(FIRST_BLOCK, BLOCK)
    for passages in writer.value_blocks(BLOCK):
        of_block = [passage.titled_text for passage in passages]
        texts += of_block if known is None else [text for text in of_block if known.of_text(text) is None]
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
