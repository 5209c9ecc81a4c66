"""Indexes that look at a part of the keys: as good as was asked for, never slower, exact where they must be."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hashing import HashEncoder, passage

from indexing.jobs import choose_index as choose
from indexing.jobs.choose_index import Choice, choose_index, index_memory
from indexing.jobs.verify_memory import verify_memory
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory import Memory, MemoryWriter, add_indexes
from memgpt_rag.memory.dense.faiss_index import ApproximateIndex, codes_for, exact_search
from memgpt_rag.memory.dense.index_kinds import building_bytes
from memgpt_rag.memory.storage.index_settings import IndexSettings
from memgpt_rag.memory.storage.manifest import read_manifest

COUNT, DIMENSION = 6000, 64


@pytest.fixture(scope="module")
def keys() -> np.ndarray:
    """In clusters, as keys of real passages are."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(200, DIMENSION))
    keys = centres[rng.integers(0, 200, COUNT)] + 0.7 * rng.normal(size=(COUNT, DIMENSION))
    return (keys / np.linalg.norm(keys, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def memory(keys, tmp_path_factory):
    folder, encoder = tmp_path_factory.mktemp("indexed") / "memory", HashEncoder(dimension=DIMENSION)
    with MemoryWriter(folder) as writer:
        writer.add_values([passage(number) for number in range(COUNT)])
        for _ in writer.value_blocks(COUNT):
            pass
        writer.add_keys(keys)
        splitting = {"tokenizer": "hash", "max_tokens": 9}
        writer.commit(encoder.fingerprint, splitting=splitting, job={"name": "test"})
    return folder


def times(monkeypatch, exact: float, approximate: float) -> None:
    """Searches take as long as is said here, whatever the machine; those of an index a little longer each time."""
    taken = iter([exact, *(approximate + step / 1000 for step in range(999))])
    monkeypatch.setattr(choose, "_milliseconds", lambda search, queries: next(taken))


@pytest.mark.parametrize("count", [COUNT, 3000])
def test_keys_that_recall_is_measured_with_are_not_trained_on_where_there_are_enough(keys, count, monkeypatch):
    build, trained, asked = ApproximateIndex.build, [], []

    def built(keys, settings, metric, *, sample):
        trained.append(sample.tolist())
        return build(keys, settings, metric, sample=sample)

    def searched(keys, queries, *others):
        asked.append([int(np.flatnonzero((keys == query).all(axis=1))[0]) for query in queries])
        return exact_search(keys, queries, *others)

    monkeypatch.setattr(ApproximateIndex, "build", built)
    monkeypatch.setattr(choose, "exact_search", searched)
    choose_index(keys[:count], "cosine", kind="ivf")
    queries, (rows,) = asked[0], trained
    assert len(set(queries)) == choose.QUERIES
    spared = set(queries) if count == COUNT else set()
    assert rows == sorted(set(range(count)) - spared)


@pytest.mark.parametrize("kind", ["auto", "ivf", "hnsw"])
def test_the_first_index_that_finds_enough_is_chosen_where_it_is_faster(keys, kind, monkeypatch):
    times(monkeypatch, exact=5.0, approximate=1.0)
    choice = choose_index(keys, "cosine", kind=kind, recall=0.95)
    assert choice.index is not None
    assert ("hnsw" if kind == "hnsw" else "ivf") in choice.index.settings.factory.lower()
    assert (choice.milliseconds, choice.exact_milliseconds) == (1.0, 5.0)
    assert 0.9 < choice.recall <= 1
    assert 0 <= choice.ndcg_loss < 0.1
    assert choice.report()["parameters"] == choice.index.settings.parameters
    rows = choice.index.search(keys, keys[:300], 11)[0]
    truth = exact_search(keys, keys[:300], 11, "cosine")[0]
    assert np.mean([len(set(a) & set(b)) / 11 for a, b in zip(rows, truth, strict=True)]) > 0.9


@pytest.mark.parametrize("kind", ["auto", "ivf", "hnsw"])
def test_an_index_that_is_slower_than_looking_at_all_keys_is_never_chosen(keys, kind, monkeypatch):
    times(monkeypatch, exact=5.0, approximate=6.0)
    assert choose_index(keys, "cosine", kind=kind, recall=0.95).index is None


@pytest.mark.parametrize("factory, parameters", [("IVF64,SQ8", "nprobe=16"), ("HNSW16_SQ8", "efSearch=64")])
def test_an_index_finds_most_of_what_is_nearest_with_the_scores_of_the_keys(keys, factory, parameters):
    index = ApproximateIndex.build(keys, IndexSettings(factory, parameters, 4), "cosine")
    rng = np.random.default_rng(9)
    queries = keys[rng.permutation(COUNT)[:300]] + 0.1 * rng.normal(size=(300, DIMENSION)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    truth, _ = exact_search(keys, queries, 10, "cosine")
    rows, scores = index.search(keys, queries, 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, truth, strict=True)]) > 0.9
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ keys.T, rows, axis=1), atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("factory", codes_for(DIMENSION))
def test_codes_of_all_keys_scored_by_the_keys_find_what_exact_search_finds(keys, factory, metric, tmp_path, rng):
    index = ApproximateIndex.build(keys, IndexSettings(factory, "", 16), metric)
    with (tmp_path / "codes").open("wb") as file:
        index.write(file)
    index = ApproximateIndex.read(tmp_path / "codes", index.settings, rows=COUNT, dimension=DIMENSION, metric=metric)
    queries = keys[:300]
    (truth, best), (rows, scores) = exact_search(keys, queries, 10, metric), index.search(keys, queries, 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, truth, strict=True)]) > 0.97
    assert (scores <= best + 1e-3).all()
    assert (rows[:, 0] == np.arange(300)).all()
    allowed = rng.random(COUNT) < 0.5
    np.testing.assert_array_equal(
        index.search(keys, queries, 5, allowed)[0], exact_search(keys, queries, 5, metric, allowed)[0]
    )


