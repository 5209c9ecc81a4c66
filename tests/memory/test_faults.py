"""Jobs that are stopped at the changes that they make to the folder, and what a loss of power may leave of it.

After each, the memory opens as it was before the job or as it is after it, everything pairs, and the job run again ends
with the same bytes as one that was never stopped.

    pytest tests/memory/test_faults.py --thorough      both ways of being killed, and four losses of power, at each change

Without the option a job is killed at every third change, and loses its power once at every second, which leaves the same and more.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from random import Random

import faiss
import numpy as np
import pytest
from faults import Disk, count_changes, killed_at
from hashing import HashEncoder, passage
from jobs import build, contents, write_sources
from pictures import png

from indexing.engines.local import LocalEngine
from indexing.jobs import encode_passages
from indexing.jobs.build_memory import NewMemory
from indexing.jobs.change_memory import add_sources
from indexing.jobs.verify_memory import verify_memory
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from indexing.sources.read_options import ReadOptions
from memgpt_rag.fingerprint import SparseFingerprint, StatesFingerprint
from memgpt_rag.memory import Memory, add_indexes, add_lexical_index, add_sparse_vectors, add_states, expire, roll_back
from memgpt_rag.memory.changes import compact, delete_entries
from memgpt_rag.memory.dense.faiss_index import ApproximateIndex
from memgpt_rag.memory.pictures import add_pictures
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.storage.index_settings import IndexSettings
from memgpt_rag.memory.versions import writing
from memgpt_rag.state_codes import encode


@pytest.fixture(autouse=True)
def small_blocks_and_one_thread(monkeypatch):
    """So that a small job has many points to be stopped at, and can be forked."""
    monkeypatch.setattr(encode_passages, "BLOCK", 3)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


def change(sources: Path, memory: Path, *, update: bool) -> None:
    encoder = HashEncoder(dimension=32)
    splitter = PassageSplitter(encoder.count_tokens)
    add_sources(
        find_files([sources]),
        memory,
        engine=LocalEngine(encoder, splitter),
        options=ReadOptions(limits=None),
        update=update,
    )


def delete(memory: Path) -> None:
    opened = Memory.open(memory)
    if len(rows := opened.rows('record in ("r1", "r6")')):
        delete_entries(memory, rows, opened.manifest)


def index(memory: Path) -> None:
    opened, settings = Memory.open(memory), IndexSettings("IVF2,Flat", "nprobe=2", 1)
    segment = opened.segments[0]
    built = ApproximateIndex.build(segment.keys, settings, "cosine")
    add_indexes(opened, {segment.described.name: (built, asdict(settings))})


def states(memory: Path) -> None:
    add_states(
        Memory.open(memory),
        StatesFingerprint("tiny", (0,), 1, 4, "int8", (1,), (5, 6), "ADwAPA=="),
        lambda rows: [2 + row for row in rows],
        lambda rows: (encode(np.random.default_rng(row).normal(size=(2 + row, 1, 2, 1, 4)), "int8") for row in rows),
    )


def sparse_vectors(memory: Path) -> None:
    encoder = SparseFingerprint("length", 9, 0, 1.0, {"1": 1.0}, {"1": 1.0})
    add_sparse_vectors(Memory.open(memory), encoder, lambda passages: [{"1": len(one.text)} for one in passages])


def add_colors(memory: Path) -> None:
    """Two pictures, in place of others from their source."""
    entries = [(passage(number), png(color)) for number, color in ((101, "red"), (102, "blue"))]
    add_pictures(memory, entries, HashEncoder(dimension=32), instead_of=[passage(101).source])


@pytest.fixture
def jobs(tmp_path) -> dict[str, Callable[[Path], None]]:
    first = write_sources(tmp_path / "first", range(8))
    later = write_sources(tmp_path / "later", range(2, 12))
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "kite.md").write_text("# Kites\n\nChildren under twelve can borrow a kite.\n")
    return {
        "build": lambda memory: build(first, memory),
        "build again": lambda memory: build(later, memory),
        "replace": lambda memory: build(later, memory, new=NewMemory(replace=True)),
        "add": lambda memory: change(beside, memory, update=False),
        "update": lambda memory: change(later, memory, update=True),
        "delete": delete,
        "compact": lambda memory: compact(memory) and None,
        "index": index,
        "states": states,
        "words": lambda memory: add_lexical_index(Memory.open(memory)) and None,
        "sparse vectors": sparse_vectors,
        "add to words": lambda memory: change(beside, memory, update=False),
        "pictures": add_colors,
        "rollback": lambda memory: roll_back(memory, 1) and None,
        "expire": lambda memory: expire(memory, 1) and None,
    }


NAMES = [
    "build",
    "build again",
    "replace",
    "add",
    "update",
    "delete",
    "compact",
    "index",
    "states",
    "words",
    "sparse vectors",
    "add to words",
    "pictures",
    "rollback",
    "expire",
]


@pytest.fixture
def base(jobs, tmp_path) -> Callable[[str], Path]:
    """What a job starts from: two versions, the second with deleted rows; nothing for the first build."""

    def make(name: str) -> Path:
        folder = tmp_path / "base"
        if name == "build":
            folder.mkdir()
            return folder
        jobs["build"](folder)
        opened = Memory.open(folder)
        delete_entries(folder, opened.rows('record == "r3"'), opened.manifest)
        if name == "add to words":
            add_lexical_index(Memory.open(folder))
        return folder

    return make


def state(folder: Path) -> tuple | None:
    """The entries of the present version and its number; None where there is no memory."""
    if not (folder / layout.MANIFEST).exists():
        return None
    memory = Memory.open(folder)
    passages = memory.passages(memory.rows())
    assert verify_memory(folder) == []
    keys = HashEncoder(dimension=32).encode_passages([passage.titled_text for passage in passages])
    np.testing.assert_array_equal(memory.keys(), keys)
    assert memory.search(keys, 1).rows[:, 0].tolist() == memory.rows().tolist()
    return memory.manifest.commit, tuple(passages)


def require_whole(
    folder: Path, job: Callable[[Path], None], before, after, whole: dict[Path, bytes], where: str
) -> None:
    """The folder is as before the job or after it, and the job, run again if need be, ends as if never stopped."""
    found = state(folder)
    assert found in (before, after), where
    if found != after or before == after:
        job(folder)
    elif folder.exists():
        with writing(folder):  # the next job clears up what this one left
            pass
        (folder / layout.JOURNAL).unlink(missing_ok=True)
        if len(list((folder / layout.VERSIONS).iterdir())) > 1 and where.startswith("replace"):
            expire(folder, 1)  # versions that it had not come round to forget
    assert contents(folder) == whole, where


@pytest.mark.parametrize("name", NAMES)
def test_a_job_killed_at_any_change_loses_nothing(name, jobs, base, tmp_path, pytestconfig):
    job, start, folder = jobs[name], base(name), tmp_path / "memory"
    shutil.copytree(start, folder)
    changes, thorough = count_changes(lambda: job(folder)), pytestconfig.getoption("--thorough")
    before, after, whole = state(start), state(folder), contents(folder)
    assert changes > 10 or name in ("rollback", "expire")
    for number in range(1, changes + 1, 1 if thorough else 3):
        for torn in (False, True) if thorough else (number % 2 == 1,):
            shutil.rmtree(folder)
            shutil.copytree(start, folder)
            killed_at(lambda: job(folder), number, torn=torn)
            require_whole(folder, job, before, after, whole, f"{name}, change {number} of {changes}, torn {torn}")


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_of_power_at_any_change_loses_nothing(name, jobs, base, tmp_path, pytestconfig):
    job, start, folder = jobs[name], base(name), tmp_path / "memory"
    shutil.copytree(start, folder)
    trace, losses = Disk(folder, lambda: job(folder)), 4 if pytestconfig.getoption("--thorough") else 1
    before, after, whole = state(start), state(folder), contents(folder)
    for point in range(0, len(trace.changes) + 1, 1 if losses > 1 else 2):
        for seed in range(losses):
            shutil.rmtree(folder)
            folder.mkdir()
            trace.left_after(point, Random(1000 * point + seed), folder)
            where = f"{name}, before change {point} of {len(trace.changes)}, seed {seed}"
            require_whole(folder, job, before, after, whole, where)
    print(f"{name}: {len(trace.changes) + 1} points, {losses} losses each")
