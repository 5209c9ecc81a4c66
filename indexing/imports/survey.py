"""Reads a store once before anything is written: counts its entries, refuses what no memory can hold, and finds its columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from indexing.imports.stored_entry import Store, StoredEntry
from indexing.seen import SeenIds
from indexing.sources.readers.records.records import require_short, whole_characters
from memgpt_rag.choices import ColumnType
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import printable, shortened
from memgpt_rag.memory.storage.layout import values_schema
from memgpt_rag.passage import Passage

SAMPLE = 32  # at least so many texts are embedded again, where there are so many
_MOST_ID, _MOST_COLUMNS = 1000, 1000
_SOURCE = "source"  # the metadata field that says which document an entry comes from
_MIXED = "mixed"


@dataclass
class Survey:
    """What a store holds.

    Attributes:
        title: name of the metadata field that is put before a text; None for none.
        entries: number of entries.
        columns: metadata column → type.
        dimension: numbers of each vector; 0 where there are none.
        without_vectors: why the vectors cannot be taken over; empty where they can be.
        left_out: what no column can hold.
        sample: passages from all over the store, with their vectors.
        digest: of all ids and texts.
    """

    title: str | None
    entries: int = 0
    columns: dict[str, ColumnType] = field(default_factory=dict)
    dimension: int = 0
    without_vectors: str = ""
    left_out: list[str] = field(default_factory=list)
    sample: list[tuple[Passage, Float[np.ndarray, " dimension"] | None]] = field(default_factory=list)
    digest: str = ""

    def passages(self, store: Store) -> Iterator[Passage]:
        """Yield the entries of the store as passages.

        Raises:
            SourceError: the store has changed since it was surveyed.
        """
        digest = blake2b(digest_size=16)
        for number, entry in enumerate(store.entries(), 1):
            _add(digest, entry)
            yield self.passage(entry, number, store)
        if digest.hexdigest() != self.digest:
            raise SourceError(f"{store.name} changed while it was read; stop what writes there, and import again.")

    def passage(self, entry: StoredEntry, number: int, store: Store) -> Passage:
        """Return an entry as a passage.

        Args:
            number: of the entry in the store, from 1.
        """
        text, metadata = entry.text or "", entry.metadata
        title = metadata.get(self.title) if self.title else None
        source = metadata.get(_SOURCE)
        known = {name: metadata[name] for name in self.columns if metadata.get(name) is not None}
        return Passage(
            entry.id,
            text,
            title if isinstance(title, str) else "",
            source if isinstance(source, str) and source else store.source,
            entry.id,
            "row",
            number,
            number,
            0,
            len(text),
            known,
        )


def survey(store: Store, title: str | None = None) -> Survey:
    """Read a store from beginning to end.

    Args:
        title: name of the metadata field that is put before each text.

    Raises:
        SourceError: the store is empty or damaged, or an entry has no id, no text, the id of another, or a vector that is none
            or of another dimension; the message names the entry.
    """
    found, seen, kinds, step = Survey(title, without_vectors=store.without_vectors), SeenIds(), _Kinds(), 1
    digest = blake2b(digest_size=16)
    for number, entry in enumerate(store.entries(), 1):
        where = f"{store.name}, entry {shortened(repr(entry.id), 80)}"
        _require_text(entry, where, title)
        if (at := seen.where(entry.id)) is not None:
            raise SourceError(
                f"{where}: its id is that of entry {at:,} already, this being {number:,}; ids must differ."
            )
        seen.add(entry.id, number)
        if not found.without_vectors:
            _require_vector(found, entry, number, where)
        kinds.add(entry, where, {title, _SOURCE} if isinstance(entry.metadata.get(_SOURCE), str | None) else {title})
        if (number - 1) % step == 0:
            found.sample.append((found.passage(entry, number, store), entry.vector))
            if len(found.sample) > 2 * SAMPLE:
                found.sample, step = found.sample[::2], 2 * step
        _add(digest, entry)
        found.entries = number
    if not found.entries:
        raise SourceError(f"{store.name} holds no entries; name a store that does.")
    if title is not None and not kinds.has(title):
        raise SourceError(
            f"{store.name} has no field {title!r} for titles; found {', '.join(kinds.names)[:200] or 'none'}."
        )
    found.columns, left_out = kinds.columns()
    found.left_out, found.digest = [*store.notes, *left_out], digest.hexdigest()
    return found


def _add(digest: Any, entry: StoredEntry) -> None:
    for part in (entry.id, entry.text or ""):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)


def _require_text(entry: StoredEntry, where: str, title: str | None) -> None:
    if not entry.id.strip() or len(entry.id) > _MOST_ID:
        raise SourceError(
            f"{where}: its id has {len(entry.id):,} characters, expected 1 to {_MOST_ID:,}; give it another."
        )
    if entry.text is None or not entry.text.strip():
        raise SourceError(f"{where}: has no text, and a memory keeps none without; add it, or remove the entry.")
    require_short(len(entry.text), f"{where}: its text")
    texts = [entry.id, entry.text, *(value for value in entry.metadata.values() if isinstance(value, str))]
    for text in texts:
        whole_characters(text, where)
    if title is not None and not isinstance(entry.metadata.get(title), str | None):
        raise SourceError(f"{where}: its {title} is no text; name another --title-field.")


def _require_vector(found: Survey, entry: StoredEntry, number: int, where: str) -> None:
    """Check an entry's vector, or note that there are none."""
    if entry.vector is None:
        if found.dimension:
            raise SourceError(
                f"{where}: has no vector, and those before it have; add it, or embed all texts with --embed-anew."
            )
        found.without_vectors = "the store holds no vectors"
        return
    if number == 1:
        found.dimension = len(entry.vector)
    if len(entry.vector) != found.dimension:
        raise SourceError(
            f"{where}: its vector has {len(entry.vector):,} numbers, those before it have {found.dimension:,}; remove the entry, or "
            "embed all texts with --embed-anew."
        )
    if not np.isfinite(entry.vector).all() or not entry.vector.any():
        kind = "only zeros" if not entry.vector.any() else "NaN or infinity"
        raise SourceError(f"{where}: its vector holds {kind}; remove the entry, or embed all texts with --embed-anew.")


