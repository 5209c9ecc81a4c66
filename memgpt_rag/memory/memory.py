"""The memory that users hold: opened from a folder, or created from texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float

from memgpt_rag.choices import ColumnType
from memgpt_rag.errors import MismatchError
from memgpt_rag.fingerprint import EncoderFingerprint
from memgpt_rag.memory.reader import MemoryReader
from memgpt_rag.memory.storage.layout import MANIFEST
from memgpt_rag.memory.writer import MemoryWriter
from memgpt_rag.passage import Passage

_BLOCK = 256


class PassageEncoder(Protocol):
    """The part of an encoder that `Memory.create` calls; `memgpt_rag.load_encoder` returns one."""

    normalized: bool

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """Return the fingerprint that is stored in the memory."""

    def encode_passages(self, texts: list[str]) -> Float[np.ndarray, "texts dimension"]: ...


class Memory(MemoryReader):
    """An opened memory: a snapshot of one version, its files mapped from disk."""

    @classmethod
    def create(
        cls,
        folder: str | Path,
        passages: Iterable[str | Passage],
        encoder: PassageEncoder,
        *,
        metadata: Mapping[str, ColumnType] | None = None,
        replace: bool = False,
    ) -> Memory:
        """Embed texts or passages, one entry each, into a new memory, and open it.

        Nothing is split or dropped: `indexing.build` reads files, splits documents and drops duplicates.

        Args:
            folder: of the memory; new or empty.
            passages: in the order of the rows. A text becomes a passage whose source is "text" and whose number is its line.
            encoder: embeds them; the memory is asked with the same one.
            metadata: columns of the passages' metadata, which searches can filter by, with their types.
            replace: start from nothing where the folder holds a memory.

        Raises:
            ValueError: no passage, an empty text, two passages with one id, or metadata that does not fit.
            MemoryFormatError: the folder holds something else, or a memory that is not to be replaced.
            BusyError: another job is writing there.

        Example:
            >>> memory = Memory.create("boats", ["A rowing boat costs 40 yuan an hour."], load_encoder())
            >>> len(memory)
            1
        """
        folder, fingerprint = Path(folder), encoder.fingerprint
        metric = "cosine" if encoder.normalized else "euclidean"
        with MemoryWriter(folder, metric=metric, metadata=dict(metadata or {}), replace=replace) as writer:
            if writer.base is not None:
                raise _taken(folder)
            ids: set[str] = set()
            entries = (_passage(number, item, ids) for number, item in enumerate(passages, 1))
            while block := list(islice(entries, _BLOCK)):
                writer.add_values(block)
            if not writer.entries:
                raise ValueError("There are no passages; give at least one text.")
            write_keys(writer, encoder)
            # No tokenizer split them.
            splitting = {"tokenizer": fingerprint.name, "max_tokens": 0}
            writer.commit(fingerprint, splitting=splitting, job={"name": "create", "added": writer.entries})
        return cls.open(folder)


def require_new(folder: Path, *, replace: bool) -> None:
    """Raises ValueError: a folder holds a memory that is not to be replaced. `Memory.create` sees to that itself, with the encoder loaded."""
    if not replace and (folder / MANIFEST).exists():
        raise _taken(folder)


def _taken(folder: Path) -> ValueError:
    return ValueError(
        f"{folder} holds a memory; name another folder, or replace it (--replace; in Python replace=True)."
    )


def write_keys(writer: MemoryWriter, encoder: PassageEncoder) -> None:
    """Embed the texts of all new entries of a memory in the order of their rows.

    Raises:
        MismatchError: the keys of the memory are of pictures.
    """
    require_text_keys(encoder.fingerprint)
    for block in writer.value_blocks(_BLOCK):
        writer.add_keys(encoder.encode_passages([passage.titled_text for passage in block]))


def require_text_keys(encoder: EncoderFingerprint) -> None:
    """Raises MismatchError: keys of this encoder are of pictures, so that a text alone has none."""
    if encoder.picture_probe:
        raise MismatchError(
            f"Keys of the encoder {encoder.name!r} are of pictures, and texts were given without any; give pictures with: memgpt-rag "
            "images build, or memgpt-index pictures"
        )


def _passage(number: int, item: str | Passage, ids: set[str]) -> Passage:
    text = item if isinstance(item, str) else item.text
    if not text.strip():
        raise ValueError(f"Passage {number:,} is empty; give a text.")
    if isinstance(item, str):
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        id = f"text#{digest}" if f"text#{digest}" not in ids else f"text#{digest}-{number}"
        item = Passage(id, text, "", "text", "", "line", number, number, 0, len(text))
    if item.id in ids:
        raise ValueError(f"Passage {number:,} has the id {item.id!r} of an earlier one; an id names one passage.")
    ids.add(item.id)
    return item
