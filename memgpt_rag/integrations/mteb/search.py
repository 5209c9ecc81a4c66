"""A way of searching as a model of MTEB: dense, lexical, hybrid or sparse, with or without a reranker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mteb._create_dataloaders import create_dataloader
from mteb.models import ModelMeta
from mteb.types import PromptType

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.errors import SourceError
from memgpt_rag.evaluation.data.dataset import Document, digest
from memgpt_rag.evaluation.data.trec import distinct_scores
from memgpt_rag.evaluation.document_memory import embed_all
from memgpt_rag.evaluation.systems import (
    Ranking,
    RetrieverSystem,
    make_system,
    needs_lexical_index,
    require_search,
    required_sparse_encoder,
    search_settings,
)
from memgpt_rag.integrations.document_memory import id_condition
from memgpt_rag.integrations.mteb.model_meta import model_meta
from memgpt_rag.retrieval.retriever import Search

_BATCH = 64


class MemGPTSearch:
    """Embeds the documents of a retrieval task whole into a temporary memory, and searches it, as `memgpt-rag eval retrieval` does.

    Implements `mteb.SearchProtocol`. In a reranking task, a query's own candidates are searched and nothing else.

    Args:
        encoder: embeds documents and queries.
        search: one of `memgpt_rag.evaluation.systems.SEARCHES`, such as "hybrid".
        settings: weights, the sparse encoder and the reranker; `search` decides the kind and whether the reranker is used.

    Attributes:
        mteb_model_meta: metadata for a leaderboard.

    Raises:
        ValueError: the search is unknown, or lacks a sparse encoder or a reranker.
    """

    def __init__(self, encoder: Encoder, search: str = "dense", settings: Search = Search()):
        require_search(search)
        self._encoder, self._search, self._settings = encoder, search, settings
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._system: RetrieverSystem | None = None
        fingerprint, chosen = encoder.fingerprint, search_settings(search, settings)
        identity = fingerprint.to_json() if search == "dense" else [fingerprint.to_json(), search, chosen]
        self.mteb_model_meta: ModelMeta = model_meta(fingerprint, search, chosen, digest(identity)[:16])

    def index(self, corpus: Any, *, task_metadata: Any, **settings: Any) -> None:
        """Make a memory of a task's documents, in place of the one of the task before.

        Args:
            corpus: rows with id, text and title, which may be missing.
            settings: of MTEB, which this model does not need.

        Raises:
            SourceError: the task's documents are no texts, or two have one id.
        """
        if task_metadata.get_modalities(PromptType.document) != ["text"]:
            raise SourceError(f"The documents of {task_metadata.name} are no texts alone; name a task of texts.")
        folder = tempfile.TemporaryDirectory(prefix="memgpt_rag-mteb-")
        memory, _ = embed_all(
            _documents(corpus, task_metadata.name),
            task_metadata.name,
            self._encoder,
            Path(folder.name) / "memory",
            words=needs_lexical_index(self._search),
            sparse_encoder=required_sparse_encoder([self._search], self._settings),
        )
        self._system = make_system(self._search, memory, self._encoder, self._settings)
        if self._folder is not None:
            self._folder.cleanup()
        self._folder = folder

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **settings: Any,
    ) -> dict[str, dict[str, float]]:
        """Return the best documents of each query with their scores, from which every tool reads our order.

        Args:
            queries: rows with id and text, an instruction or a conversation, which MTEB puts into words.
            top_k: most documents of a query.
            top_ranked: of a reranking task, the candidates of each query.
            settings: of MTEB, which this model does not need.
        """
        assert self._system is not None, "MTEB indexes the documents of a task before it searches them"
        batches = create_dataloader(
            queries, task_metadata=task_metadata, prompt_type=PromptType.query, batch_size=_BATCH
        )
        ids, texts = list(queries["id"]), [list(batch["text"]) for batch in batches]
        if top_ranked is None:
            rankings = [ranking for batch in texts for ranking in self._system(batch, top_k)]
        else:
            asked = zip(ids, (text for batch in texts for text in batch), strict=True)
            rankings = [self._among(text, top_ranked.get(id, ()), top_k) for id, text in asked]
        return {id: dict(distinct_scores(id, ranking)) for id, ranking in zip(ids, rankings, strict=True)}

    def _among(self, query: str, candidates: Sequence[str], k: int) -> Ranking:
        assert self._system is not None
        if not candidates:
            return []
        found = self._system.retriever.retrieve([query], min(k, len(candidates)), where=id_condition(candidates))
        return [(self._system.document(entry.passage), entry.score) for entry in found[0]]


def _documents(corpus: Any, task: str) -> Iterator[tuple[str, Document]]:
    seen: set[str] = set()
    for row in corpus:
        if row["id"] in seen:
            raise SourceError(f"The documents of {task} have the id {row['id']!r} twice; give each an id of its own.")
        seen.add(row["id"])
        yield row["id"], Document((row.get("title") or "").strip(), row["text"].strip())
