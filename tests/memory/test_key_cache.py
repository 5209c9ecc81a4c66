"""Keys kept for other memories: what comes back, whose they are, and jobs that use them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hashing import HashEncoder

from indexing.engines.cached import CachingEngine
from indexing.engines.local import LocalEngine
from indexing.jobs.build_memory import build_memory
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from memgpt_rag.errors import MismatchError
from memgpt_rag.io.cache_folder import CacheWarning
from memgpt_rag.memory import Memory
from memgpt_rag.memory.caches.keys import KeyCache

ENCODER = HashEncoder(dimension=16)
TEXTS = [f"text number {number}" for number in range(1200)]


def test_what_one_process_keeps_another_one_finds_to_the_bit(tmp_path):
    keys = ENCODER.encode_passages(TEXTS)
    KeyCache(tmp_path, ENCODER.fingerprint).put(TEXTS[::2], keys[::2])
    found = KeyCache(tmp_path, ENCODER.fingerprint).get(TEXTS)
    assert all(key is None for key in found[1::2])
    np.testing.assert_array_equal(np.stack(found[::2]), keys[::2])


def test_keys_of_another_encoder_are_never_found(tmp_path):
    KeyCache(tmp_path, ENCODER.fingerprint).put(TEXTS[:3], ENCODER.encode_passages(TEXTS[:3]))
    for other in (HashEncoder(dimension=16, salt=1), HashEncoder(dimension=16, query_prompt="q: ")):
        assert KeyCache(tmp_path, other.fingerprint).get(TEXTS[:3]) == [None] * 3


def build(folder: Path, name: str, encoder: HashEncoder, records: list[str]) -> Memory:
    file = folder / "records.jsonl"
    file.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(records)))
    engine = LocalEngine(encoder, PassageSplitter(encoder.count_tokens))
    keeping = CachingEngine(engine, folder / "cache")
    build_memory(find_files([file]), folder / name, keeping, tokenizer_name="hash")
    return Memory.open(folder / name)


def test_another_memory_takes_keys_from_the_cache_and_embeds_only_what_is_new(tmp_path):
    records = [f"Bench number {number} was given by family number {number} of the town." for number in range(600)]
    first = build(tmp_path, "first", HashEncoder(), records)
    encoder = HashEncoder()
    _ = encoder.fingerprint
    before = encoder.calls
    again = build(tmp_path, "second", encoder, records)
    assert encoder.calls == before
    np.testing.assert_array_equal(again.keys(again.rows()), first.keys(first.rows()))
    for number in (0, 299, 599):
        records[number] = f"Bench {number} is new, and nobody knows yet which family gave it to the town."
    changed = build(tmp_path, "third", encoder, records)
    assert encoder.calls == before + 3
    texts = [one.titled_text for one in changed.passages(changed.rows())]
    np.testing.assert_array_equal(changed.keys(changed.rows()), HashEncoder().encode_passages(texts))


def test_a_wrong_key_is_computed_anew(tmp_path):
    records = [f"Bench number {number} was given by family number {number} of the town." for number in range(9)]
    first = build(tmp_path, "first", HashEncoder(), records)
    (path,) = (tmp_path / "cache").glob("*.sqlite")
    with sqlite3.connect(path) as file:
        file.execute("UPDATE entries SET value = zeroblob(length(value)) WHERE rowid = 5")
    file.close()
    encoder = HashEncoder()
    _ = encoder.fingerprint
    before = encoder.calls
    with pytest.warns(CacheWarning, match="holds values that are not as they were kept; they are computed anew"):
        again = build(tmp_path, "second", encoder, records)
    assert encoder.calls == before + 1
    np.testing.assert_array_equal(again.keys(again.rows()), first.keys(first.rows()))


def test_a_memory_is_not_continued_at_another_precision(tmp_path):
    build(tmp_path, "memory", HashEncoder(), ["One text of some words.", "Another text of other words."])
    rounded = HashEncoder()
    rounded.precision = "int8"
    with pytest.raises(MismatchError, match="was built in another way: precision 'fp32' against 'int8'"):
        build(tmp_path, "memory", rounded, ["One text of some words."])
