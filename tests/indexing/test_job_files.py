"""What a job writes beside the memory: its log, its figures, and what it rejected."""

from __future__ import annotations

import json

import pytest
from benches import build, entries, record, require_pairs, write_records

from indexing.job_log import JobLog
from indexing.jobs.export_memory import export_memory
from memgpt_rag.errors import (
    SourceError,
)
from memgpt_rag.memory import Memory


def test_files_that_cannot_be_written_are_one_sentence(sources, tmp_path):
    for settings in ({"log": tmp_path / "no" / "log"}, {"metrics": tmp_path}, {"rejects": tmp_path / "no" / "rejects"}):
        with pytest.raises(SourceError, match="cannot be written: name a file in a folder that exists"):
            JobLog("build", **settings)
    build(sources, tmp_path / "memory")
    with pytest.raises(SourceError, match="cannot be written: .* is no folder; make it, or name another file"):
        export_memory(Memory.open(tmp_path / "memory"), tmp_path / "no" / "out.jsonl")


def test_metadata_of_another_type_stops_the_job_with_its_line(sources, tmp_path):
    write_records(sources / "benches.jsonl", [record(0), record(1, year="long ago")])
    with pytest.raises(SourceError, match=r"benches.jsonl, line 2: its year is 'long ago', expected an integer"):
        build(sources, tmp_path / "memory")
    assert not (tmp_path / "memory").exists()


def test_rejects_are_kept_beside_and_what_happened_is_reported(sources, tmp_path):
    with (sources / "benches.jsonl").open("a") as file:
        file.write('{broken\n[1]\n{"id": "r3", "text": "An id that is there already."}\n{"id": "x", "year": 1}\n')
        file.write(json.dumps(record(77, year="long ago")) + "\n" + json.dumps(record(77)) + "\n")
    (sources / "photo.txt").write_bytes(b"\x89PNG\x00\x00\x01")
    with JobLog("build", log=tmp_path / "log", metrics=tmp_path / "metrics", rejects=tmp_path / "rejects") as log:
        report = build(sources, tmp_path / "memory", log=log)
    rejects = [json.loads(line) for line in (tmp_path / "rejects").read_text().splitlines()]
    assert [(one["source"], one["position"]) for one in rejects] == [
        *(("benches.jsonl", f"line {number}") for number in (41, 42, 43, 44, 45)),
        ("photo.txt", ""),
    ]
    reasons = [
        "broken JSON",
        "found a JSON list",
        "its id 'r3' is that of line 4",
        "none that is usual for a text",
        "its year",
    ]
    assert all(one["reason"].startswith(("found the fields", reason)) for one, reason in zip(rejects, reasons))
    assert report.rejected == 6
    assert len(entries(tmp_path / "memory")) == report.entries == 43
    require_pairs(tmp_path / "memory")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["started", "read", "read", "read", "committed", "finished"]
    assert (lines[-1]["rejects"], lines[-1]["entries_embedded"], lines[-2]["added"]) == (6, 43, 43)
    assert 'memgpt_index_entries_embedded_total{job="build"} 43' in (tmp_path / "metrics").read_text()
