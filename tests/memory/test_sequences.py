"""Random changes against a dictionary: after each, every text has its own key and a search finds what is there.

pytest tests/memory/test_sequences.py --hypothesis-profile long      thousands of them
pytest tests/memory/test_sequences.py --thorough -k readers          readers beside a writer for four minutes
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from bm25_oracle import bm25s_scores
from hashing import HashEncoder, passage
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from indexing.jobs.verify_memory import verify_memory
from memgpt_rag.memory import Memory, MemoryWriter, add_indexes, add_lexical_index, expire, list_versions, roll_back
from memgpt_rag.memory.changes import compact
from memgpt_rag.memory.dense.faiss_index import ApproximateIndex
from memgpt_rag.memory.storage.index_settings import IndexSettings

ENCODER = HashEncoder(dimension=48)
SPLITTING = {"tokenizer": "hash", "max_tokens": 160}
TEXTS = st.text("abcdefgh ", min_size=3, max_size=12).map(lambda text: text.strip() or "empty")


def key(text: str) -> np.ndarray:
    return ENCODER.encode_passages([text])[0]


def write(folder: Path, new: dict[str, str], gone: list[int], **settings) -> None:
    with MemoryWriter(folder, metadata={"size": "integer"}, **settings) as writer:
        if new:
            writer.add_values(
                [replace(passage(0, text), id=id, title="", metadata={"size": len(text)}) for id, text in new.items()]
            )
        for block in writer.value_blocks(2):
            writer.add_keys(ENCODER.encode_passages([one.text for one in block]))
        writer.delete(gone)
        writer.commit(ENCODER.fingerprint, splitting=SPLITTING, job={"name": "test"})


class Sequences(RuleBasedStateMachine):
    """A memory beside a dictionary of what it should hold, version by version."""

    @initialize(texts=st.lists(TEXTS, min_size=1, max_size=4))
    def begin(self, texts):
        self.folder = Path(tempfile.mkdtemp()) / "memory"
        self.number = 0
        self.entries = self._fresh(texts)
        self.history = {1: dict(self.entries)}
        write(self.folder, self.entries, [])
        self.memory = Memory.open(self.folder)

    def _fresh(self, texts):
        ids = [f"id{self.number + place}" for place in range(len(texts))]
        self.number += len(texts)
        return dict(zip(ids, texts, strict=True))

    def _changed(self):
        self.memory = Memory.open(self.folder)
        self.history[self.memory.manifest.commit] = dict(self.entries)

    def _rows(self, ids) -> list[int]:
        rows = self.memory.rows()
        return [int(row) for row in rows if self.memory.passages([row])[0].id in ids]

    @rule(texts=st.lists(TEXTS, min_size=1, max_size=5))
    def add(self, texts):
        new = self._fresh(texts)
        write(self.folder, new, [])
        self.entries |= new
        self._changed()

    @rule(data=st.data())
    def delete(self, data):
        ids = data.draw(st.sets(st.sampled_from(sorted(self.entries)), max_size=len(self.entries) - 1))
        if ids:
            write(self.folder, {}, self._rows(ids))
            self.entries = {id: text for id, text in self.entries.items() if id not in ids}
            self._changed()

    @rule(data=st.data(), text=TEXTS)
    def update(self, data, text):
        id = data.draw(st.sampled_from(sorted(self.entries)))
        write(self.folder, {id: text}, self._rows({id}))
        self.entries[id] = text
        self._changed()

    @rule()
    def compact(self):
        compact(self.folder)
        self._changed()
        assert self.memory.num_rows == len(self.entries)

    @rule(factory=st.sampled_from(["IVF2,Flat", "HNSW8,Flat"]))
    def index(self, factory):
        """Small enough to be as good as exact: both lists are looked at, and the graph is."""
        settings = IndexSettings(factory, "nprobe=2" if factory == "IVF2,Flat" else "efSearch=64", 1)
        indexes = {
            segment.described.name: (ApproximateIndex.build(segment.keys, settings, "cosine"), asdict(settings))
            for segment in self.memory.segments
            if len(segment) > 2
        }
        self.memory = Memory.open(self.folder)
        add_indexes(self.memory, indexes)
        self._changed()

    @rule()
    def words(self):
        add_lexical_index(self.memory)
        self._changed()

    @precondition(lambda self: self.memory.manifest.words is not None)
    @rule(text=TEXTS)
    def search_by_words(self, text):
        """Whatever has happened to the memory, what a term weighs is what it weighs in the texts that are there."""
        rows = self.memory.rows()
        scores = bm25s_scores([one.titled_text for one in self.memory.passages(rows)], text)
        found = self.memory.candidates(key(text)[None], [text], len(rows))[0]
        assert found.rows.tolist() == rows.tolist()
        np.testing.assert_allclose(found.bm25_scores, scores, rtol=1e-4)

    @rule()
    def reopen(self):
        self.memory = Memory.open(self.folder)

    @precondition(lambda self: len(self.history) > 1)
    @rule(data=st.data())
    def roll_back(self, data):
        kept = [manifest.commit for manifest in list_versions(self.folder)][:-1]
        if kept:
            commit = data.draw(st.sampled_from(kept))
            roll_back(self.folder, commit)
            self.entries = dict(self.history[commit])
            self._changed()

    @rule(keep=st.integers(1, 3))
    def expire(self, keep):
        expire(self.folder, keep)

    @invariant()
    def holds_what_it_should(self):
        passages = self.memory.passages(self.memory.rows())
        assert {one.id: one.text for one in passages} == self.entries
        assert len(passages) == len(self.memory) == len(self.entries)
        np.testing.assert_array_equal(self.memory.keys(), ENCODER.encode_passages([one.text for one in passages]))

    @rule(text=TEXTS, k=st.integers(1, 6), least=st.integers(0, 12))
    def search(self, text, k, least):
        query = key(text)[None]
        for where, matching in (
            (None, self.entries),
            (f"size >= {least}", {id: one for id, one in self.entries.items() if len(one) >= least}),
        ):
            found = self.memory.search(query, k, where=where)
            scores = {id: float(query[0] @ key(one)) for id, one in matching.items()}
            best = sorted(scores.values(), reverse=True)[:k]
            assert len(found.scores[0]) == len(best)
            if not any("HNSW" in str(segment.index) for segment in self.memory.manifest.segments):
                np.testing.assert_allclose(found.scores[0], best, atol=1e-6)
            for one, score in zip(found.passages[0], found.scores[0], strict=True):
                assert matching[one.id] == one.text
                assert scores[one.id] == pytest.approx(score, abs=1e-6)

    def teardown(self):
        if hasattr(self, "folder"):
            assert verify_memory(self.folder) == []
            shutil.rmtree(self.folder.parent)


# How many there are is the profile's to say, see conftest.py.
Sequences.TestCase.settings = settings(deadline=None, suppress_health_check=list(HealthCheck))
TestSequences = Sequences.TestCase


def _read(folder: Path, over, seen) -> None:
    """Open and search until the writer is done; what is found must belong together."""
    count = 0
    while not over.is_set():
        memory = Memory.open(folder)
        rows = memory.rows()
        passages = memory.passages(rows)
        assert len(passages) == len(memory)
        np.testing.assert_array_equal(memory.keys(), ENCODER.encode_passages([one.text for one in passages]))
        found = memory.search(memory.keys(rows[:2]), 1)
        assert (found.scores > 1 - 1e-6).all()
        count += 1
        if count == 1:
            seen.put("ready")
    seen.put(count)


def test_readers_see_whole_versions_while_one_writes(tmp_path, pytestconfig):
    folder, changes = tmp_path / "memory", 2000 if pytestconfig.getoption("--thorough") else 25
    write(folder, {f"id{number}": f"text {number}" for number in range(20)}, [])
    context = multiprocessing.get_context("spawn")
    over, seen = context.Event(), context.Queue()
    readers = [context.Process(target=_read, args=(folder, over, seen)) for _ in range(3)]
    for reader in readers:
        reader.start()
    assert [seen.get(timeout=300) for _ in readers] == ["ready"] * 3
    for number in range(20, 20 + changes):
        memory = Memory.open(folder)
        write(folder, {f"id{number}": f"text {number}"}, memory.rows()[:1].tolist())
        if number % 7 == 0:
            compact(folder)
        if number % 5 == 0:
            expire(folder, 1)
    over.set()
    counts = [seen.get(timeout=300) for _ in readers]
    for reader in readers:
        reader.join()
        assert reader.exitcode == 0
    print(f"{changes} entries added and deleted while {len(counts)} readers opened {sum(counts):,} versions")
    assert verify_memory(folder) == []