class _Kinds:
    """Types of metadata fields, found entry by entry."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self.names: dict[str, None] = {}

    def has(self, name: str) -> bool:
        """Whether a field occurred."""
        return name in self.names

    def add(self, entry: StoredEntry, where: str, without: set[str | None]) -> None:
        """Note the types of an entry's fields, but for some."""
        for name, value in entry.metadata.items():
            if name not in self.names:
                self.names[name] = None
                if len(self.names) > _MOST_COLUMNS:
                    raise SourceError(
                        f"{where}: is the first with more than {_MOST_COLUMNS:,} metadata fields; leave out some."
                    )
            if value is None or name in without or self._kinds.get(name) == _MIXED:
                continue
            kind, before = _kind(value), self._kinds.get(name)
            if before is not None and {before, kind} == {"integer", "number"}:
                kind = "number"
            elif kind == _MIXED or before not in (None, kind):
                self._reasons[name] = (
                    f"{kind if kind != _MIXED else type(value).__name__} in the {where.rpartition(', ')[2]}"
                )
                kind = _MIXED
            self._kinds[name] = kind

    def columns(self) -> tuple[dict[str, ColumnType], list[str]]:
        """Return the columns with their types, and what was left out."""
        columns: dict[str, ColumnType] = {}
        left_out = []
        for name, kind in self._kinds.items():
            field = f"the metadata field {shortened(repr(printable(name)), 80)}"
            if kind == _MIXED:
                left_out.append(
                    f"{field}, which holds values of several types or of none that a column has ({self._reasons[name]})"
                )
                continue
            try:
                values_schema({name: kind})
            except ValueError:
                hint = "; give it to --title-field to have it before the texts" if name == "title" else ""
                left_out.append(f"{field}, whose name no column can have{hint}")
                continue
            columns[name] = cast(ColumnType, kind)
        return columns, left_out


def _kind(value: Any) -> str:
    """Return the column type of a value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if -(2**63) <= value < 2**63 else _MIXED
    if isinstance(value, float):
        return "number" if math.isfinite(value) else _MIXED
    if isinstance(value, str):
        return "string"
    return "date" if isinstance(value, date) and not isinstance(value, datetime) else _MIXED
