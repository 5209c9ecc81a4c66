"""The common form of what stores of other programs hold: entries of id, text, metadata and vector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from indexing.sources.read_options import RecordFields
from indexing.sources.readers.records.records import record_fields
from memgpt_rag.errors import MemoryFormatError, SourceError, first_line
from memgpt_rag.io.printable import shortened


@dataclass(frozen=True)
class StoredEntry:
    """An entry as its store holds it; nothing of it is checked but the types of text and vector.

    Attributes:
        text: None where the store holds none.
        vector: what the store searches by; None where it holds none.
    """

    id: str
    text: str | None
    metadata: Mapping[str, Any]
    vector: Float[np.ndarray, " dimension"] | None


@dataclass(frozen=True)
class Store:
    """An opened store.

    Attributes:
        name: what it is, for messages: "the collection 'news' in ./chroma".
        source: where its entries come from, unless their metadata say so.
        entries: yields all entries, in the same order whenever it is called; raises SourceError where the store is damaged.
        without_vectors: why it has vectors that cannot be taken over; empty where they can be.
        notes: what is left out of it.
    """

    name: str
    source: str
    entries: Callable[[], Iterable[StoredEntry]]
    without_vectors: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreOptions:
    """What of a store is read.

    Attributes:
        collection: name of its collection, table or index; None where it has one only.
        fields: names of the fields with text and id, for stores whose users name them.
        vector: name of the field with the vector, likewise.
    """

    collection: str | None = None
    fields: RecordFields = field(default_factory=RecordFields)
    vector: str | None = None


def choose(names: Iterable[str], wanted: str | None, where: Path) -> str:
    """Return the one collection of a store, or the one that is named.

    Raises:
        SourceError: there is none, there are several, or none has that name.
    """
    found = sorted(names)
    listed = ", ".join(shortened(repr(name), 80) for name in found[:20])
    if not found:
        raise SourceError(f"{where} holds no collection; name the folder of a store that does.")
    if wanted is None and len(found) > 1:
        raise SourceError(f"{where} holds several collections; name one of {listed} with --collection.")
    if wanted is not None and wanted not in found:
        raise SourceError(f"{where} holds no collection {wanted!r}; found {listed}.")
    return wanted or found[0]


def record_entry(
    record: Mapping[str, Any], options: StoreOptions, where: str, id: str, *, usual_id: bool = False
) -> StoredEntry:
    """Return an entry, still without its vector, of the fields of a record; those that are neither text nor id are metadata.

    A field "metadata" that holds fields itself, as LangChain writes it, is taken for these.

    Args:
        id: of the entry, where no field holds one.
        usual_id: whether a field with a usual name holds the id, and not only one that the user named.

    Raises:
        SourceError: no field holds a text, or none has the name that was given.
    """
    text_field, _, id_field = record_fields(record, options.fields, where)
    if not usual_id and options.fields.id is None:
        id_field = None
    text, own = record[text_field], id if id_field is None else record[id_field]
    if not isinstance(text, str | None):
        kind = type(text).__name__
        raise SourceError(f"{where}: its {text_field} is of the type {kind}, expected text; name another --text-field.")
    if isinstance(own, bool) or not isinstance(own, str | int):
        raise SourceError(f"{where}: its {id_field} is neither text nor a whole number; name another --id-field.")
    metadata = {name: value for name, value in record.items() if name not in (text_field, id_field)}
    if isinstance(inner := metadata.get("metadata"), Mapping):
        del metadata["metadata"]
        metadata = {**inner, **metadata}
    return StoredEntry(str(own), text, metadata, None)


@contextmanager
def refusing(path: Path, what: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn what a library or a check says about a damaged file into one sentence.

    Args:
        what: what the file was taken for: "a store of Chroma".

    Raises:
        SourceError: in place of any of the errors.
    """
    caught: tuple[type[Exception], ...] = (*errors, MemoryFormatError)
    try:
        yield
    except SourceError:
        raise
    except caught as error:
        raise SourceError(
            f"{path} cannot be read as {what}: {first_line(error)}; name the folder as the program wrote it, or mend it."
        ) from error


def vector_from(numbers: Any, where: str) -> Float[np.ndarray, " dimension"] | None:
    """Return a list of numbers as a vector; None for None.

    Raises:
        SourceError: it is something else, such as a list of lists.
    """
    if numbers is None:
        return None
    if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
        raise SourceError(f"{where}: its vector is no list of numbers; name the one to take with --vector-field.")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which is refused later
        return np.array(numbers, np.float64).astype(np.float32)
