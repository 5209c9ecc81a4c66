"""Changes stores of thirty entries with their own libraries: two entries deleted, four with other texts and vectors.

PYTHONPATH=. python tests/peer_changes.py KIND PATH
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hashing import HashEncoder
from peer_stores import Entries, make_entries, table

GONE, NEW = (3, 11), slice(4, 8)


def entries_after() -> Entries:
    """All thirty, the four as they are after the change."""
    entries = make_entries(30, 8)
    entries.texts[NEW] = [f"A bench of oak, made anew in {year}." for year in range(1950, 1954)]
    entries.vectors[NEW] = HashEncoder(8).encode_passages(entries.texts[NEW])
    return entries


def _change_chroma(path: Path, entries: Entries) -> None:
    import chromadb

    collection = chromadb.PersistentClient(str(path)).get_collection("benches")
    collection.delete(ids=["bench-3", "bench-11"])
    collection.update(ids=entries.ids[NEW], documents=entries.texts[NEW], embeddings=entries.vectors[NEW])


def _change_langchain(path: Path, entries: Entries) -> None:
    from langchain_community.vectorstores import FAISS
    from langchain_core.embeddings import FakeEmbeddings

    loaded = FAISS.load_local(str(path), FakeEmbeddings(size=8), allow_dangerous_deserialization=True)
    loaded.delete(["bench-3", "bench-11", *entries.ids[NEW]])
    pairs = list(zip(entries.texts[NEW], entries.vectors[NEW].tolist()))
    loaded.add_embeddings(pairs, metadatas=entries.metadata[NEW], ids=entries.ids[NEW])
    loaded.save_local(str(path))


def _change_qdrant(path: Path, entries: Entries) -> None:
    from qdrant_client import QdrantClient
    from qdrant_client.models import PointIdsList, PointStruct

    client = QdrantClient(path=str(path))
    client.delete("benches", PointIdsList(points=[3, 11]))
    for row in range(4, 8):
        payload = {"text": entries.texts[row], "id": entries.ids[row], **entries.metadata[row]}
        client.upsert("benches", [PointStruct(id=row, vector=entries.vectors[row].tolist(), payload=payload)])
    client.close()


def _change_txtai(path: Path, entries: Entries) -> None:
    from txtai import Embeddings

    vectors = dict(zip(entries.texts, entries.vectors))
    embeddings = Embeddings()
    embeddings.load(str(path))
    embeddings.model.transform = None
    embeddings.config["transform"] = lambda texts: np.stack([vectors[text] for text in texts])
    embeddings.model = embeddings.loadvectors()
    embeddings.delete(["bench-3", "bench-11"])
    embeddings.upsert(
        (entries.ids[row], {"text": entries.texts[row], **entries.metadata[row]}, None) for row in range(4, 8)
    )
    embeddings.config.pop("transform")
    embeddings.save(str(path))
    embeddings.close()


def _change_lancedb(path: Path, entries: Entries) -> None:
    import lancedb

    opened = lancedb.connect(str(path)).open_table("benches")
    opened.delete("id in ('bench-3', 'bench-11')")
    opened.merge_insert("id").when_matched_update_all().execute(table(entries).slice(4, 4))


CHANGES: dict[str, Callable[[Path, Entries], None]] = {
    "chroma": _change_chroma,
    "langchain-faiss": _change_langchain,
    "lancedb": _change_lancedb,
    "qdrant": _change_qdrant,
    "txtai": _change_txtai,
}


if __name__ == "__main__":
    CHANGES[sys.argv[1]](Path(sys.argv[2]), entries_after())
