"""Entries with pictures: added to a memory, their keys those of the pictures or, in a memory of texts, those of their words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Float

from memgpt_rag.memory.memory import Memory, PassageEncoder
from memgpt_rag.memory.reader import MemoryReader
from memgpt_rag.memory.writer import MemoryWriter
from memgpt_rag.passage import Passage

_BLOCK = 32  # pictures that are held at once


@runtime_checkable
class EncodesPictures(Protocol):
    """The part of an encoder of pictures that is called here; `load_picture_encoder` returns one."""

    def encode_pictures(self, pictures: Sequence[bytes]) -> Float[np.ndarray, "pictures dimension"]:
        """Return the key of each picture."""


def add_pictures(
    folder: str | Path,
    entries: Iterable[tuple[Passage, bytes]],
    encoder: PassageEncoder,
    *,
    replace: bool = False,
    instead_of: Sequence[str] = (),
) -> Memory:
    """Commit pictures with their words as entries of a memory, one entry each, or make a memory of them where there is none.

    Where the encoder embeds pictures, keys are those of the pictures; else keys are those of their titles and words, so that pictures
    stand beside the texts of a memory. Entries whose id the memory holds stay as they are.

    Args:
        entries: words with their place, and a PNG or JPEG file, as `memgpt_rag.io.pictures.kept_picture` returns it.
        encoder: the one that embedded the memory.
        replace: start from nothing where the folder holds a memory.
        instead_of: sources whose other entries with pictures are deleted.

    Raises:
        ValueError: no picture, two with one id, one that is neither PNG nor JPEG, or metadata that the memory has no column for.
        MemoryFormatError: the folder holds something else, or a damaged memory.
        MismatchError: another encoder embedded the memory.
        BusyError: another job is writing there.
    """
    folder, fingerprint = Path(folder), encoder.fingerprint
    metric = "cosine" if encoder.normalized else "euclidean"
    with MemoryWriter(folder, metric=metric, replace=replace) as writer:
        base = writer.base
        if base is not None:
            base.manifest.encoder.require_match(fingerprint, "is to be given entries")
        ids = set[str]()
        given = _distinct(entries, ids)
        keys: list[Float[np.ndarray, "n dimension"]] = []
        while block := list(islice(given, _BLOCK)):
            known = _known(base, block)
            new = [(passage, picture) for passage, picture in block if passage.id not in known]
            if new:
                writer.add_values([passage for passage, _ in new], [picture for _, picture in new])
                keys.append(_keys(new, encoder))
        gone = _gone(base, instead_of, ids)
        if not ids and not gone:
            raise ValueError("There are no pictures to add; give at least one.")
        writer.delete(gone)
        if writer.entries:
            for _ in writer.value_blocks(_BLOCK):
                pass  # rows are complete, and keys follow in their order
            writer.add_keys(np.concatenate(keys))
        if writer.entries or gone:
            counts = {"added": writer.entries, "deleted": len(gone)}
            stored, splitting = fingerprint, {"tokenizer": fingerprint.name, "max_tokens": 0}
            if base is not None:
                stored, splitting = base.manifest.encoder, base.manifest.splitting
            writer.commit(stored, splitting=splitting, job={"name": "pictures", **counts})
    return Memory.open(folder)


def _distinct(entries: Iterable[tuple[Passage, bytes]], ids: set[str]) -> Iterator[tuple[Passage, bytes]]:
    """Yield entries, and add their ids to those that were given; raises ValueError for one that is given again."""
    for passage, picture in entries:
        if passage.id in ids:
            raise ValueError(f"The id {passage.id!r} is given more than once; an id names one entry.")
        ids.add(passage.id)
        yield passage, picture


def _known(base: MemoryReader | None, entries: Sequence[tuple[Passage, bytes]]) -> set[str]:
    """Return the ids of entries that the memory holds."""
    if base is None:
        return set()
    rows = base.rows(pc.field("id").isin([passage.id for passage, _ in entries]))
    return {passage.id for passage in base.passages(rows)}


def _gone(base: MemoryReader | None, sources: Sequence[str], kept: set[str]) -> list[int]:
    """Return the rows of the memory's pictures from these sources that are not among those to keep."""
    if base is None or not sources:
        return []
    rows = base.rows(pc.field("source").isin(list(sources))).tolist()
    return [
        row
        for row, passage in zip(rows, base.passages(rows), strict=True)
        if base.has_picture(row) and passage.id not in kept
    ]


def _keys(entries: Sequence[tuple[Passage, bytes]], encoder: PassageEncoder) -> Float[np.ndarray, "n dimension"]:
    if isinstance(encoder, EncodesPictures):
        return encoder.encode_pictures([picture for _, picture in entries])
    return encoder.encode_passages([passage.titled_text for passage, _ in entries])
