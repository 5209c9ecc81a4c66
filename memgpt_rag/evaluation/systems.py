"""Systems to evaluate, created by name: a system maps each query to documents with their scores.

A search is named "dense", "bm25", "hybrid" or "sparse", with or without a reranker, as in "hybrid+rerank".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from memgpt_rag.choices import SEARCH_KINDS, SearchKind
from memgpt_rag.limits import MOST_RETRIEVED
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.retriever import Retriever, Search

if TYPE_CHECKING:
    from memgpt_rag.encoders.base import Encoder
    from memgpt_rag.encoders.sparse_encoder import SparseTextEncoder
    from memgpt_rag.evaluation.document_memory import Costs
    from memgpt_rag.memory import Searchable

Ranking = list[tuple[str, float]]


class System(Protocol):
    """Returns a ranking of at most k documents for each query, best first; scores never increase, no document occurs twice.

    A system may have two more attributes: `about`, a mapping for the report, and `costs`, the costs of its memory.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, queries: Sequence[str], k: int) -> list[Ranking]: ...


# Name of each way of searching, its kind, and whether a reranker follows.
SEARCHES: dict[str, tuple[SearchKind, bool]] = {
    **{kind: (kind, False) for kind in SEARCH_KINDS},
    **{f"{kind}+rerank": (kind, True) for kind in SEARCH_KINDS},
}


def is_reranked(name: str) -> bool:
    """Return whether a search has a reranker."""
    return SEARCHES[name][1]


def needs_lexical_index(name: str) -> bool:
    """Return whether a search needs a lexical index."""
    return SEARCHES[name][0] in ("bm25", "hybrid")


def required_sparse_encoder(names: Sequence[str], settings: Search) -> SparseTextEncoder | None:
    """Return the sparse encoder of the settings if one of the searches goes by sparse vectors."""
    kinds = {SEARCHES[name][0] for name in names}
    return settings.sparse_encoder if kinds & {"hybrid", "sparse"} else None


def require_search(name: str) -> None:
    """Check the name of a search before any model is loaded for it; raises ValueError if it is unknown."""
    if name not in SEARCHES:
        raise ValueError(f"No search {name!r}; expected one of {', '.join(SEARCHES)}.")


def make_system(
    search: str,
    memory: Searchable,
    encoder: Encoder,
    settings: Search = Search(),
    *,
    name: str | None = None,
    costs: Costs | None = None,
) -> RetrieverSystem:
    """Create the system that searches a memory in the named way.

    Args:
        search: one of `SEARCHES`.
        settings: weights, the sparse encoder and the reranker; `search` decides the kind and whether the reranker is used. Passages
            are not joined with adjacent ones, which changes no ranking of documents.
        name: name for the report; None for the search with its encoder.

    Raises:
        ValueError: the search is unknown, or lacks a sparse encoder or a reranker.
        MismatchError: the memory was embedded by another encoder.
        MemoryFormatError: the memory has no lexical index, or not the sparse vectors of all entries.
    """
    require_search(search)
    from memgpt_rag.evaluation.data.dataset import digest

    settings_shown = search_settings(search, settings)
    kind, reranked = SEARCHES[search]
    reranker = settings.reranker if reranked else None
    retriever = Retriever(memory, encoder, replace(settings, kind=kind, reranker=reranker, adjacent=0))

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
        **settings_shown,
    }
    return RetrieverSystem(name or f"{search} {fingerprint.name}", retriever, about=about, costs=costs)


def search_settings(search: str, settings: Search) -> dict[str, Any]:
    """Return the settings that make a difference in the named search, for a report.

    Raises:
        ValueError: the search lacks a sparse encoder or a reranker.
    """
    kind, reranked = SEARCHES[search]
    settings_shown: dict[str, Any] = {}
    if kind == "hybrid":
        settings_shown |= {"fusion": settings.fusion, "lexical_weight": settings.lexical_weight}
    if (sparse_encoder := required_sparse_encoder([search], settings)) is not None:
        settings_shown |= {"sparse_encoder": sparse_encoder.name}
        settings_shown |= {"sparse_weight": settings.sparse_weight} if kind == "hybrid" else {}
    elif kind == "sparse":
        raise ValueError(f"The search {search!r} needs a sparse encoder; name one with --sparse-encoder.")
    if reranked:
        if settings.reranker is None:
            raise ValueError(f"The search {search!r} needs a reranker; name one with --rerank.")
        settings_shown |= {
            "reranker": settings.reranker.name,
            "rerank_weight": settings.weight_of_reranker,
            "depth": settings.depth,
        }
    return settings_shown


@dataclass(frozen=True)
class RetrieverSystem:
    """Ranks documents with a retriever of passages: a document's score is that of its best passage.

    Where the ranking is a diverse one, in which scores rise and fall, it is minus the passage's place.

    Attributes:
        name: name for the report.
        retriever: returns passages, best first.
        document: returns the document id of a passage.
        about: further fields for the report.
        costs: costs of building its memory, if it was built for the evaluation.
    """

    name: str
    retriever: Retriever
    document: Callable[[Passage], str] = attrgetter("document_id")
    about: Mapping[str, Any] = field(default_factory=dict)
    costs: Costs | None = None

    def __call__(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """Rank documents, retrieving more and more passages until they are from k documents, or none are left.

        At most `MOST_RETRIEVED` passages are retrieved; there may be fewer documents among them.
        """
        rankings: list[Ranking] = [[] for _ in queries]
        diverse = self.retriever.search.diversity > 0
        open_places, passages = list(range(len(queries))), k
        while open_places:
            found = self.retriever.retrieve([queries[place] for place in open_places], passages)
            still_open = []
            for place, entries in zip(open_places, found, strict=True):
                best: dict[str, float] = {}
                for rank, entry in enumerate(entries):
                    best.setdefault(self.document(entry.passage), float(-rank) if diverse else entry.score)
                rankings[place] = list(best.items())[:k]
                if len(best) < k and len(entries) == passages < MOST_RETRIEVED:
                    still_open.append(place)
            open_places, passages = still_open, min(2 * passages, MOST_RETRIEVED)
        return rankings
