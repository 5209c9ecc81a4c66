"""A retrieval task with judgements: documents, queries, and which documents are right for which query. Knows no file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple


class Document(NamedTuple):
    """What is to be found; a title may be empty, and so may a text: real collections have such documents."""

    title: str
    text: str


@dataclass(frozen=True)
class RetrievalDataset:
    """Documents, queries and judgements.

    Attributes:
        name: what people call it.
        documents: by their id, in the order of the collection.
        queries: by their id; judged ones and others.
        judgements: query id → document id → grade. 1 and more is relevant, 0 and less is not; what is not judged is
            taken as not relevant.
        answers: right answers to the query, where they are known.

    Raises:
        ValueError: no document, a judgement or an answer of a query that is not there, or of such a document, or no
            query with a relevant document.
    """

    name: str
    documents: Mapping[str, Document]
    queries: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, int]]
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.documents:
            raise ValueError(f"{self.name} has no document; expected at least one.")
        for query in (*self.judgements, *self.answers):
            if query not in self.queries:
                raise ValueError(f"{self.name} judges or answers the query {query!r}, which is none of its queries.")
        for query, grades in self.judgements.items():
            for document in grades:
                if document not in self.documents:
                    raise ValueError(
                        f"{self.name} judges the document {document!r} for the query {query!r}; it is none of its documents."
                    )
        if not self.judged:
            raise ValueError(f"No query of {self.name} has a relevant document; nothing can be measured.")

    @cached_property
    def judged(self) -> dict[str, str]:
        """The queries that are measured: those with a relevant document, in order.

        The others have no right ranking: a mean over them would count every system as wrong.
        """
        return {
            query: text
            for query, text in self.queries.items()
            if any(grade > 0 for grade in self.judgements.get(query, {}).values())
        }

    def relevant(self, query: str) -> list[str]:
        """Ids of the documents that are relevant for a query."""
        return [document for document, grade in self.judgements.get(query, {}).items() if grade > 0]

    @cached_property
    def documents_digest(self) -> str:
        """Tells one collection from another, whatever file it came from and in whatever order."""
        return digest(sorted([name, *document] for name, document in self.documents.items()))

    @cached_property
    def query_digests(self) -> dict[str, str]:
        """Tells for each measured query whether another set asks and judges it in the same way."""
        return {
            query: digest([text, sorted(self.relevant_grades(query).items())]) for query, text in self.judged.items()
        }

    def relevant_grades(self, query: str) -> dict[str, int]:
        """Relevant documents of a query with their grades: all that a measure looks at."""
        return {document: grade for document, grade in self.judgements.get(query, {}).items() if grade > 0}


def merge_equal(documents: Iterable[tuple[str, Document]]) -> tuple[dict[str, Document], dict[str, str]]:
    """Documents of equal title and text become one, the first: no search could tell which of them is meant.

    Returns:
        The documents that stay, and for the id of every document the id of the one that it has become.
    """
    kept: dict[str, Document] = {}
    first: dict[Document, str] = {}
    became: dict[str, str] = {}
    for name, document in documents:
        became[name] = first.setdefault(document, name)
        kept[became[name]] = document
    return kept, became


def digest(content: object) -> str:
    """SHA-256 of what JSON can say, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
