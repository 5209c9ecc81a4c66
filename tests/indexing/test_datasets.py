"""Datasets of the library `datasets`: from the hub, from folders that it saved, and memories as such folders."""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow as pa
import pytest
from benches import build
from commands import run_in_shell

from indexing.jobs.export_memory import export_memory
from indexing.sources.document import Note
from indexing.sources.find_files import find_files
from indexing.sources.hub_datasets import HubDataset, hub_dataset
from indexing.sources.read_documents import read_documents
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import MissingPackageError, SourceError
from memgpt_rag.memory import Memory

ROWS = [{"id": f"r{number}", "text": f"Bench {number} is green.", "year": 1900 + number} for number in range(5)]


def as_stream(path, rows=ROWS):
    """An Arrow stream, which is what save_to_disk writes."""
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table, max_chunksize=2)


def as_file(path, rows=ROWS):
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table, max_chunksize=2)


def saved(folder, rows=ROWS):
    """A folder as save_to_disk writes it, with a file beside it that a later `map` has left there."""
    folder.mkdir(parents=True)
    as_stream(folder / "data-00000-of-00001.arrow", rows)
    as_stream(folder / "cache-1f.arrow", [{"id": "old", "text": "Stale."}])
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def read(sources, **settings):
    notes: list[Note] = []
    files = find_files(sources, on_note=notes.append)
    documents = list(read_documents(files, ReadOptions(limits=None, **settings)))
    return [(one.source, one.record, one.blocks[0].text, dict(one.metadata)) for one in documents], notes


@pytest.mark.parametrize("write", [as_stream, as_file])
def test_an_arrow_file_is_read_row_by_row(tmp_path, write):
    write(tmp_path / "benches.arrow")
    found, _ = read([tmp_path / "benches.arrow"], metadata={"year": "integer"})
    assert found == [("benches.arrow", row["id"], row["text"], {"year": row["year"]}) for row in ROWS]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"ARROW1 and more", "a.arrow cannot be read as Arrow: .*; mend it, or leave it out with --exclude"),
        (b"no arrow at all", "a.arrow cannot be read as Arrow: .*; mend it, or leave it out with --exclude"),
        (b"", "a.arrow cannot be read as Arrow: .*; mend it, or leave it out with --exclude"),
    ],
)
def test_what_is_no_arrow_file_is_refused(tmp_path, data, says):
    (tmp_path / "a.arrow").write_bytes(data)
    with pytest.raises(SourceError, match=says):
        read([tmp_path / "a.arrow"])


def test_a_row_without_text_is_reported_by_its_number(tmp_path):
    as_stream(tmp_path / "a.arrow", [{"text": "One."}, {"text": None}])
    with pytest.raises(SourceError, match=r"a\.arrow, row 2: its text"):
        read([tmp_path / "a.arrow"])


def test_a_saved_dataset_is_its_rows_and_nothing_beside_them(tmp_path):
    saved(tmp_path / "set" / "train")
    saved(tmp_path / "set" / "test", ROWS[:1])
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    found, notes = read([tmp_path / "set"])
    name = "data-00000-of-00001.arrow"
    wanted = [(f"test/{name}", "r0"), *((f"train/{name}", row["id"]) for row in ROWS)]
    assert [(source, record) for source, record, *_ in found] == wanted
    assert {note.source for note in notes} == {
        "dataset_dict.json",
        *(
            f"{split}/{one}"
            for split in ("train", "test")
            for one in ("cache-1f.arrow", "dataset_info.json", "state.json")
        ),
    }


def test_a_saved_dataset_that_lacks_rows_is_refused(tmp_path):
    folder = saved(tmp_path / "set")
    (folder / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(SourceError, match=r"set lacks 'data-00000-of-00001\.arrow', which holds rows"):
        find_files([folder])
    (folder / "state.json").write_text('{"_data_files": [1]}')
    with pytest.raises(
        SourceError, match=r"state\.json does not say which files hold the rows of the dataset; save it"
    ):
        find_files([folder])


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("hf://datasets/squad", HubDataset("squad")),
        ("hf://datasets/rajpurkar/squad@main", HubDataset("rajpurkar/squad", "main")),
        ("hf://datasets/a/b?config=20231101.en&split=train", HubDataset("a/b", None, "20231101.en", "train")),
        ("hf://datasets/a/b?rows=100", HubDataset("a/b", rows=100)),
        ("hf://datasets/a/b/data/train.parquet", None),
        ("s3://datasets/a/b", None),
    ],
)
def test_an_address_names_a_dataset_or_a_file_in_one(address, wanted):
    assert hub_dataset(address) == wanted


