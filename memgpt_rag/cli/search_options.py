"""Search options, shared by every command that searches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memgpt_rag.choices import (
    DEFAULT_DEPTH,
    DEFAULT_LEXICAL_WEIGHT,
    DEFAULT_SPARSE_WEIGHT,
    FUSIONS,
    SEARCH_CHOICES,
    Fusion,
    SearchChoice,
)
from memgpt_rag.io.option_groups import gathered
from memgpt_rag.limits import MOST_ADJACENT, MOST_ENTRIES

if TYPE_CHECKING:
    from memgpt_rag.memory import Searchable
    from memgpt_rag.model import MemoryDecoder
    from memgpt_rag.rag import RAG
    from memgpt_rag.retrieval.retriever import Search

# Name of the reranker that is the language model itself.
OWN_MODEL = "model"


@dataclass(frozen=True)
class SearchOptions:
    """What was given, before any model is loaded."""

    lexical_weight: float
    sparse_encoder: str | None
    sparse_weight: float
    fusion: Fusion
    rerank: str | None
    rerank_weight: float | None
    depth: int
    diversity: float
    adjacent: int
    kind: SearchChoice = "auto"

    def load(self) -> Search:
        """The search, without the language model as a reranker, which `add_own_model` adds.

        Raises:
            ModelError: no such sparse encoder or reranker.
        """
        from memgpt_rag.retrieval.retriever import Search

        sparse_encoder = None
        if self.sparse_encoder is not None:
            from memgpt_rag.encoders.load import load_sparse_encoder

            sparse_encoder = load_sparse_encoder(self.sparse_encoder)
        reranker = None
        if self.rerank not in (None, OWN_MODEL):
            from memgpt_rag.retrieval.rerankers import load_reranker

            reranker = load_reranker(str(self.rerank))
        return Search(
            kind=self.kind,
            lexical_weight=self.lexical_weight,
            sparse_encoder=sparse_encoder,
            sparse_weight=self.sparse_weight,
            fusion=self.fusion,
            reranker=reranker,
            rerank_weight=self.rerank_weight,
            depth=self.depth,
            diversity=self.diversity,
            adjacent=self.adjacent,
        )

    def load_for(self, memory: Searchable) -> Search:
        """The search of `load`, after a check that a memory has what it needs.

        Raises:
            MemoryFormatError, MismatchError: it has not.
        """
        if self.kind in ("bm25", "hybrid"):
            memory.term_statistics([])  # reported before any model is loaded
        search = self.load()
        search.resolved(memory)
        return search

    def open(self, memory: Path, **settings: Any) -> RAG:
        """Open a memory to be searched in this way; `settings` go to `RAG.open`."""
        from memgpt_rag.memory import Memory
        from memgpt_rag.rag import RAG

        rag = RAG.open(memory, search=self.load_for(Memory.open(memory)), **settings)
        self.add_own_model(rag)
        return rag

    def add_own_model(self, rag: RAG) -> None:
        """Let the language model of `rag` rerank, where that was asked for."""
        if self.rerank == OWN_MODEL:
            rag.retriever.search = self._with_own_model(rag.retriever.search, rag.model)

    def load_with(self, model: MemoryDecoder) -> Search:
        """The search, with the language model as a reranker where that was asked for.

        Raises:
            ModelError: no such reranker.
        """
        search = self.load()
        return self._with_own_model(search, model) if self.rerank == OWN_MODEL else search

    def load_named(self, model: str) -> Search:
        """The search, with the language model of that name loaded as a reranker where that was asked for.

        Raises:
            ModelError: no such reranker.
        """
        if self.rerank != OWN_MODEL:
            return self.load()
        from memgpt_rag.model import MemoryDecoder

        decoder = MemoryDecoder.from_pretrained(model)
        decoder.prefix_ids = decoder.prompt.prefix_ids
        return self.load_with(decoder)

    def require_models(self, search: str) -> None:
        """Raises UsageError if a search such as "hybrid+rerank" or "sparse" needs a model that was not named."""
        from memgpt_rag.evaluation.systems import SEARCHES, is_reranked

        if self.sparse_encoder is None and SEARCHES[search][0] == "sparse":
            raise click.UsageError("A sparse search needs a sparse encoder; name one with --sparse-encoder.")
        if self.rerank is None and is_reranked(search):
            raise click.UsageError("A search with +rerank needs a reranker; name one with --rerank.")

    @staticmethod
    def _with_own_model(search: Search, model: MemoryDecoder) -> Search:
        from memgpt_rag.retrieval.rerankers import LikelihoodReranker

        return replace(search, reranker=LikelihoodReranker(model, model.prompt))


_KIND = click.option(
    "--search",
    "kind",
    default="auto",
    show_default=True,
    type=click.Choice(SEARCH_CHOICES),
    help="Search by vectors (dense), by words (BM25), by both (hybrid), or by sparse vectors; words need a lexical index. auto is "
    "hybrid where the memory has one or a sparse encoder is named, else dense.",
)
_REFINING = [
    click.option(
        "--lexical-weight",
        default=DEFAULT_LEXICAL_WEIGHT,
        show_default=True,
        type=click.FloatRange(0, 1),
        help="Weight of BM25 beside cosines in a hybrid search.",
    ),
    click.option(
        "--sparse-encoder",
        metavar="NAME",
        help="SparseEncoder of the memory's sparse vectors, by name or folder, for a sparse search; a hybrid one goes by them, too.",
    ),
    click.option(
        "--sparse-weight",
        default=DEFAULT_SPARSE_WEIGHT,
        show_default=True,
        type=click.FloatRange(0, 1),
        help="Weight of sparse vectors beside the rest of a hybrid search.",
    ),
    click.option(
        "--fusion",
        default="scores",
        show_default=True,
        type=click.Choice(FUSIONS),
        help="How a hybrid search merges its rankings: weighted scores, or reciprocal rank fusion.",
    ),
    click.option(
        "--rerank",
        metavar="NAME",
        help="Rerank the best entries: with a cross-encoder by name or folder; as tokens:NAME, by late interaction with an "
        f"embedding model; or, as {OWN_MODEL!r}, with the language model itself.",
    ),
    click.option(
        "--rerank-weight",
        type=click.FloatRange(0, 1),
        help="Weight of the reranker's scores beside those of the search; without it, the reranker's own.",
    ),
    click.option(
        "--depth",
        default=DEFAULT_DEPTH,
        show_default=True,
        type=click.IntRange(1, MOST_ENTRIES),
        help="Entries that the reranker, or --diversity, chooses from.",
    ),
    click.option(
        "--diversity",
        default=0.0,
        show_default=True,
        type=click.FloatRange(0, 1),
        help="Above 0, maximal marginal relevance: prefer entries that say something new.",
    ),
    click.option(
        "--adjacent",
        default=0,
        show_default=True,
        type=click.IntRange(0, MOST_ADJACENT),
        help="Passages before and after an entry to join to it.",
    ),
]
# The command gets the options as `search`, of `SearchOptions`.
refining_options = gathered(SearchOptions, "search", _REFINING)
search_options = gathered(SearchOptions, "search", [_KIND, *_REFINING])
