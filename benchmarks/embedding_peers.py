"""Other libraries at the work of `embedding.py`, each in a process of its own; run by it, with any Python that has them.

Each gets passages that are cut already, and gives them vectors and a store in memory that finds them by cosine, as its
documentation does it; models are loaded before the clock starts.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

Build = Callable[[list[str]], object]


def sentence_transformers(model: str) -> Build:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(model, device="cpu", trust_remote_code=False)
    return lambda texts: encoder.encode(texts, normalize_embeddings=True)


def langchain(model: str) -> Build:
    from langchain_community.vectorstores import FAISS
    from langchain_huggingface import HuggingFaceEmbeddings

    embeddings = HuggingFaceEmbeddings(
        model_name=model, model_kwargs={"device": "cpu"}, encode_kwargs={"normalize_embeddings": True}
    )
    return lambda texts: FAISS.from_texts(texts, embeddings)


def llama_index(model: str) -> Build:
    import faiss
    from llama_index.core import StorageContext, VectorStoreIndex
    from llama_index.core.schema import TextNode
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from llama_index.vector_stores.faiss import FaissVectorStore

    embedding = HuggingFaceEmbedding(model_name=model, device="cpu")

    def build(texts: list[str]) -> object:
        store = FaissVectorStore(faiss_index=faiss.IndexFlatIP(len(embedding.get_text_embedding("one"))))
        context = StorageContext.from_defaults(vector_store=store)
        nodes = [TextNode(text=text, id_=str(row)) for row, text in enumerate(texts)]
        return VectorStoreIndex(nodes, storage_context=context, embed_model=embedding)

    return build


def haystack(model: str) -> Build:
    from haystack import Document
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack.utils import ComponentDevice
    from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersDocumentEmbedder

    embedder = SentenceTransformersDocumentEmbedder(
        model=model, device=ComponentDevice.from_str("cpu"), normalize_embeddings=True, progress_bar=False
    )
    embedder.warm_up()

    def build(texts: list[str]) -> object:
        store = InMemoryDocumentStore(embedding_similarity_function="cosine")
        store.write_documents(embedder.run([Document(content=text) for text in texts])["documents"])
        return store

    return build


def txtai(model: str) -> Build:
    import txtai

    def build(texts: list[str]) -> object:
        embeddings = txtai.Embeddings(path=model, method="sentence-transformers", content=True, gpu=False)
        embeddings.index((str(row), text, None) for row, text in enumerate(texts))
        return embeddings

    return build


PEERS = {
    "sentence_transformers": sentence_transformers,
    "langchain": langchain,
    "llama_index": llama_index,
    "haystack": haystack,
    "txtai": txtai,
}


def main() -> None:
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    name, model, passages = sys.argv[1:4]
    texts = json.loads(Path(passages).read_text(encoding="utf-8"))
    build = PEERS[name](model)
    build(texts[:16])
    wall, core = time.perf_counter(), time.process_time()
    build(texts)
    print(json.dumps({"wall": time.perf_counter() - wall, "core": time.process_time() - core}))


if __name__ == "__main__":
    main()
