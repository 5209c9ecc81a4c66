"""How to read what a file alone does not tell; every reader takes from it what concerns it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from indexing.job_log import Reject


@dataclass(frozen=True)
class RecordFields:
    """Which fields of a record hold its text, title and id; None takes the first usual name that the record has."""

    text: str | None = None
    title: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class ReadOptions:
    """How to read sources.

    Attributes:
        encoding: character encoding of text files, CSV and JSON Lines.
        fields: which fields of a record hold its text, title and id.
        metadata: columns to keep of a record, and their types.
        on_reject: is told of each record, or file, that cannot be read; None to stop there.
    """

    encoding: str = "utf-8"
    fields: RecordFields = RecordFields()
    metadata: dict[str, str] = field(default_factory=dict)
    on_reject: Callable[[Reject], object] | None = None
