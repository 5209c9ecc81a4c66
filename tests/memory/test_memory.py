"""The memory on disk: what goes in comes out, paired, and a folder that is not right is refused in one sentence."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hashing import HashEncoder, passage

from memgpt_rag.errors import MemoryFormatError, MismatchError, ModelError
from memgpt_rag.memory import Memory, MemoryWriter
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.storage.files import describe
from memgpt_rag.memory.storage.keys import KeysWriter, open_keys
from memgpt_rag.memory.storage.manifest import read_manifest
from memgpt_rag.memory.versions import publish

JOB = {"name": "build", "documents": 1, "passages": 5}
SPLITTING = {"tokenizer": "hash", "max_tokens": 160}


def write(folder: Path, count: int = 5, encoder: HashEncoder | None = None, metric="cosine", **settings) -> Path:
    encoder = encoder or HashEncoder(normalized=metric == "cosine")
    with MemoryWriter(folder, metric=metric, **settings) as writer:
        for start in range(0, count, 3):
            writer.add_values([passage(number) for number in range(start, min(start + 3, count))])
        for block in writer.value_blocks(2):
            writer.add_keys(encoder.encode_passages([one.titled_text for one in block]))
        writer.commit(encoder.fingerprint, splitting=SPLITTING, job=JOB)
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(tmp_path / "memory")


@pytest.mark.parametrize("count", [1, 2, 5, 100, 300])  # the keys of 300 are mapped
def test_every_key_finds_its_own_value(tmp_path, count):
    encoder = HashEncoder(dimension=256)
    memory = Memory.open(write(tmp_path / "memory", count, encoder), encoder=encoder.fingerprint)
    assert len(memory) == count
    assert memory.passages(range(count)) == [passage(number) for number in range(count)]
    found = memory.search(encoder.encode_passages([passage(number).titled_text for number in range(count)]), 1)
    assert found.rows[:, 0].tolist() == list(range(count))
    assert [one[0] for one in found.passages] == [passage(number) for number in range(count)]
    np.testing.assert_allclose(found.scores[:, 0], 1, atol=1e-6)


def test_small_keys_are_read_and_large_ones_mapped(tmp_path, rng):
    """A mapping keeps its file open, and a memory may have more segments than a process may have open files."""
    for name, rows in (("small", 100), ("large", 1100)):
        wanted = rng.normal(size=(rows, 64)).astype(np.float32)
        writer = KeysWriter(tmp_path / name, rows, 64, "euclidean")
        writer.add(wanted)
        writer.close()
        keys = open_keys(tmp_path / name, rows, 64)
        np.testing.assert_array_equal(keys, wanted)
        assert not keys.flags.writeable and isinstance(keys, np.memmap) == (name == "large")


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_search_equals_brute_force(tmp_path, rng, metric):
    encoder = HashEncoder(normalized=metric == "cosine")
    memory = Memory.open(write(tmp_path / "memory", 200, encoder, metric))
    queries = rng.normal(size=(20, 64)).astype(np.float32)
    if metric == "cosine":
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    keys = encoder.encode_passages([passage(number).titled_text for number in range(200)])
    scores = queries @ keys.T if metric == "cosine" else -np.linalg.norm(queries[:, None] - keys[None], axis=-1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :7]
    found = memory.search(queries, 7)
    np.testing.assert_allclose(found.scores, np.take_along_axis(scores, best, axis=1), atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(scores, found.rows, axis=1), found.scores, atol=1e-4)
    assert [[one.id for one in row] for row in found.passages] == [
        [f"doc#{number}" for number in row] for row in found.rows
    ]
    np.testing.assert_array_equal(memory.keys(), keys)


def test_more_entries_than_there_are_gives_all_of_them(folder):
    found = Memory.open(folder).search(HashEncoder().encode_queries(["Fact number 3."]), 50)
    assert sorted(found.rows[0].tolist()) == [0, 1, 2, 3, 4]
    assert (np.diff(found.scores[0]) <= 0).all()


def test_what_is_not_committed_leaves_no_trace(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), MemoryWriter(tmp_path / "new" / "memory") as writer:
        writer.add_values([passage(0)])
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_replacement_leaves_the_old_memory_as_it_was(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RuntimeError, match="stop"), MemoryWriter(folder, replace=True) as writer:
        writer.add_values([passage(9)])
        raise RuntimeError("stop")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert len(Memory.open(folder)) == 5


def test_a_replacement_leaves_nothing_of_the_old_memory(folder):
    opened = Memory.open(folder)
    write(folder, 2, replace=True)
    assert len(Memory.open(folder)) == 2
    assert len(list((folder / layout.SEGMENTS).iterdir())) == 1
    # Who opened the old one keeps reading it.
    assert opened.passages([4]) == [passage(4)]


def test_new_entries_join_those_that_are_there(folder):
    encoder = HashEncoder()
    with MemoryWriter(folder) as writer:
        writer.add_values([passage(7), passage(8)])
        for block in writer.value_blocks(2):
            writer.add_keys(encoder.encode_passages([one.titled_text for one in block]))
        writer.delete([1, 3])
        writer.commit(encoder.fingerprint, splitting=SPLITTING, job=JOB)
    memory = Memory.open(folder)
    assert memory.rows().tolist() == [0, 2, 4, 5, 6]
    assert memory.passages(memory.rows()) == [passage(number) for number in (0, 2, 4, 7, 8)]
    assert len(memory) == 5
    for number in (0, 2, 4, 7, 8):
        found = memory.search(encoder.encode_passages([passage(number).titled_text]), 9)
        assert found.passages[0][0] == passage(number)
        assert sorted(found.rows[0].tolist()) == memory.rows().tolist()
    before = Memory.open(folder, version=1)
    assert before.passages(before.rows()) == [passage(number) for number in range(5)]


def test_other_files_are_not_mixed_with_a_memory(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(MemoryFormatError, match="holds files that are no memory; name a new or an empty folder"):
        MemoryWriter(tmp_path, replace=True)
    with pytest.raises(MemoryFormatError, match="thesis.txt is a file; name a folder"):
        MemoryWriter(tmp_path / "thesis.txt")


def test_values_and_keys_must_pair(tmp_path):
    encoder = HashEncoder()
    with (
        pytest.raises(ValueError, match="3 values have 2 keys; every value needs exactly one key"),
        MemoryWriter(tmp_path / "m") as writer,
    ):
        writer.add_values([passage(number) for number in range(3)])
        writer.add_keys(encoder.encode_passages(["a text", "another"]))
        writer.commit(encoder.fingerprint, splitting=SPLITTING, job=JOB)
    assert not (tmp_path / "m").exists()


def test_keys_that_are_no_unit_vectors_or_no_numbers_are_refused(tmp_path):
    with MemoryWriter(tmp_path / "m") as writer:
        writer.add_keys(np.eye(3, 4, dtype=np.float32))
        with pytest.raises(ValueError, match="key of row 4 has length 2; a cosine memory takes vectors of length 1"):
            writer.add_keys(np.array([[1, 0, 0, 0], [2, 0, 0, 0]], dtype=np.float32))
        with pytest.raises(ValueError, match="key of row 3 holds NaN or infinity"):
            writer.add_keys(np.array([[np.nan, 0, 0, 0]], dtype=np.float32))


def test_another_encoder_is_refused_with_both_names(folder):
    for encoder, difference in [
        (HashEncoder(dimension=32, name="other"), "dimension 64 against 32"),
        (HashEncoder(name="other", normalized=False), "unit-length vectors against vectors of any length"),
        (HashEncoder(name="other", query_prompt="query: "), "query prompt '' against 'query: '"),
        (HashEncoder(name="other", salt=5), r"the same text gives other vectors \(cosine -?0\.\d+\)"),
    ]:
        with pytest.raises(MismatchError, match=f"embedded with 'hash' and is asked with 'other': {difference}"):
            Memory.open(folder, encoder=encoder.fingerprint)


def test_the_same_encoder_under_another_name_is_accepted(folder):
    assert len(Memory.open(folder, encoder=HashEncoder(name="/elsewhere/hash").fingerprint)) == 5


@pytest.mark.parametrize(
    "vectors, k, error, match",
    [
        (
            np.eye(1, 32, dtype=np.float32),
            1,
            MismatchError,
            "have dimension 32 and this memory, embedded with 'hash', has dimension 64",
        ),
        (
            2 * np.eye(1, 64, dtype=np.float32),
            1,
            MismatchError,
            "has length 2 and this memory, embedded with 'hash', holds unit-length vectors",
        ),
        (
            np.eye(1, 64, dtype=np.float32)[0],
            1,
            ValueError,
            r"Found query vectors of shape \(64,\); expected \[queries, dimension\]",
        ),
        (np.full((1, 64), np.nan, dtype=np.float32), 1, ValueError, "A query vector holds NaN or infinity"),
        (np.eye(1, 64, dtype=np.float32), 0, ValueError, "k is 0; expected 1 or more"),
    ],
    ids=["dimension", "length", "shape", "nan", "k"],
)
def test_queries_that_cannot_be_meant_are_refused(folder, vectors, k, error, match):
    with pytest.raises(error, match=match):
        Memory.open(folder).search(vectors, k)


def test_rows_that_are_not_there_are_refused(folder):
    with pytest.raises(IndexError, match="Row 5 was asked for; this memory has rows 0 to 4"):
        Memory.open(folder).passages([4, 5])


def edit_manifest(folder: Path, **changes) -> None:
    path = folder / layout.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def segment(folder: Path) -> Path:
    return next((folder / layout.SEGMENTS).iterdir())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def swap_keys(folder: Path) -> None:
    """Keys of another memory of the same size in bytes, but of another shape."""
    other = write(folder.parent / "other", 10, HashEncoder(dimension=32))
    content = (segment(other) / layout.KEYS).read_bytes()
    path = segment(folder) / layout.KEYS
    assert len(content) == path.stat().st_size
    path.write_bytes(content)


def scramble(path: Path) -> None:
    path.write_bytes(b"\x00" * path.stat().st_size)


@pytest.mark.parametrize(
    "damage, match",
    [
        (lambda folder: (folder / layout.MANIFEST).unlink(), "is not a memory: it has no manifest.json"),
        (lambda folder: (folder / layout.MANIFEST).write_text("{"), r"is damaged \(broken JSON"),
        (lambda folder: (folder / layout.MANIFEST).write_text("[]"), "is not the manifest of a memory"),
        (lambda folder: edit_manifest(folder, format="other"), "is not the manifest of a memory"),
        (
            lambda folder: edit_manifest(folder, version=layout.VERSION + 1),
            "is of version 7 and this release reads up to version 6; upgrade memgpt_rag",
        ),
        (lambda folder: edit_manifest(folder, metric="angle"), "is damaged: ValueError at metric 'angle'"),
        (lambda folder: edit_manifest(folder, commit=-1), "is damaged: ValueError at number -1"),
        (
            lambda folder: edit_manifest(folder, segments=[{"name": "../../etc", "entries": 5, "files": {}}]),
            "segment name '../../etc'",
        ),
        (lambda folder: edit_manifest(folder, states={}), "states have missing, unknown or impossible fields: dtype"),
        (lambda folder: edit_manifest(folder, encoder={}), "missing, unknown or impossible fields: name, dimension"),
        (lambda folder: (segment(folder) / layout.VALUES).unlink(), "values.arrow is missing; the manifest says"),
        (lambda folder: truncate(segment(folder) / layout.KEYS), r"keys.safetensors has \d+ bytes; the manifest says"),
        (lambda folder: scramble(segment(folder) / layout.KEYS), "keys.safetensors is not a safetensors file"),
        (lambda folder: scramble(segment(folder) / layout.VALUES), "values.arrow is not an Arrow file"),
        (
            swap_keys,
            "keys.safetensors does not hold 5 keys of dimension 64",
        ),
    ],
)
def test_a_damaged_memory_is_refused_in_one_sentence(folder, damage, match):
    damage(folder)
    with pytest.raises(MemoryFormatError, match=match) as refused:
        Memory.open(folder)
    assert "\n" not in str(refused.value)


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(
        MemoryFormatError, match="nowhere does not exist; build a memory there with: memgpt-index build"
    ):
        Memory.open(tmp_path / "nowhere")


def test_the_manifest_survives_a_round_trip(folder):
    manifest = read_manifest(folder)
    before = describe(folder / layout.MANIFEST).sha256
    assert publish(folder, replace(manifest, commit=2)) == read_manifest(folder)
    assert read_manifest(folder) == replace(manifest, commit=2, previous=before)
    assert manifest.encoder == HashEncoder().fingerprint
    assert (manifest.splitting, manifest.job) == (SPLITTING, JOB)
    for name, file in manifest.segments[0].files.items():
        assert describe(segment(folder) / name) == file


def test_values_can_be_read_by_arrow_alone(folder):
    table = pa.ipc.open_file(segment(folder) / layout.VALUES).read_all()
    assert table.column("text").to_pylist() == [f"Fact number {number}." for number in range(5)]


def test_passages_say_where_they_are_from():
    one = replace(passage(3), source="manual.txt", first=12, last=12)
    assert one.place == "manual.txt, line 12"
    assert replace(one, last=18).place == "manual.txt, lines 12–18"
    assert one.titled_text == "Title 3\nFact number 3."
    assert replace(one, title="").titled_text == "Fact number 3."


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("score_contrast", value) for value in (0.0, 1e-300, -0.2, 1e300, 1)),
        ("max_tokens", -1),
        ("dimension", 0),
        ("dimension", 2**17),
        ("query_probe", ""),
        ("query_probe", "not base64"),
        ("passage_probe", base64.b64encode(bytes(128)).decode()),  # of no length, so that no cosine is a number
        ("passage_probe", base64.b64encode(b"\x00\x7e" * 64).decode()),  # NaN
        ("query_probe", base64.b64encode(b"\x00\x3c" * 15).decode()),  # of another dimension
    ],
)
def test_numbers_of_a_manifest_that_cannot_be_meant_are_refused(field, value, folder):
    encoder = json.loads((folder / layout.MANIFEST).read_text())["encoder"]
    edit_manifest(folder, encoder={**encoder, field: value})
    with pytest.raises(MemoryFormatError, match=f"encoder has missing, unknown or impossible fields: {field}"):
        Memory.open(folder)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e999", "9" * 5000])
def test_a_manifest_with_what_is_no_number_is_refused_by_its_path(literal, folder):
    text = (folder / layout.MANIFEST).read_text()
    (folder / layout.MANIFEST).write_text(re.sub(r'("score_contrast": )[0-9.]+', rf"\g<1>{literal}", text))
    with pytest.raises(MemoryFormatError, match=r"manifest\.json is damaged"):
        Memory.open(folder)


def test_a_manifest_without_the_longest_passage_is_refused(folder):
    edit_manifest(folder, splitting={"tokenizer": "hash"})
    with pytest.raises(MemoryFormatError, match=r"manifest\.json is damaged"):
        Memory.open(folder)


def test_an_encoder_that_cannot_tell_right_from_wrong_embeds_no_memory():
    class Deaf(HashEncoder):
        def encode_passages(self, texts):
            return np.tile(np.eye(1, self._dimension, dtype=np.float32), (len(texts), 1))

    with pytest.raises(
        ModelError, match=r"The encoder 'hash' cannot search: .* the right ones score 0\.0 above the wrong ones"
    ):
        _ = Deaf().fingerprint


def test_keys_that_are_too_long_give_no_answer(folder):
    """A memory whose digests are right, so that only its scores can tell."""
    opened = Memory.open(folder)
    with pytest.raises(MemoryFormatError, match=r"Some keys of .* are not of length 1.* memgpt-index verify"):
        opened.segments[0].keys = 5 * np.array(opened.segments[0].keys)
        opened.search(opened.segments[0].keys[:1] / 5, 1)
