"""A memory of benches that changes: records, jobs, and what must hold of every row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hashing import HashEncoder

from indexing.engines.local import LocalEngine
from indexing.jobs.build_memory import build_memory
from indexing.jobs.change_memory import add_sources
from indexing.jobs.verify_memory import verify_memory
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from indexing.sources.read_options import ReadOptions
from memgpt_rag.memory import Memory

METADATA = {"year": "integer", "lang": "string"}
OPTIONS = ReadOptions(metadata=METADATA)


def record(number: int, **fields) -> dict:
    text = f"Bench number {number} was given by family number {number} of the town in {1900 + number}."
    return {"id": f"r{number}", "text": text, "year": 1900 + number, "lang": "en" if number % 2 else "zh"} | fields


def write_records(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))


def write_sources(folder: Path) -> Path:
    """Forty benches and a page about a park, in a new folder."""
    folder.mkdir()
    write_records(folder / "benches.jsonl", [record(number) for number in range(40)])
    (folder / "park.md").write_text("# Park\n\nA boat costs forty yuan an hour.\n\n## Gate\n\nThe gate opens at six.\n")
    return folder


def build(sources: Path, memory: Path, encoder: HashEncoder | None = None, **settings):
    encoder = encoder or HashEncoder(dimension=256)
    return build_memory(
        find_files([sources]),
        memory,
        engine=LocalEngine(encoder, PassageSplitter(encoder.count_tokens)),
        tokenizer_name="hash",
        options=OPTIONS,
        **settings,
    )


def change(sources: Path, memory: Path, encoder: HashEncoder | None = None, **settings):
    encoder = encoder or HashEncoder(dimension=256)
    splitter = PassageSplitter(encoder.count_tokens)
    return add_sources(
        find_files([sources]), memory, engine=LocalEngine(encoder, splitter), options=OPTIONS, **settings
    )


def entries(memory: Path, version: int | None = None) -> dict[str, str]:
    opened = Memory.open(memory, version=version)
    return {passage.record + passage.title: passage.text for passage in opened.passages(opened.rows())}


def require_pairs(memory: Path) -> None:
    """Every key is that of its own text, and finds it."""
    opened, encoder = Memory.open(memory), HashEncoder(dimension=256)
    passages = opened.passages(opened.rows())
    keys = encoder.encode_passages([passage.titled_text for passage in passages])
    np.testing.assert_array_equal(opened.keys(), keys)
    assert opened.search(keys, 1).rows[:, 0].tolist() == opened.rows().tolist()
    assert verify_memory(memory) == []
