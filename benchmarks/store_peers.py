"""Other stores under the load of `store.py`, each in a process of its own; run by it, with any Python that has them.

Vectors come from outside in every case, and a text comes back with each hit.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

Search = Callable[[np.ndarray, int], list[list[tuple[str, str]]]]


def langchain(folder: Path, vectors: np.ndarray, texts: list[str]) -> Iterator[object]:
    from langchain_community.vectorstores import FAISS
    from langchain_community.vectorstores.utils import DistanceStrategy
    from langchain_core.embeddings import Embeddings

    class Unused(Embeddings):  # which it wants to have, though vectors come from outside
        def embed_documents(self, texts):
            raise NotImplementedError

        def embed_query(self, text):
            raise NotImplementedError

    ids = [str(row) for row in range(len(texts))]
    store = FAISS.from_embeddings(
        zip(texts, vectors.tolist()),
        Unused(),
        metadatas=[{"source": "doc.txt"} for _ in texts],
        ids=ids,
        distance_strategy=DistanceStrategy.MAX_INNER_PRODUCT,
    )
    store.save_local(str(folder))
    yield None

    def search(queries, k):
        hits = (store.similarity_search_with_score_by_vector(query.tolist(), k=k) for query in queries)
        return [[(hit.id, hit.page_content) for hit, _ in item] for item in hits]

    yield search


def llama_index(folder: Path, vectors: np.ndarray, texts: list[str]) -> Iterator[object]:
    import faiss
    from llama_index.core import MockEmbedding, QueryBundle, StorageContext, VectorStoreIndex
    from llama_index.core.schema import TextNode
    from llama_index.vector_stores.faiss import FaissVectorStore

    nodes = [
        TextNode(text=text, id_=str(row), embedding=vector, metadata={"source": "doc.txt"})
        for row, (text, vector) in enumerate(zip(texts, vectors.tolist()))
    ]
    store = FaissVectorStore(faiss_index=faiss.IndexFlatIP(vectors.shape[1]))
    index = VectorStoreIndex(
        nodes,
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=MockEmbedding(embed_dim=vectors.shape[1]),
    )
    index.storage_context.persist(str(folder))
    yield None

    def search(queries, k):
        retriever = index.as_retriever(similarity_top_k=k)
        hits = (retriever.retrieve(QueryBundle("", embedding=query.tolist())) for query in queries)
        return [[(hit.node.node_id, hit.node.text) for hit in item] for item in hits]

    yield search


def lancedb(folder: Path, vectors: np.ndarray, texts: list[str]) -> Iterator[object]:
    import lancedb
    import pyarrow as pa

    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    rows = pa.table({"id": [str(row) for row in range(len(texts))], "text": texts, "vector": column})
    table = lancedb.connect(str(folder)).create_table("entries", rows)
    yield None

    def search(queries, k):
        hits = (
            table.search(query).distance_type("dot").select(["id", "text"]).limit(k).to_arrow() for query in queries
        )
        return [list(zip(item["id"].to_pylist(), item["text"].to_pylist())) for item in hits]

    yield search


def chroma(folder: Path, vectors: np.ndarray, texts: list[str]) -> Iterator[object]:
    import chromadb

    client = chromadb.PersistentClient(str(folder), chromadb.Settings(anonymized_telemetry=False))
    entries = client.create_collection("entries", metadata={"hnsw:space": "ip"})
    for start in range(0, len(texts), 5000):
        part = slice(start, start + 5000)
        ids = [str(row) for row in range(len(texts))[part]]
        entries.add(ids=ids, embeddings=vectors[part], documents=texts[part])
    yield None

    def search(queries, k):
        found = entries.query(query_embeddings=queries, n_results=k, include=["documents"])
        return [list(zip(*item)) for item in zip(found["ids"], found["documents"])]

    yield search


def txtai(folder: Path, vectors: np.ndarray, texts: list[str]) -> Iterator[object]:
    import txtai

    looked_up: dict[str, np.ndarray] = {f"vector {row}": vector for row, vector in enumerate(vectors)}
    per_text = dict(zip(texts, vectors))
    embeddings = txtai.Embeddings(
        method="external",
        transform=lambda asked: np.stack([per_text.get(one, looked_up.get(one)) for one in asked]),
        backend="faiss",
        faiss={"components": "IDMap,Flat"},
        content=True,
    )
    embeddings.index((str(row), text, None) for row, text in enumerate(texts))
    embeddings.save(str(folder))
    yield None

    def search(queries, k):
        looked_up.update({f"query {number}": query for number, query in enumerate(queries)})
        found = embeddings.batchsearch([f"query {number}" for number in range(len(queries))], k)
        return [[(hit["id"], hit["text"]) for hit in item] for item in found]

    yield search


PEERS = {"LangChain": langchain, "LlamaIndex": llama_index, "LanceDB": lancedb, "Chroma": chroma, "txtai": txtai}


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    name, folder, k, repeats = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    vectors, queries = np.load(folder / "keys.npy"), np.load(folder / "queries.npy")
    texts = (folder / "texts.txt").read_text().splitlines()
    own = folder / name
    own.mkdir()
    # A few first: what importing takes is not the store's load.
    (own / "few").mkdir()
    few = PEERS[name](own / "few", vectors[:200], texts[:200])
    next(few)
    next(few)(queries[:2], k)
    del few
    base = resident_mb()
    began = time.process_time()
    steps = PEERS[name](own / "all", vectors, texts)
    next(steps)
    written = time.process_time() - began
    search: Search = next(steps)
    found = search(queries, k)
    times = []
    for _ in range(repeats):
        began = time.process_time()
        found = search(queries, k)
        times.append(time.process_time() - began)
    pairs = all(texts[int(id)] == text for item in found for id, text in item)
    size = sum(path.stat().st_size for path in (own / "all").rglob("*") if path.is_file())
    print(
        json.dumps(
            {
                "written": written,
                "searched": sorted(times)[len(times) // 2],
                "resident_mb": resident_mb() - base,
                "bytes": size,
                "pairs": pairs,
                "rows": [[int(id) for id, _ in item] for item in found],
            }
        )
    )


if __name__ == "__main__":
    main()
