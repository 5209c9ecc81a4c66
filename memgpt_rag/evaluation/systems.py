"""What is measured: a system takes queries and gives, for each, documents with their scores. Here they are made by name.

To measure another way of searching, add what makes its `Retriever` to `RETRIEVERS`. Heavy imports wait for the one asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from memgpt_rag.passage import Passage

if TYPE_CHECKING:
    from memgpt_rag.encoder import Encoder
    from memgpt_rag.evaluation.document_memory import Costs
    from memgpt_rag.memory import Searchable
    from memgpt_rag.retrieve import Retriever

Ranking = list[tuple[str, float]]


class System(Protocol):
    """A ranking of at most k documents for each query, best first; scores never increase, no document comes twice.

    A system may have more to tell: `about`, a mapping for the report, and `costs`, what its memory took.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, queries: Sequence[str], k: int) -> list[Ranking]: ...


def _dense(memory: Searchable, encoder: Encoder) -> Retriever:
    from memgpt_rag.retrieve import Retriever

    return Retriever(memory, encoder)


RETRIEVERS: dict[str, Callable[[Searchable, Encoder], Retriever]] = {"dense": _dense}


def require_search(name: str) -> None:
    """Raises ValueError for a way of searching that is none, before anything is loaded for it."""
    if name not in RETRIEVERS:
        raise ValueError(f"No search {name!r}; expected one of {', '.join(RETRIEVERS)}.")


def make_system(
    search: str, memory: Searchable, encoder: Encoder, *, name: str | None = None, costs: Costs | None = None
) -> RetrieverSystem:
    """The system that searches a memory in the way of that name.

    Args:
        search: one of `RETRIEVERS`.
        name: for the report; None for the search with its encoder.

    Raises:
        ValueError: there is no such way.
        MismatchError: the memory was embedded by another encoder.
    """
    require_search(search)
    from memgpt_rag.evaluation.judged_set import digest

    fingerprint = encoder.fingerprint
    about = {
        "search": search,
        "encoder": fingerprint.name,
        "encoder_digest": digest(fingerprint.to_json()),
        "dimension": fingerprint.dimension,
        "query_prompt": fingerprint.query_prompt,
        "passage_prompt": fingerprint.passage_prompt,
        "max_tokens": fingerprint.max_tokens,
        "entries": len(memory),
    }
    return RetrieverSystem(
        name or f"{search} {fingerprint.name}", RETRIEVERS[search](memory, encoder), document_of, about, costs
    )


def document_of(passage: Passage) -> str:
    """Id of the document that a passage is a part of: the user's record, or the whole file."""
    return passage.record or passage.source


@dataclass(frozen=True)
class RetrieverSystem:
    """A retriever of passages as a system that ranks documents: a document's score is that of its best passage.

    Attributes:
        name: for the report.
        retriever: what finds passages, best first.
        document: tells the document of a passage.
        about: what else the report says of it.
        costs: what its memory took to build, where it was built for this.
    """

    name: str
    retriever: Retriever
    document: Callable[[Passage], str] = document_of
    about: Mapping[str, Any] = field(default_factory=dict)
    costs: Costs | None = None

    def __call__(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """Rank documents. Passages are asked for in growing numbers until k documents are among them, or none are left."""
        rankings: list[Ranking] = [[] for _ in queries]
        open_places, passages = list(range(len(queries))), k
        while open_places:
            found = self.retriever.retrieve([queries[place] for place in open_places], passages)
            still_open = []
            for place, entries in zip(open_places, found, strict=True):
                best: dict[str, float] = {}
                for entry in entries:
                    best.setdefault(self.document(entry.passage), entry.score)
                rankings[place] = list(best.items())[:k]
                if len(best) < k and len(entries) == passages:
                    still_open.append(place)
            open_places, passages = still_open, 2 * passages
        return rankings