@pytest.mark.parametrize("query", ["split=", "rows=0", "rows=ten", "language=en"])
def test_an_address_that_asks_for_something_else_is_refused(query):
    with pytest.raises(SourceError, match="expected config, split and rows behind the question mark"):
        hub_dataset(f"hf://datasets/a/b?{query}")


def test_without_the_library_a_dataset_of_the_hub_is_refused_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackageError, match=r"needs the package datasets.*pip install 'memgpt_rag\[datasets\]'"):
        find_files(["hf://datasets/a/b"])


@pytest.fixture
def datasets():
    return pytest.importorskip("datasets", reason="datasets is not installed; see CONTRIBUTING.md")


@pytest.fixture
def files(tmp_path):
    """A dataset as people upload them: a file of JSON Lines for each split."""
    folder = tmp_path / "uploaded"
    folder.mkdir()
    for split, rows in (("train", ROWS), ("test", ROWS[:2])):
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def test_a_dataset_is_streamed_split_by_split(datasets, files, tmp_path):
    whole = HubDataset(str(files))
    assert whole.splits() == ["train", "test"]
    whole.write("train", tmp_path / "train.arrow")
    found, _ = read([tmp_path / "train.arrow"], metadata={"year": "integer"})
    assert found == [("train.arrow", row["id"], row["text"], {"year": row["year"]}) for row in ROWS]
    assert HubDataset(str(files), split="test").splits() == ["test"]
    HubDataset(str(files), rows=3).write("train", tmp_path / "few.arrow")
    assert [record for _, record, *_ in read([tmp_path / "few.arrow"])[0]] == ["r0", "r1", "r2"]


def test_a_dataset_of_the_hub_is_read_from_its_address(datasets, files, monkeypatch):
    """The hub's place is taken by a folder; the library reads it as it reads what it downloads."""
    load = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda name, *rest, **named: load(str(files), *rest, **named))
    found, _ = read(["hf://datasets/park/benches?split=train"])
    assert [(source, record) for source, record, *_ in found] == [
        ("park/benches/train.arrow", row["id"]) for row in ROWS
    ]
    found, _ = read(["hf://datasets/park/benches?rows=1"])
    assert [source for source, *_ in found] == ["park/benches/train.arrow", "park/benches/test.arrow"]
    with pytest.raises(
        SourceError, match=r"The dataset park/benches cannot be read from the hub \(.*\); see to its name"
    ):
        read(["hf://datasets/park/benches?split=validation"])


def test_without_a_connection_the_command_says_what_to_do_in_one_sentence(datasets, tmp_path):
    done = run_in_shell("memgpt-index", "build", "hf://datasets/park/benches", "--memory", tmp_path / "m")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: The dataset park/benches cannot be read from the hub (")
    assert line.endswith(
        "without a connection, save it elsewhere with save_to_disk, and name the folder that this wrote."
    )


def test_a_dataset_that_was_saved_by_the_library_is_read(datasets, tmp_path):
    rows = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": rows, "test": rows.filter(lambda row: row["year"] > 1902)}).save_to_disk(
        tmp_path / "set"
    )
    found, _ = read([tmp_path / "set"])
    assert [record for source, record, *_ in found if source.startswith("train/")] == ["r0", "r1", "r2", "r3", "r4"]
    assert [record for source, record, *_ in found if source.startswith("test/")] == ["r3", "r4"]


def test_a_memory_is_a_dataset_whose_index_finds_the_same(datasets, sources, tmp_path):
    build(sources, tmp_path / "memory")
    memory, folder = Memory.open(tmp_path / "memory"), tmp_path / "benches.dataset"
    assert export_memory(memory, folder, where="year < 1930") == 30
    wanted = memory.rows("year < 1930")
    opened = datasets.load_from_disk(folder)
    assert opened["text"][:] == [passage.text for passage in memory.passages(wanted)]
    assert opened["year"][:] == list(range(1900, 1930))
    opened.load_faiss_index("key", folder / "key.faiss")
    queries = memory.keys(wanted[[3, 20]])
    exact = memory.search(queries, 5, where="year < 1930")
    for query, rows, scores in zip(queries, exact.rows, exact.scores, strict=True):
        found = opened.get_nearest_examples("key", query, k=5)
        assert found.examples["id"] == [passage.id for passage in memory.passages(rows)]
        np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    with pytest.raises(SourceError, match=r"benches\.dataset is there already"):
        export_memory(memory, folder)


def test_without_the_library_no_dataset_is_exported(monkeypatch, sources, tmp_path):
    build(sources, tmp_path / "memory")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackageError, match=r"A dataset needs the package datasets"):
        export_memory(Memory.open(tmp_path / "memory"), tmp_path / "benches.dataset")
    assert not (tmp_path / "benches.dataset").exists()
