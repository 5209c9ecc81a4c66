"""Importing a store in a test, and what must hold of the memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hashing import HashEncoder
from peer_stores import SMALL, Entries

from indexing.engines.local import LocalEngine
from indexing.imports.open_store import open_store
from indexing.imports.stored_entry import StoreOptions
from indexing.jobs.build_memory import NewMemory
from indexing.jobs.import_entries import ImportReport, import_store
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.read_options import RecordFields
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.memory import Memory


def options(kind: str) -> StoreOptions:
    """The id of the entries is a field of their own in Qdrant, whose own ids are numbers."""
    return StoreOptions(fields=RecordFields(id="id" if kind == "qdrant" else None))


def bring(kind: str, path: Path, memory: Path, encoder: Encoder | None = None, **settings) -> ImportReport:
    encoder = encoder or HashEncoder(SMALL[1])
    engine = LocalEngine(encoder, PassageSplitter(encoder.count_tokens))
    settings.setdefault("new", NewMemory(lexical=True))
    return import_store(open_store(kind, path, settings.pop("options", options(kind))), memory, engine, **settings)


def require_same(memory: Path, entries: Entries, encoder: Encoder | None = None) -> None:
    """Every entry is there under its id, with its text, its metadata and its key, and searches find what the vectors say."""
    opened = Memory.open(memory)
    passages, keys = opened.passages(opened.rows()), opened.keys()
    wanted = {id: row for row, id in enumerate(entries.ids)}
    assert sorted(passage.id for passage in passages) == sorted(entries.ids)
    for passage, key in zip(passages, keys):
        row = wanted[passage.id]
        assert passage.text == entries.texts[row]
        assert {**passage.metadata, "source": passage.source} == entries.metadata[row]
        np.testing.assert_allclose(key, entries.vectors[row], atol=1e-6)
    encoder = encoder or HashEncoder(entries.vectors.shape[1])
    queries = encoder.encode_queries(["the bench of family 7919", "长椅由镇上的人家捐赠"])
    found = opened.search(queries, 5)
    np.testing.assert_allclose(found.scores, -np.sort(-(queries @ entries.vectors.T), axis=1)[:, :5], atol=1e-6)
    for query, rows, scores in zip(queries, found.rows, found.scores):
        ids = [passage.id for passage in opened.passages(rows)]
        np.testing.assert_allclose([query @ entries.vectors[wanted[id]] for id in ids], scores, atol=1e-6)
