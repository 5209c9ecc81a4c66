"""Index files of received memories: FAISS reads none that would lead it astray, and a sound one is read as it was written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from random import Random

import faiss
import numpy as np
import pytest
from children import heard
from hashing import HashEncoder, passage

from indexing.jobs.verify_memory import verify_memory
from memgpt_rag.errors import MemgptRagError, MemoryFormatError
from memgpt_rag.memory import Memory, MemoryWriter, add_indexes
from memgpt_rag.memory.dense.faiss_index import ApproximateIndex, codes_for
from memgpt_rag.memory.dense.index_file import IndexFile
from memgpt_rag.memory.storage.index_settings import IndexSettings

ROWS, DIMENSION = 300, 16
KINDS = [
    *codes_for(DIMENSION),
    "HNSW8_SQ8",
    "HNSW8",
    "HNSW8,Flat",
    "IVF8,SQ8",
    "IVF8,Flat",
]
REMEDY = "make it again."


@pytest.fixture(params=["cosine", "euclidean"])
def metric(request):
    return request.param


@pytest.fixture(scope="module")
def keys() -> np.ndarray:
    keys = np.random.default_rng(0).normal(size=(ROWS, DIMENSION)).astype(np.float32)
    return keys / np.linalg.norm(keys, axis=1, keepdims=True)


def written(path: Path, kind: str, keys: np.ndarray, metric: str = "cosine") -> tuple[IndexSettings, bytes]:
    settings = IndexSettings(kind, "", 2)
    with path.open("wb") as file:
        ApproximateIndex.build(keys, settings, metric).write(file)
    return settings, path.read_bytes()


def read(path: Path, settings: IndexSettings, metric: str = "cosine") -> ApproximateIndex:
    return ApproximateIndex.read(path, settings, rows=ROWS, dimension=DIMENSION, metric=metric)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_index_is_read_as_it_was_written(kind, keys, metric, tmp_path):
    settings, _ = written(tmp_path / "index", kind, keys, metric)
    built = ApproximateIndex.build(keys, settings, metric)
    for one, other in zip(
        read(tmp_path / "index", settings, metric).search(keys, keys, 5), built.search(keys, keys, 5), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_or_longer_or_of_other_keys_is_refused(kind, keys, tmp_path):
    path = tmp_path / "index"
    settings, content = written(path, kind, keys)
    for size in (0, 3, 4, 36, 37, 60, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(MemoryFormatError, match=rf"no sound .* index over {ROWS} keys .*it ends at byte {size}"):
            IndexFile(path, rows=ROWS, dimension=DIMENSION, metric="cosine").require_sound(settings, REMEDY)
    path.write_bytes(content + b"\0")
    with pytest.raises(MemoryFormatError, match="1 bytes follow"):
        read(path, settings)
    path.write_bytes(content)
    for other in ({"rows": ROWS - 1}, {"dimension": DIMENSION * 2}, {"metric": "euclidean"}):
        with pytest.raises(MemoryFormatError, match=f"over {ROWS} keys of dimension {DIMENSION}|expected"):
            ApproximateIndex.read(path, settings, **{"rows": ROWS, "dimension": DIMENSION, "metric": "cosine", **other})


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_of_another_kind_is_refused(kind, keys, tmp_path):
    path = tmp_path / "index"
    written(path, kind, keys)
    for other in {"HNSW16_SQ8", "HNSW8_SQ8", "HNSW8", "IVF8,SQ8", "IVF4,Flat", "PQ2x4fs", "SQ8"} - {kind}:
        if kind.replace(",Flat", "") != other:
            with pytest.raises(MemoryFormatError, match="no sound"):
                read(path, IndexSettings(other, "", 2))


def test_lists_that_lie_in_another_file_are_not_opened(keys, tmp_path):
    """FAISS keeps lists on disk in a file whose name is in the index, wherever that is."""
    victim = tmp_path / "victim"
    index = faiss.index_factory(DIMENSION, "IVF8,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(keys)
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(victim))
    index.replace_invlists(lists)
    index.add(keys)
    faiss.write_index(index, str(tmp_path / "index"))
    with pytest.raises(MemoryFormatError, match=r"b'ilod' where b'ilar' is expected"):
        read(tmp_path / "index", IndexSettings("IVF8,Flat", "nprobe=2", 1))


def test_keys_are_only_read_from_an_exact_index(keys, tmp_path):
    """Version 1 kept keys so. FAISS ends the process when another index is asked for them."""
    flat = faiss.IndexFlatIP(DIMENSION)
    flat.add(keys)
    faiss.write_index(flat, str(tmp_path / "flat"))
    mapped_keys = IndexFile(tmp_path / "flat", rows=ROWS, dimension=DIMENSION, metric="cosine").keys(REMEDY)
    np.testing.assert_array_equal(mapped_keys, keys)
    mapped = faiss.IndexIDMap(faiss.IndexFlatIP(DIMENSION))
    mapped.add_with_ids(keys, np.arange(ROWS))
    faiss.write_index(mapped, str(tmp_path / "mapped"))
    with pytest.raises(MemoryFormatError, match=r"no sound exact index over 300 keys .*b'IxMp' where b'IxFI'"):
        IndexFile(tmp_path / "mapped", rows=ROWS, dimension=DIMENSION, metric="cosine").keys(REMEDY)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"candidates": -1}, "candidates is -1; expected 1 to 1024"),
        ({"candidates": 2.0}, "candidates is 2.0"),
        ({"parameters": "nprobe=-1"}, "found 'nprobe=-1'"),
        ({"parameters": "nprobe=0"}, "IVF8,SQ8 is searched with nprobe=1 to nprobe=65536; found 'nprobe=0'"),
        ({"parameters": "efSearch=16"}, "found 'efSearch=16'"),
        ({"parameters": "nprobe=4,quantizer_efSearch=2"}, "found"),
        ({"factory": "IDMap,Flat"}, "there is no index 'IDMap,Flat'"),
        ({"factory": "HNSW8_SQ8", "parameters": "efSearch=2000000000"}, "found 'efSearch=2000000000'"),
        ({"factory": "SQ8", "parameters": "nprobe=1"}, "SQ8 is searched without parameters"),
        ({"factory": 8}, "index 8"),
        ({"recall": float("nan")}, "recall of an index is nan"),
        ({"milliseconds": -1}, "milliseconds of an index is -1"),
        ({"recall": True}, "recall of an index is True"),
    ],
)
def test_settings_that_no_search_can_have_are_refused(fields, reason):
    sound = {"factory": "IVF8,SQ8", "parameters": "nprobe=4", "candidates": 2, "recall": 0.99, "milliseconds": 0.2}
    assert asdict(IndexSettings.from_json(sound)) == {
        name: sound[name] for name in ("factory", "parameters", "candidates")
    }
    with pytest.raises(ValueError, match=reason):
        IndexSettings.from_json({**sound, **fields})


def test_verify_searches_every_index_of_every_version(keys, tmp_path):
    encoder = HashEncoder(dimension=DIMENSION)
    with MemoryWriter(tmp_path / "memory") as writer:
        writer.add_values([passage(number) for number in range(ROWS)])
        for _ in writer.value_blocks(ROWS):
            pass
        writer.add_keys(keys)
        writer.commit(encoder.fingerprint, splitting={"tokenizer": "hash", "max_tokens": 9}, job={"name": "test"})
    memory = Memory.open(tmp_path / "memory")
    name, settings = memory.segments[0].described.name, IndexSettings("IVF8,Flat", "nprobe=8", 1)
    good = ApproximateIndex.build(keys, settings, "cosine")
    add_indexes(memory, {name: (good, {**asdict(settings), "recall": 1.0})})
    assert verify_memory(tmp_path / "memory") == []
    # Sound, and over as many keys, but of another order: each lies where another one should.
    other = ApproximateIndex.build(np.roll(keys, 1, axis=0), settings, "cosine")
    few = IndexSettings("IVF8,Flat", "nprobe=1", 1)
    add_indexes(Memory.open(tmp_path / "memory"), {name: (other, {**asdict(few), "recall": 1.0})})
    add_indexes(Memory.open(tmp_path / "memory"), {name: None})
    assert Memory.open(tmp_path / "memory").segments[0].index is None
    (fault,) = verify_memory(tmp_path / "memory")
    assert (
        "of the 10 nearest keys, and 1.000 when it was chosen; make it again with: memgpt-index rebuild-index" in fault
    )


def _search_mutated(path: str, kind: str, count: int, done) -> None:
    """As a reader does: whatever is not refused is searched, and ends in numbers of rows."""
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(ROWS, DIMENSION)).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    content, settings = Path(path).read_bytes(), IndexSettings(kind, "", 2)
    for number in range(count):
        random, damaged = Random(number), bytearray(content)
        for _ in range(random.choice([1, 1, 2, 8])):
            place = random.choice([random.randrange(len(damaged)), random.randrange(min(400, len(damaged)))])
            damaged[place] = random.choice([random.randrange(256), damaged[place] ^ 1 << random.randrange(8), 0, 255])
        Path(path).write_bytes(damaged)
        done.put(number)
        try:
            index = ApproximateIndex.read(Path(path), settings, rows=ROWS, dimension=DIMENSION, metric="cosine")
        except MemgptRagError:
            continue
        for queries, k in ((keys[:3], 1), (keys, 20)):
            rows, _ = index.search(keys, queries, k)
            assert ((rows >= 0) & (rows < ROWS)).all()
    done.put(None)


@pytest.mark.parametrize("kind", KINDS)
def test_no_mutated_index_ends_the_process(kind, keys, tmp_path, pytestconfig):
    written(tmp_path / "index", kind, keys)
    last, count = None, 3000 if pytestconfig.getoption("--thorough") else 150
    try:
        for number in heard(_search_mutated, str(tmp_path / "index"), kind, count):
            last = number
    except AssertionError as error:
        pytest.fail(f"mutation {last}: {error}")
    assert last == count - 1
