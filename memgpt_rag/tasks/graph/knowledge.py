"""Triples with the names of what they are about: what the readers of this package make and all else works on."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from memgpt_rag.errors import SourceError

MOST_TRIPLES = 2**20  # of all files together
MOST_TEXT = 4_000  # characters of a name or a literal: an entry is a sentence
MOST_FILE_BYTES = 2**26


@dataclass(frozen=True)
class Place:
    """Where a triple stands: file and line."""

    source: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}, line {self.line:,}"


@dataclass(frozen=True)
class Triple:
    """Subject, property and object.

    Attributes:
        subject, property: ids of entities: an IRI, or the normalized name where a file has names only.
        object: id of an entity, or the text of a literal.
        place: file and line.
        is_literal: whether the object is a literal, which has no triples of its own.
        language: language of the literal, "" where none is given.
        negated: whether the triple says that the property does not hold.
    """

    subject: str
    property: str
    object: str
    place: Place
    is_literal: bool = False
    language: str = ""
    negated: bool = False


@dataclass
class Knowledge:
    """Triples, and what is known of their entities.

    Attributes:
        names: id → language → name; the language is "" where none is given, and such a name fits every language.
        types: id → ids of its classes.
        same, different: pairs of ids that are declared to be the same entity, or not, with the place.
        functional: ids of properties declared to have one object at most.
        hierarchical: ids of properties declared to be transitive, along which nothing may lead back to itself.
        declarations: number of statements of the files that describe names and properties, and are no entries.
    """

    triples: list[Triple] = field(default_factory=list)
    names: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    types: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    same: list[tuple[str, str, Place]] = field(default_factory=list)
    different: list[tuple[str, str, Place]] = field(default_factory=list)
    functional: set[str] = field(default_factory=set)
    hierarchical: set[str] = field(default_factory=set)
    declarations: int = 0

    def add(self, triple: Triple) -> None:
        """Append a triple.

        Raises:
            SourceError: it is one too many, or its literal is too long.
        """
        if len(self.triples) == MOST_TRIPLES:
            raise SourceError(f"{triple.place}: more than {MOST_TRIPLES:,} triples; make several memories of them.")
        require_short(triple.object, triple.place)
        self.triples.append(triple)

    def entities(self) -> list[str]:
        """Return the ids of all entities in the order in which they occur, without properties."""
        ends = ((one.subject, *(() if one.is_literal else (one.object,))) for one in self.triples)
        return list(dict.fromkeys(end for both in ends for end in both))

    def name(self, id: str, language: str = "") -> str:
        """Return the name of an entity or a property in a language, or else in any; of one without, the end of its IRI."""
        names = self.names.get(id, {})
        return names.get(language) or names.get("") or next(iter(names.values()), None) or end_of_iri(id)


def require_short(text: str, place: Place) -> None:
    """Raises SourceError: a name or a literal is too long for an entry."""
    if len(text) > MOST_TEXT:
        raise SourceError(
            f"{place}: a text of {len(text):,} characters; a triple has at most {MOST_TEXT:,}. "
            "Build a memory of longer texts with memgpt-index build."
        )


def normalized(name: str) -> str:
    """Return a name without letter case, width and superfluous white space: two names that are alike are equal.

    >>> normalized(" New  York"), normalized("ＮＥＷ YORK")
    ('new york', 'new york')
    """
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def end_of_iri(id: str) -> str:
    """Return the last part of an IRI in words: "http://example.org/partOf" → "part of"."""
    end = id.rstrip("/#").replace("#", "/").rsplit("/", 1)[-1].replace("_", " ")
    letters = [
        f" {letter.lower()}" if letter.isupper() and before.islower() else letter
        for before, letter in zip(" " + end, end)
    ]
    return "".join(letters).strip() or id


def shown(names: Iterable[str], most: int = 5) -> str:
    """Return some names for a message."""
    listed = list(names)
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
