"""Stores of other programs, each made with its own library: the same entries in each.

PYTHONPATH=. python tests/peer_stores.py tests/indexing/stores     makes those that lie there anew
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hashing import HashEncoder

from memgpt_rag.encoders.base import Encoder


@dataclass(frozen=True)
class Entries:
    """What every store is made of."""

    ids: list[str]
    texts: list[str]
    metadata: list[dict[str, Any]]
    vectors: np.ndarray


def make_entries(count: int, dimension: int = 32, encoder: Encoder | None = None) -> Entries:
    """Entries whose texts differ, in two languages, with the vectors of an encoder, or of that of the tests."""
    texts = [
        f"Bench number {number} was given by family {number * 7919 % 100_003} of the town." if number % 2 else
        f"第{number}张长椅由镇上的第{number * 7919 % 100_003}户人家捐赠。"
        for number in range(count)
    ]  # fmt: skip
    metadata = [
        {"year": 1900 + number % 100, "lang": "en" if number % 2 else "zh", "source": f"benches-{number % 3}.md"}
        for number in range(count)
    ]
    vectors = (encoder or HashEncoder(dimension)).encode_passages(texts)
    return Entries([f"bench-{number}" for number in range(count)], texts, metadata, vectors)


def chroma(folder: Path, entries: Entries) -> None:
    import chromadb

    client, count = (
        chromadb.PersistentClient(str(folder), chromadb.Settings(anonymized_telemetry=False)),
        len(entries.ids),
    )
    # So few that vectors of a small store, too, lie in the graph, and only the latest in the queue.
    step = 5 if count < 100 else 5000
    settings: dict[str, Any] = {"hnsw:space": "cosine", "hnsw:batch_size": step, "hnsw:sync_threshold": step}
    collection = client.create_collection("benches", embedding_function=None, metadata=settings)
    for start in range(0, count, step):
        part = slice(start, start + step)
        collection.add(
            ids=entries.ids[part],
            embeddings=entries.vectors[part],
            documents=entries.texts[part],
            metadatas=entries.metadata[part],
        )


def qdrant(folder: Path, entries: Entries) -> None:
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, PointStruct, VectorParams

    client = QdrantClient(path=str(folder))
    size = entries.vectors.shape[1]
    client.create_collection("benches", vectors_config=VectorParams(size=size, distance=Distance.COSINE))
    points = [
        PointStruct(id=number, vector=vector.tolist(), payload={"text": text, "id": id, **metadata})
        for number, (id, text, metadata, vector) in enumerate(_rows(entries))
    ]
    for start in range(0, len(points), 1000):
        client.upsert("benches", points[start : start + 1000])
    client.close()


def txtai(folder: Path, entries: Entries) -> None:
    from txtai import Embeddings

    vectors = dict(zip(entries.texts, entries.vectors))
    embeddings = Embeddings(
        method="external", transform=lambda texts: np.stack([vectors[text] for text in texts]), content=True
    )
    embeddings.index((id, {"text": text, **metadata}, None) for id, text, metadata, _ in _rows(entries))
    embeddings.config.pop("transform")  # a function cannot be saved
    embeddings.save(str(folder))
    embeddings.close()


def lancedb(folder: Path, entries: Entries) -> None:
    import lancedb

    lancedb.connect(str(folder)).create_table("benches", table(entries))


def parquet(file: Path, entries: Entries) -> None:
    pq.write_table(table(entries), file)


def table(entries: Entries) -> pa.Table:
    """The entries with a column of vectors."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(entries.vectors.ravel()), entries.vectors.shape[1])
    columns: dict[str, Any] = {"id": entries.ids, "text": entries.texts, "vector": vectors}
    columns |= {name: [one[name] for one in entries.metadata] for name in entries.metadata[0]}
    return pa.table(columns)


def langchain_faiss(folder: Path, entries: Entries) -> None:
    from langchain_community.vectorstores import FAISS
    from langchain_core.embeddings import Embeddings

    class Given(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise NotImplementedError

        def embed_query(self, text: str) -> list[float]:
            raise NotImplementedError

    pairs = list(zip(entries.texts, entries.vectors.tolist()))
    FAISS.from_embeddings(pairs, Given(), metadatas=entries.metadata, ids=entries.ids).save_local(str(folder))


def llama_index_faiss(folder: Path, entries: Entries) -> None:
    import faiss
    from llama_index.core import StorageContext, VectorStoreIndex
    from llama_index.core.embeddings import MockEmbedding
    from llama_index.core.schema import TextNode
    from llama_index.vector_stores.faiss import FaissVectorStore

    size = entries.vectors.shape[1]
    nodes = [
        TextNode(id_=id, text=text, metadata=metadata, embedding=vector.tolist())
        for id, text, metadata, vector in _rows(entries)
    ]
    context = StorageContext.from_defaults(vector_store=FaissVectorStore(faiss.IndexFlatIP(size)))
    index = VectorStoreIndex(nodes, storage_context=context, embed_model=MockEmbedding(size))
    index.storage_context.persist(str(folder))


MAKERS: Mapping[str, tuple[str, Callable[[Path, Entries], None]]] = {
    "chroma": ("chromadb", chroma),
    "lancedb": ("lancedb", lancedb),
    "langchain-faiss": ("langchain_community", langchain_faiss),
    "llama-index-faiss": ("llama_index.vector_stores.faiss", llama_index_faiss),
    "parquet": ("pyarrow", parquet),
    "qdrant": ("qdrant_client", qdrant),
    "txtai": ("txtai", txtai),
}


# Those that lie in tests/indexing/stores, since they can be read without their libraries: with so many entries and numbers.
KEPT = ("chroma", "langchain-faiss", "llama-index-faiss", "qdrant", "txtai")
SMALL = 12, 8


def _rows(entries: Entries) -> Sequence[tuple[str, str, dict[str, Any], np.ndarray]]:
    return list(zip(entries.ids, entries.texts, entries.metadata, entries.vectors, strict=True))


def main(folder: Path) -> None:
    for kind in KEPT:
        MAKERS[kind][1](folder / kind, make_entries(*SMALL))
    (folder / "qdrant" / ".lock").unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
