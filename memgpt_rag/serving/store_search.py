"""Searches in vector stores: entries with their files, filtered by columns and by the attributes of files."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from memgpt_rag.memory.storage.layout import values_schema
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.retriever import Retrieved, Search
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.citations import Links
from memgpt_rag.serving.files import shown_name
from memgpt_rag.serving.filters import condition
from memgpt_rag.serving.memories import Memories, ServedMemory
from memgpt_rag.serving.store_requests import RankingOptions, SearchStore
from memgpt_rag.serving.stores import FileInStore, VectorStore


async def search_store(
    memories: Memories, served: ServedMemory, store: VectorStore, wanted: SearchStore, links: Links
) -> dict[str, Any]:
    """Search a vector store, each query on its own; an entry that several find counts once, with its best score.

    Raises:
        ApiError: 400 for a filter or a search that does not fit.
    """
    search = ranked_search(memories, served, wanted.search, wanted.ranking_options)
    where = condition(wanted.filters, "filters", StoreAttributes(served, store))
    best: dict[str, Retrieved] = {}
    for query in wanted.queries:
        found = await asyncio.to_thread(memories.retrieve, served, query, wanted.max_num_results, where, search)
        for entry in found:
            known = best.get(entry.passage.id)
            if known is None or entry.score > known.score:
                best[entry.passage.id] = entry
    threshold = wanted.ranking_options.score_threshold if wanted.ranking_options else None
    ordered = sorted(best.values(), key=lambda entry: -entry.score)
    shown = [entry for entry in ordered if threshold is None or entry.score >= threshold][: wanted.max_num_results]
    return {
        "object": "vector_store.search_results.page",
        "search_query": wanted.queries,
        "data": [_linked(result(store, entry), links.entry(served, entry.passage)) for entry in shown],
        "has_more": False,
        "next_page": None,
    }


def _linked(found: dict[str, Any], url: str) -> dict[str, Any]:
    return {**found, "entry": {**found["entry"], "url": url}}


class StoreAttributes:
    """The attributes of a store's files, for filters."""

    def __init__(self, served: ServedMemory, store: VectorStore | None):
        self._memory, self._files = served.memory, list(store.files.values()) if store is not None else []

    def has(self, key: str) -> bool:
        """Return whether a filter of this key goes by attributes: it is no column, and a file has it."""
        columns = values_schema(self._memory.manifest.metadata).names
        return key not in columns and any(key in file.attributes for file in self._files)

    def sources(self, matches: Callable[[str | float | bool], bool], key: str) -> list[str]:
        """Return the sources of the files whose attribute matches; those inside an archive are sources, too."""
        found = []
        for file in self._files:
            if key in file.attributes and matches(file.attributes[key]):
                inside = self._memory.rows(pc.starts_with(pc.field("source"), f"{file.source}/"))
                members = {passage.source for passage in self._memory.passages(inside)}
                found += [file.source, *sorted(members)]
        return found


def ranked_search(memories: Memories, served: ServedMemory, kind: str | None, ranking: RankingOptions | None) -> Search:
    """Return the search settings for ranking options.

    Raises:
        ApiError: 400 where the memory has no index for it.
    """
    hybrid = ranking.hybrid_search if ranking else None
    search = memories.memory_search(served, "hybrid" if hybrid else kind)
    if ranking and ranking.ranker == "none":
        search = replace(search, reranker=None)
    if hybrid is None:
        return search
    total = hybrid.embedding_weight + hybrid.text_weight
    if not total:
        raise ApiError(400, "Both weights of hybrid_search are 0; give one.", param="ranking_options.hybrid_search")
    return replace(search, lexical_weight=hybrid.text_weight / total)


def result(store: VectorStore, entry: Retrieved) -> dict[str, Any]:
    """Return an entry as a search result of OpenAI's API, with its place in the document beside it."""
    passage, file = entry.passage, passage_file(store, entry.passage)
    return {
        "file_id": source_id(passage.source) if file is None else file.id,
        "filename": passage.source if file is None else file.filename,
        "score": entry.score,
        "attributes": dict(passage.metadata) | ({} if file is None else file.attributes),
        "content": [{"type": "text", "text": passage.text}],
        "entry": {"id": passage.id, "title": passage.title, "place": shown_name(passage.place)},
    }


def passage_file(store: VectorStore, passage: Passage) -> FileInStore | None:
    """Return the uploaded file that an entry comes from; None for one that the memory held before."""
    return store.files.get(passage.source.partition("/")[0])


def source_id(source: str) -> str:
    """Return an id for a source that no client uploaded."""
    return f"source-{hashlib.sha256(source.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def entries_of_source(served: ServedMemory, source: str) -> list[Passage]:
    """Return the entries of a source, in order."""
    rows = served.memory.rows(pc.field("source") == pa.scalar(source, pa.string()))
    return served.memory.passages(rows)
