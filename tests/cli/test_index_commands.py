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
    assert f"Deleted 1 entry of {memory}; version 3 holds 2." in index(
        "delete", "--memory", memory, "--where", "year < 2021"
    )
    assert f"Deleted 1 entry of {memory}; version 4 holds 1." in index(
        "delete", "--memory", memory, "--source", "second.jsonl"
    )
    assert "1 entry in one segment, version 5" in index("compact", memory)
    assert "Searches are exact" in index("rebuild-index", memory, "--index", "hnsw", "--latency", "0.5")
    assert index("verify", memory).endswith("is as it was written.\n")
    assert len(index("versions", memory).splitlines()) == 5
    shown = index("diff", memory, "1").splitlines()
    assert [line[:15] for line in shown] == ["- first.jsonl#a", "0 added, 1 gone"]
    assert "2 entries, version 6" in index("rollback", memory, "1")
    assert "Forgot 4 versions" in index("expire", memory, "--keep", "2")
    assert "Wrote 1 entry" in index("export", memory, tmp_path / "out.jsonl", "--where", "year == 2020")
    assert json.loads((tmp_path / "out.jsonl").read_text())["text"] == RECORDS[0]["text"]
    (segment,) = (memory / "segments" / "000001").glob("keys*")
    segment.write_bytes(segment.read_bytes()[:-1] + b"\1")
    assert "is not as it was committed: its digest differs" in refused("memgpt-index", "verify", memory)


@pytest.mark.slow
def test_entries_are_found_by_their_words(tmp_path):
    memory, source = tmp_path / "memory", write(tmp_path / "first.jsonl", *RECORDS)
    build = ["build", source, "--memory", memory, "--encoder", "all-MiniLM-L6-v2"]
    index(*build, "--no-lexical")
    asked = ["ask", "What does the boat cost?", "--memory", memory, "--search", "hybrid"]
    assert "has no lexical index; add an index with: memgpt-index lexical" in refused("memgpt-rag", *asked)
    assert "2 entries in the lexical index; version 2" in index("lexical", memory)
    assert index("lexical", memory) == "", "that is done"
    done = run("memgpt-rag", *asked, "-k", "1", "--rerank", "model", "--depth", "2")
    assert done.returncode == 0 and "[1]  100%  first.jsonl, line 1" in done.stdout, done.stderr
    assert "No reranker 'nobody/none': it is no folder here" in refused("memgpt-rag", *asked, "--rerank", "nobody/none")
    again = index(*build[:-2], "--encoder", "all-MiniLM-L6-v2", "--replace")
    assert "2 entries" in again and index("lexical", memory) == "", "a new memory has a lexical index"


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
    assert "There is no column 'year'" in refused(
        "memgpt-rag", "ask", "why?", "--memory", memory, "--where", "year > 1"
    )


@pytest.mark.slow
def test_a_job_on_ray_writes_the_same_memory(tmp_path):
    """Also the states; the sentence of a worker, or of a cluster that is not there, reaches the user."""
    pytest.importorskip("ray")
    source, folders = write(tmp_path / "first.jsonl", *RECORDS), []
    for engine in ("local", "ray"):
        folders.append(tmp_path / engine)
        options = ["--encoder", "all-MiniLM-L6-v2", "--engine", engine]
        assert "2 entries in" in index("build", source, "--memory", folders[-1], *options)
        shown = index("states", folders[-1], "--preset", "compact", "--engine", engine, "--workers", "1")
        assert "Stored the states of 2 entries" in shown
    files = [sorted(path.relative_to(item) for path in item.rglob("*") if path.is_file()) for item in folders]
    assert files[0] == files[1]
    assert any("states-" in file.name for file in files[0])
    assert all((folders[0] / file).read_bytes() == (folders[1] / file).read_bytes() for file in files[0])


@pytest.mark.slow
def test_sizes_and_addresses_are_read_as_people_write_them(tmp_path):
    source = write(tmp_path / "first.jsonl", *RECORDS)
    plan = ["plan", source, "--encoder", "all-MiniLM-L6-v2", "--no-states"]
    shown = index(*plan, "--disk", "1.5 kB", "--memory-limit", "16GB")
    assert "disk                  1.5 kB  do not fit; " in shown
    assert "memory limit" not in shown
    assert "memory limit          1.0 MB  cannot be kept" in index(*plan, "--memory-limit", "1MB")
    build = ["build", source, "--memory", tmp_path / "no", "--encoder", "all-MiniLM-L6-v2", "--memory-limit", "1MB"]
    assert " with its models loaded, and --memory-limit is 1.0 MB; raise it" in refused("memgpt-index", *build)
    assert not (tmp_path / "no").exists()
    assert "'2 cows' is no size; expected one such as 500MB or 2GB" in refused(
        "memgpt-index", *plan, "--disk", "2 cows", status=2
    )
    assert "nosuch://bucket cannot be reached: Protocol not known" in refused(
        "memgpt-index", "build", "nosuch://bucket", "--memory", tmp_path / "memory"
    )
    address = f"file://{tmp_path}/first.jsonl"
    assert "2 entries in" in index("build", address, "--memory", tmp_path / "memory", "--encoder", "all-MiniLM-L6-v2")


@pytest.mark.slow
def test_two_memories_are_asked_as_one(tmp_path):
    memories = []
    for number, record in enumerate(RECORDS):
        source = write(tmp_path / f"{number}.jsonl", record)
        memories += ["--memory", tmp_path / str(number)]
        index("build", source, *memories[-2:], "--encoder", "all-MiniLM-L6-v2")
    done = run("memgpt-rag", "ask", "What does the boat cost?", *memories, "-k", "2", "--max-new-tokens", "4")
    assert done.returncode == 0, done.stderr
    cited = [line.split("%")[1].split(",")[0].strip() for line in done.stdout.splitlines() if "%  " in line]
    assert cited == ["0.jsonl", "1.jsonl"]
    assert "1.jsonl" in run("memgpt-rag", "ask", "Dogs?", *memories[2:], "--max-new-tokens", "2").stdout
