"""Files are read in processes of their own: whatever a file does, it is named, and the job goes on or stops as asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from pictures import png

from indexing.job_log import Reject
from indexing.sources import reading_process
from indexing.sources.document import Block, Document, Note
from indexing.sources.find_files import find_files
from indexing.sources.frames import Fault, Progress, from_frame, to_frame
from indexing.sources.read_documents import read_documents, read_file
from indexing.sources.read_options import ReadLimits, ReadOptions
from memgpt_rag import limits as bounds
from memgpt_rag.errors import SourceError


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "a.txt").write_text("The gate opens at six.\n")
    (tmp_path / "b.txt").write_text("Kites fly in May.\n" * 300_000)
    (tmp_path / "c.jsonl").write_text(
        '{"id": "c1", "text": "Dogs on a lead."}\n{broken\n{"id": "c3", "text": "Free entry."}\n'
    )
    return tmp_path


def read(folder: Path, **options) -> tuple[list[str], list[Reject]]:
    rejects: list[Reject] = []
    found = read_documents(find_files([folder]), ReadOptions(on_reject=rejects.append, **options))
    return [document.record or document.source for document in found], rejects


def test_a_file_that_takes_too_long_is_named_and_the_others_are_read(folder, monkeypatch):
    start = reading_process.ReadingProcess.start

    def start_or_hang(process, path, name, options, **settings):
        if name == "b.txt":  # its process is up, and does nothing from now on
            process._ready = process._ready or process._answers.recv_bytes() == b"ready"
            os.kill(process._process.pid, signal.SIGSTOP)
        start(process, path, name, options, **settings)

    monkeypatch.setattr(reading_process.ReadingProcess, "start", start_or_hang)
    names, rejects = read(folder, limits=ReadLimits(seconds=1.5))
    assert names == ["a.txt", "c1", "c3"]
    slow, broken = rejects
    assert (slow.source, slow.position) == ("b.txt", "")
    assert "1.5 seconds went by without any text" in slow.reason and "--file-timeout" in slow.reason
    assert (broken.source, broken.position) == ("c.jsonl", "line 2")
    with pytest.raises(SourceError, match=r"b\.txt was given up: .*\nc\.jsonl, line 2: broken JSON"):
        list(read_documents(find_files([folder]), ReadOptions(limits=ReadLimits(seconds=1.5))))


def test_a_file_that_takes_too_much_memory_is_named(folder):
    with (folder / "b.txt").open("r+b") as sparse:
        sparse.truncate(2**33)
    names, (large, _) = read(folder, limits=ReadLimits(memory_bytes=2**28))
    assert names == ["a.txt", "c1", "c3"]
    assert large.source == "b.txt"
    assert "takes more than 0.3 GB of memory to read" in large.reason and "--file-memory" in large.reason


def test_the_memory_for_a_damaged_picture_goes_by_its_file(tmp_path):
    """A part of 2 GB, by its header, in a file of some bytes."""
    content = bytearray(png())
    content[33:37] = (2**31 - 1).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    _, rejects = read(tmp_path, limits=ReadLimits(memory_bytes=2**30))
    assert not [one.reason for one in rejects if "of memory" in one.reason]


def test_a_reader_that_crashes_is_named(folder):
    options = ReadOptions(limits=ReadLimits())
    (file,) = find_files([folder / "b.txt"])
    process = reading_process.begin(folder / "b.txt", "b.txt", options, rejecting=False)
    os.kill(process._process.pid, signal.SIGSEGV)
    (fault,) = process.items(60, "b.txt")
    assert fault == Fault(
        "b.txt cannot be read: it ended the process that read it (SIGSEGV); mend it, or leave it out with --exclude."
    )
    assert not process.usable
    reading_process.release(process)
    assert process not in reading_process._idle
    assert [type(item) for item in read_file(file, options, rejecting=False)] == [Document]


def test_a_process_that_does_not_start_in_time_is_a_sentence_and_ends(folder, monkeypatch):
    """Its first words must not be taken for those of a file."""
    monkeypatch.setattr(reading_process, "_MOST_TO_START", 0)
    monkeypatch.setattr(reading_process, "_idle", [])
    process = reading_process.begin(folder / "a.txt", "a.txt", ReadOptions(), rejecting=False)
    (fault,) = process.items(60, "a.txt")
    assert fault == Fault(
        "a.txt was not read: no process to read it started within 0 seconds; close other programs, and run the job again."
    )
    assert process._process.returncode is not None
    assert not process.usable


def test_another_process_reads_where_an_idle_one_has_ended(folder, monkeypatch):
    (file,) = find_files([folder / "a.txt"])
    options = ReadOptions(limits=ReadLimits())
    list(read_file(file, options, rejecting=False))
    idle = reading_process._idle[-1]
    idle._process.kill()
    idle._process.wait()
    # As if it ended between the look at it and the request.
    monkeypatch.setattr(reading_process.ReadingProcess, "usable", True)
    monkeypatch.setattr(reading_process, "_idle", [idle])
    assert [type(item) for item in read_file(file, options, rejecting=False)] == [Document]
    (other,) = reading_process._idle
    assert other is not idle
    assert idle._requests.closed and idle._answers.closed
    other.stop()


def test_a_process_and_this_one_read_the_same(folder):
    (folder / "b.txt").write_text("Kites fly in May.\n\n风筝在五月飞。\n")
    found = [
        [read_file(file, ReadOptions(limits=limits), rejecting=True) for file in find_files([folder])]
        for limits in (None, ReadLimits())
    ]
    # Only a process of its own tells how far it is.
    here, there = [[[item for item in items if not isinstance(item, Progress)] for items in files] for files in found]
    assert here == there
    assert [len(items) for items in here] == [1, 1, 3]


def test_a_process_is_used_again_and_ends_with_a_reading_that_is_left(folder):
    options = ReadOptions(limits=ReadLimits())
    small = find_files([folder])[0]
    list(read_file(small, options, rejecting=False))
    (kept,) = reading_process._idle[-1:]
    list(read_file(small, options, rejecting=False))
    assert reading_process._idle[-1] is kept
    (folder / "d.jsonl").write_text("".join(f'{{"text": "Bench number {n}."}}\n' for n in range(200_000)))
    items = read_file(find_files([folder / "d.jsonl"])[0], options, rejecting=False)
    next(items)
    items.close()
    assert kept._process.poll() is not None, "stopped, not waited for"


def test_a_process_is_used_again_unless_it_holds_much_memory(folder, monkeypatch):
    """Parquet's library takes hundreds of megabytes of addresses, and little of the memory."""
    pq.write_table(pa.table({"text": ["A rowing boat costs 40 yuan an hour."]}), folder / "d.parquet")
    (file,), options = find_files([folder / "d.parquet"]), ReadOptions(limits=ReadLimits())
    list(read_file(file, options, rejecting=False))
    kept = reading_process._idle[-1]
    list(read_file(file, options, rejecting=False))
    assert reading_process._idle[-1] is kept
    monkeypatch.setattr(reading_process, "_MOST_KEPT", 2**20)
    list(read_file(file, options, rejecting=False))
    assert kept not in reading_process._idle
    assert kept._process.returncode is not None