def test_codes_are_chosen_where_they_are_fastest(keys, monkeypatch):
    times(monkeypatch, exact=5.0, approximate=1.0)
    choice = choose_index(keys, "cosine", kind="codes", recall=0.97)
    assert choice.index is not None
    assert choice.index.settings.factory == codes_for(DIMENSION)[0]
    assert choice.index.settings.candidates > 1
    assert choice.recall > 0.95


def test_keys_that_are_searched_fast_enough_need_no_index(keys):
    assert choose_index(keys, "cosine", fast_enough=1000).index is None
    assert choose_index(keys, "cosine", kind="exact").index is None
    assert choose_index(keys[:30], "cosine", kind="hnsw").index is None
    with pytest.raises(ValueError, match="recall is 1.5; expected more than 0 and at most 1"):
        choose_index(keys, "cosine", recall=1.5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("factory, parameters", [("IVF64,SQ8", "nprobe=2"), ("HNSW16_SQ8", "efSearch=16")])
@pytest.mark.parametrize("share", [0.0005, 0.01, 0.3, 0.9])
def test_a_filter_gives_exactly_k_at_any_selectivity(keys, factory, parameters, metric, share, rng):
    index = ApproximateIndex.build(keys, IndexSettings(factory, parameters, 4), metric)
    allowed = rng.random(COUNT) < share
    allowed[:3] = True
    k = min(7, int(allowed.sum()))
    queries = keys[rng.permutation(COUNT)[:40]]
    rows, scores = index.search(keys, queries, k, allowed)
    assert rows.shape == (40, k)
    assert allowed[rows].all()
    assert all(len(set(item)) == k for item in rows.tolist())
    truth, best = exact_search(keys, queries, k, metric, allowed)
    if share <= 0.01:
        np.testing.assert_allclose(scores, best, atol=2e-3)
    assert np.mean([len(set(a) & set(b)) / k for a, b in zip(rows, truth, strict=True)]) > 0.5


def test_a_memory_keeps_its_index_and_what_was_measured(memory, keys):
    index = ApproximateIndex.build(keys, IndexSettings("IVF64,SQ8", "nprobe=8", 4), "cosine")
    report = Choice(index, 0.97, 0.01, 0.1, 0.2).report()
    opened = Memory.open(memory)
    add_indexes(opened, {opened.manifest.segments[0].name: (index, report)})
    opened = Memory.open(memory)
    assert opened.manifest.segments[0].index == report
    found = opened.search(keys[:200], 1)
    assert (found.rows[:, 0] == np.arange(200)).mean() > 0.95
    assert [one[0].id for one in found.passages] == [f"doc#{row}" for row in found.rows[:, 0]]
    exact = opened.search(keys[:50], 5, exact=True)
    np.testing.assert_array_equal(exact.rows, exact_search(keys, keys[:50], 5, "cosine")[0])
    assert verify_memory(memory, sample=100) == []
    index = next(memory.rglob("index-*"))
    content = bytearray(index.read_bytes())
    content[len(content) // 2] ^= 1
    index.write_bytes(content)
    with pytest.raises(MemoryFormatError, match="is not the file that was committed .* memgpt-index rebuild-index"):
        Memory.open(memory).search(keys[:1], 1)
    assert "its digest differs" in verify_memory(memory)[0]
    index_memory(memory, kind="exact")
    assert Memory.open(memory).search(keys[:1], 1).rows.tolist() == [[0]]
    assert read_manifest(memory).segments[0].index is None


def test_an_index_that_finds_enough_stays_and_new_segments_get_their_own(memory, keys, tmp_path, monkeypatch):
    folder = tmp_path / "memory"
    shutil.copytree(memory, folder)
    index = ApproximateIndex.build(keys, IndexSettings("IVF64,SQ8", "nprobe=8", 4), "cosine")
    opened = Memory.open(folder)
    first = opened.manifest.segments[0].name
    add_indexes(opened, {first: (index, Choice(index, 0.975, 0.01, 0.1, 0.2).report())})
    with MemoryWriter(folder) as writer:
        writer.add_values([passage(number) for number in range(COUNT, 2 * COUNT)])
        for _ in writer.value_blocks(COUNT):
            pass
        writer.add_keys(keys[::-1])
        manifest = Memory.open(folder).manifest
        writer.commit(manifest.encoder, splitting=manifest.splitting, job={"name": "test"})
    before = Memory.open(folder).manifest
    times(monkeypatch, exact=5.0, approximate=1.0)
    chosen = index_memory(folder, recall=0.98, anew=False)
    after = Memory.open(folder).manifest
    assert list(chosen) == [after.segments[1].name]
    assert after.segments[0] == before.segments[0]
    assert after.segments[1].index["factory"].startswith("IVF")
    assert index_memory(folder, recall=0.98, anew=False) == {}
    assert Memory.open(folder).manifest == after, "nothing is committed where nothing is chosen"
    times(monkeypatch, exact=5.0, approximate=1.0)
    assert first in index_memory(folder, recall=0.995, anew=False), "one that finds too little is replaced"


@pytest.mark.parametrize("factory, name", [("IVF64,SQ8", "nprobe"), ("HNSW16_SQ8", "efSearch")])
def test_settings_are_of_a_search_not_of_the_index_that_others_search_too(keys, factory, name):
    index = ApproximateIndex.build(keys, IndexSettings(factory, f"{name}=1", 1), "cosine")
    before = index.search(keys, keys[:200], 10)[0]
    wide = index.with_settings(IndexSettings(factory, f"{name}=64", 1))
    truth = exact_search(keys, keys[:200], 10, "cosine")[0]
    recalls = [
        np.mean([len(set(a) & set(b)) / 10 for a, b in zip(item.search(keys, keys[:200], 10)[0], truth, strict=True)])
        for item in (index, wide)
    ]
    assert recalls[0] < recalls[1]
    np.testing.assert_array_equal(index.search(keys, keys[:200], 10)[0], before)


def test_an_index_that_needs_too_much_memory_to_build_is_not_tried(keys, monkeypatch):
    least = {kind: building_bytes(kind, COUNT, DIMENSION) for kind in ("codes", "ivf", "hnsw")}
    assert least["codes"] < least["ivf"] < least["hnsw"]
    steps: list[str] = []
    for most, expected in [
        (least["codes"] - 1, []),
        (least["codes"], ["codes"]),
        (least["ivf"], ["lists", "codes"]),
        (least["hnsw"], ["lists", "codes", "graph"]),
    ]:
        times(monkeypatch, exact=5.0, approximate=1.0)
        steps.clear()
        choose_index(keys, "cosine", recall=0.9, most_bytes=most, on_step=steps.append)
        assert list(dict.fromkeys(step.split()[-1] for step in steps)) == expected
    assert choose_index(keys, "cosine", most_bytes=0).index is None
