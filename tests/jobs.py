"""Small jobs that several tests run: sources to read, a build of them, and what a folder holds afterwards."""

from __future__ import annotations

import json
from pathlib import Path

from hashing import HashEncoder

from indexing.engines.local import LocalEngine
from indexing.jobs.build_memory import build_memory
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from indexing.sources.read_options import ReadOptions
from memgpt_rag.memory.storage import layout


def write_sources(folder: Path, numbers) -> Path:
    folder.mkdir(exist_ok=True)
    records = ({"id": f"r{number}", "text": f"Bench {number} was given by family {number * 7}."} for number in numbers)
    (folder / "benches.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def build(sources: Path, memory: Path, **settings) -> None:
    encoder = HashEncoder(dimension=32)
    splitter = PassageSplitter(encoder.count_tokens)
    # Read in this process: these tests are about the memory, and some of them kill the job.
    settings.setdefault("options", ReadOptions(limits=None))
    build_memory(
        find_files([sources]), memory, engine=LocalEngine(encoder, splitter), tokenizer_name="hash", **settings
    )


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != layout.LOCK
    }