def test_an_interrupted_reading_leaves_nothing_behind(folder):
    def interrupt() -> None:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    before = set(reading_process._idle)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore the signal
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            while True:
                list(read_documents(find_files([folder / "b.txt"])))
    finally:
        signal.signal(signal.SIGINT, handler)
    assert all(process.usable for process in reading_process._idle)
    assert len(reading_process._idle) <= len(before) + 1


def test_too_much_text_is_refused(folder, monkeypatch):
    monkeypatch.setattr("indexing.sources.read_here.MOST_DOCUMENT_CHARACTERS", 1000)
    names, rejects = read(folder, limits=None)
    assert names == ["a.txt", "c1", "c3"]
    assert "b.txt holds more text than is read from one file (" in rejects[0].reason
    monkeypatch.undo()
    monkeypatch.setattr("indexing.sources.read_here.MOST_FILE_CHARACTERS", 20)
    monkeypatch.setattr("indexing.sources.read_here.MOST_FILE_EXPANSION", 0)
    names, rejects = read(folder, limits=None)
    assert names == ["c1"] and rejects[-1].position == "after its first 1 document, which are read"
    assert bounds.MOST_FILE_CHARACTERS >= bounds.MOST_DOCUMENT_CHARACTERS


def test_items_pass_between_processes_as_they_are():
    items = [
        Document(
            "a.csv", "7", "Half \ud83d", "row",
            (Block("text", 1, 2, ("One", "Two")), Block("a | b", 3, 3, (), "row", "x | y"), Block("  x", 4, 4, (), "code")),
            {"day": date(2024, 5, 1), "number": 1.5, "whole": 2**62, "yes": True, "name": "公园"},
        ),
        Note("a.csv", "left out"),
        Progress(0.25),
        Reject("a.csv", "line 2", "broken"),
        Fault("a.csv cannot be read."),
    ]  # fmt: skip
    assert from_frame(to_frame(items)) == items
    json.loads(to_frame(items[1:]))


def test_a_limit_of_the_system_below_ours_holds(folder):
    """As `ulimit -v` sets it: files are read, and one that takes more is named."""
    script = (
        "import resource, sys; sys.path.insert(0, sys.argv[1]); from indexing.sources import memory_bounds as bounds\n"
        "hard = bounds.address_space() + 2**28\n"
        "resource.setrlimit(resource.RLIMIT_AS, (hard, hard))\n"
        "bounds.limit(2**40); bounds.allow(2**30)\n"
        "assert resource.getrlimit(resource.RLIMIT_AS) == (hard, hard)\n"
        "bounds.limit(2**20)\n"
        "soft, _ = resource.getrlimit(resource.RLIMIT_AS)\n"
        "bounds.allow(2**21)\n"
        "assert resource.getrlimit(resource.RLIMIT_AS) == (soft + 2**21, hard)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(ROOT)], check=True)
