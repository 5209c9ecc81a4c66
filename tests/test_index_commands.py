"""The commands that change a memory, as a shell runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import refused, run

pytestmark = pytest.mark.offline_models

RECORDS = [
    {"id": "a", "text": "The boat costs forty yuan.", "year": 2020},
    {"id": "b", "text": "Dogs are kept on a lead.", "year": 2021},
]


def index(*arguments: str | Path, status: int = 0) -> str:
    done = run("memgpt-index", *arguments)
    assert done.returncode == status, done.stderr
    return done.stdout


def write(path: Path, *records: dict) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_memory_goes_through_its_life(tmp_path):
    memory, first = tmp_path / "memory", write(tmp_path / "first.jsonl", *RECORDS)
    build = ["build", first, "--memory", memory, "--metadata", "year:integer", "--encoder", "all-MiniLM-L6-v2"]
    assert "2 entries in" in index(*build)
    assert index(*build).endswith("0 added, 2 kept, 0 deleted, 0 embedded; nothing to commit.\n")
    second = write(tmp_path / "second.jsonl", {"id": "c", "text": "Kites are free for children.", "year": 2022})
    with second.open("a") as file:
        file.write("{broken\n")
    assert "second.jsonl, line 2: broken JSON" in refused("memgpt-index", "add", second, "--memory", memory)
    options = ["--rejects", tmp_path / "rejects", "--log", tmp_path / "log", "--metrics", tmp_path / "metrics"]
    assert "1 added, 0 kept, 0 deleted, 1 embedded; version 2" in index(
        "add", second, "--memory", memory, *options, status=3
    )
    assert json.loads((tmp_path / "rejects").read_text())["position"] == "line 2"
    assert json.loads((tmp_path / "log").read_text().splitlines()[-1])["event"] == "finished"
    assert "Would delete 1 of 3" in index("delete", "--memory", memory, "--where", "year < 2021", "--dry-run")
    assert "Deleted 1 entries; 2 are left in version 3" in index("delete", "--memory", memory, "--where", "year < 2021")
    assert "Deleted 1 entries; 1 are left" in index("delete", "--memory", memory, "--source", "second.jsonl")
    assert "1 entries in one segment, version 5" in index("compact", memory)
    assert "looked at" in index("rebuild-index", memory, "--index", "hnsw")
    assert index("verify", memory).endswith("is as it was written.\n")
    assert len(index("versions", memory).splitlines()) == 5
    told = index("diff", memory, "1").splitlines()
    assert [line[:15] for line in told] == ["- first.jsonl#a", "0 added, 1 gone"]
    assert "2 entries, version 6" in index("rollback", memory, "1")
    assert "Forgot 4 versions" in index("expire", memory, "--keep", "2")
    assert "Wrote 1 entries" in index("export", memory, tmp_path / "out.jsonl", "--where", "year == 2020")
    assert json.loads((tmp_path / "out.jsonl").read_text())["text"] == RECORDS[0]["text"]
    (segment,) = (memory / "segments" / "000001").glob("keys*")
    segment.write_bytes(segment.read_bytes()[:-1] + b"\1")
    assert "is not as it was committed: its digest differs" in refused("memgpt-index", "verify", memory)


def test_wrong_wishes_are_one_sentence(tmp_path):
    memory = tmp_path / "memory"
    index("build", write(tmp_path / "a.jsonl", *RECORDS), "--memory", memory, "--encoder", "all-MiniLM-L6-v2")
    assert "Say which entries: with --id, --source or --where" in refused(
        "memgpt-index", "delete", "--memory", memory, status=2
    )
    assert "There is no column 'year'" in refused("memgpt-index", "delete", "--memory", memory, "--where", "year > 1")
    assert "has no version 7; it has 1" in refused("memgpt-index", "rollback", memory, "7")
    assert "does not exist" in refused("memgpt-index", "compact", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    assert "'year:century' names no type" in refused(
        "memgpt-index", "build", "x", "--memory", "m", "--metadata", "year:century", status=2
    )
    assert "No entry of" in refused("memgpt-rag", "ask", "why?", "--memory", memory, "--where", 'source == "b"')
