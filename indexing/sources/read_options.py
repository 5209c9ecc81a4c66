"""Options for reading files, shared by the readers of all formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from indexing.job_log import Reject
from indexing.sources.document import Note
from indexing.sources.inflation import Allowance


def ignore(event: object) -> None:
    """Do nothing with a note, or with news of progress."""


@dataclass(frozen=True)
class RecordFields:
    """Names of the fields with a record's text, title and id; None for the first usual name that the record has."""

    text: str | None = None
    title: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class ReadLimits:
    """What reading one file may take, in a process of its own.

    Attributes:
        seconds: most time without any further text or news of progress.
        memory_bytes: most memory.
    """

    seconds: float = 60.0
    memory_bytes: int = 10**9


@dataclass(frozen=True)
class ReadOptions:
    """How to read sources.

    Attributes:
        encoding: encoding that the user names for text files, HTML, CSV and JSON Lines; None for that of the byte-order
            mark, else the one that the file declares, else UTF-8. A byte-order mark goes before the user's name.
        encodings: pattern of file names and encoding of these files; the first pattern that fits goes before `encoding`.
        main_content: read the main content of HTML pages only.
        fields: names of the fields with a record's text, title and id.
        metadata: metadata column → type, to keep from a record.
        limits: what reading one file may take; None to read in this process, without limits.
        delimiter: character between the columns of CSV; None to detect it.
        exclude: patterns of names of members of archives to leave out, such as "*.png".
        pictures: read pictures instead of text.
        depth: number of archives and mails that the file lies in.
        allowance: what those archives may still inflate to; None outside of an archive.
        on_note: called with each note about what was left out.
        on_progress: called with the share of the present file that was read, from 0 to 1, by readers that work long on one
            file.
        on_reject: called with each record or file that cannot be read; None to fail instead.
    """

    encoding: str | None = None
    encodings: tuple[tuple[str, str], ...] = ()
    main_content: bool = False
    fields: RecordFields = RecordFields()
    metadata: dict[str, str] = field(default_factory=dict)
    limits: ReadLimits | None = ReadLimits()
    on_note: Callable[[Note], object] = ignore
    on_progress: Callable[[float], object] = ignore
    delimiter: str | None = None
    exclude: tuple[str, ...] = ()
    pictures: bool = False
    depth: int = 0
    allowance: Allowance | None = None
    on_reject: Callable[[Reject], object] | None = None

    def for_pictures(
        self, on_note: Callable[[Note], object], on_reject: Callable[[Reject], object] | None
    ) -> ReadOptions:
        """Return the options with which pictures are read instead of text."""
        return replace(self, pictures=True, on_note=on_note, on_reject=on_reject)
