"""Summaries of a memory, and texts about what it says: an outline first, then part by part.

Each part is written about the entries of its section alone. What is retrieved for its heading is attended to first; after every so many
tokens, what was written last is searched for, and entries of the section that were not read yet come before those that were. So a
section may be far longer than the model's window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.row_control import Deadline
from memgpt_rag.choices import (
    DEFAULT_K,
    DEFAULT_PART_TOKENS,
    DEFAULT_PARTS,
    DEFAULT_RETRIEVE_EVERY,
    OUTLINES,
    Outline,
)
from memgpt_rag.limits import (
    MOST_CHARACTERS,
    MOST_ENTRIES,
    MOST_NEW_TOKENS,
    MOST_PARTS,
    MOST_RETRIEVED,
    require_between,
)
from memgpt_rag.memory import Searchable
from memgpt_rag.passage import Passage
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved, Retriever
from memgpt_rag.tasks.summaries.outline import Section, sections
from memgpt_rag.tasks.summaries.summary import Part
from memgpt_rag.tasks.summaries.writer import Writer

_ABOUT_ENTRIES = 16  # a part, of those found for what a text is to be about


@dataclass(frozen=True)
class SummaryOptions:
    """How a memory is summarised.

    Attributes:
        about: what to write about; empty for all that the entries say.
        where: condition on the entries, such as 'source == "manual.txt"'; see `memgpt_rag.memory.filter`.
        outline: sections by "headings" or by "topics"; "auto" for headings where there are several.
        parts: the most parts.
        k: entries that are attended to at once.
        part_tokens: the longest part.
        retrieve_every: tokens after which a part goes on with other entries; None for entries that stay.

    Raises:
        ValueError: an unknown outline, or a number out of bounds.
    """

    about: str = ""
    where: str | None = None
    outline: Outline = "auto"
    parts: int = DEFAULT_PARTS
    k: int = DEFAULT_K
    part_tokens: int = DEFAULT_PART_TOKENS
    retrieve_every: int | None = DEFAULT_RETRIEVE_EVERY

    def __post_init__(self) -> None:
        if self.outline not in OUTLINES:
            raise ValueError(f"There is no outline {self.outline!r}; expected one of {', '.join(OUTLINES)}.")
        require_between("parts", self.parts, 1, MOST_PARTS)
        require_between("k", self.k, 1, MOST_ENTRIES)
        require_between("part_tokens", self.part_tokens, 8, MOST_NEW_TOKENS)
        require_between("characters of about", len(self.about), 0, MOST_CHARACTERS)
        if self.retrieve_every is not None:
            require_between("retrieve_every", self.retrieve_every, 1, MOST_NEW_TOKENS)

    @property
    def ask(self) -> AskOptions:
        """The same for one part."""
        return AskOptions(k=self.k, max_new_tokens=self.part_tokens, retrieve_every=self.retrieve_every)


def plan(memory: Searchable, options: SummaryOptions, retriever: Retriever | None = None) -> list[Section]:
    """Return the sections of a summary, of which topics still have no heading; no language model is asked.

    Args:
        retriever: finds the entries for what to write about; None where a text is about all of them.

    Raises:
        ValueError: as `outline`.
    """
    if retriever is None:
        rows = memory.rows(options.where)
    else:
        most = min(options.parts * _ABOUT_ENTRIES, MOST_RETRIEVED)
        found = retriever.retrieve([options.about.strip()], most, where=options.where)[0]
        rows = np.array(sorted(entry.row for entry in found), np.int64)
    if not len(rows):
        raise ValueError(
            "No entry was found to write about; "
            + (
                "change the condition (where), or what to write about."
                if options.where
                else "name something that the memory holds."
            )
        )
    return sections(memory, rows, options.parts, options.outline)


def named(writer: Writer, planned: Sequence[Section]) -> list[Section]:
    """Return sections with titles of the language model where they are topics."""
    memory = writer.rag.retriever.memory
    return [
        replace(
            section, heading=writer.titles([[_alike(row, memory.passages([row])[0]) for row in section.central]])[0]
        )
        if section.central
        else section
        for section in planned
    ]


def outline(writer: Writer, options: SummaryOptions = SummaryOptions()) -> list[Section]:
    """Return the sections of a summary, each with its heading.

    Raises:
        ValueError: no entry matches the condition, nothing is found for what to write about, or there are no headings.
    """
    retriever = writer.rag.retriever
    return named(writer, plan(retriever.memory, options, retriever if options.about.strip() else None))


def write(
    writer: Writer,
    planned: Sequence[Section],
    options: SummaryOptions = SummaryOptions(),
    deadline: Deadline | None = None,
) -> Iterator[Part]:
    """Yield the part of each section as soon as it is written.

    Args:
        deadline: ends the part that is being written then; do not ask for a further one after it.
    """
    about, earlier = options.about.strip(), list[int]()
    for section in planned:
        subject = about if about and len(planned) == 1 else ", ".join(one for one in (about, section.heading) if one)
        reading = _Reading(writer.rag, section, subject, options.k)
        # Where the section has no more entries than are attended to, there is nothing to exchange.
        renews = options.retrieve_every is not None and len(section.rows) > options.k
        ask = options.ask if renews else replace(options.ask, retrieve_every=None)
        sentences, read = writer.part(subject, reading(""), ask, earlier, reading if renews else None, deadline)
        yield Part(section.heading, sentences, len(section.rows), read)


def summarize(writer: Writer, options: SummaryOptions = SummaryOptions()) -> list[Part]:
    """Return a summary of a memory, or a text about what it says on a subject.

    Raises:
        ValueError: as `outline`.

    Example:
        >>> parts = summarize(open_writer("manual-memory"), SummaryOptions(parts=4))
        >>> parts[0].sentences[0].sources[0].passage.place
        'manual.md, lines 3–9'
    """
    return [*write(writer, outline(writer, options), options)]


class _Reading:
    """Which entries of a section are attended to next: of those found, the ones that were not read yet come first."""

    def __init__(self, rag: RAG, section: Section, subject: str, k: int):
        self._retriever, self._subject, self._k = rag.retriever, subject, k
        self._section, self._rows, self._read = section, frozenset(section.rows), set[int]()
        ids = [passage.id for passage in rag.retriever.memory.passages(section.rows)]
        self._where = pc.field("id").isin(pa.array(ids))

    def __call__(self, latest: str) -> list[Retrieved]:
        if len(self._section.rows) <= self._k:
            passages = self._retriever.memory.passages(self._section.rows)
            return [_alike(row, passage) for row, passage in zip(self._section.rows, passages, strict=True)]
        query = "\n".join(one for one in (self._subject, latest.strip()) if one) or "summary"
        most = min(self._k + len(self._read), MOST_RETRIEVED)
        found = self._retriever.retrieve([query], most, where=self._where)[0]
        # Ids may be the same in several memories.
        found = [entry for entry in found if entry.row in self._rows]
        found.sort(key=lambda entry: entry.row in self._read)
        self._read |= {entry.row for entry in found[: self._k]}
        return found[: self._k]


def _alike(row: int, passage: Passage) -> Retrieved:
    """Return an entry that is attended to as every other."""
    return Retrieved(row, passage, 0.0, 0.0)
