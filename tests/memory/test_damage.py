"""Memories that were damaged or made to harm: a flipped byte is found, and no folder crashes, hangs or leads astray.

pytest tests/memory/test_damage.py --thorough      every byte of every file, and ten thousand mutated folders
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from tiny import HashEncoder, passage

from indexing.verify_memory import verify_memory
from memgpt_rag.errors import MemgptRagError
from memgpt_rag.fingerprint import StatesFingerprint
from memgpt_rag.memory import Memory, MemoryWriter, add_indexes, add_states, add_words
from memgpt_rag.memory import format as disk
from memgpt_rag.memory.faiss_index import ApproximateIndex
from memgpt_rag.memory.files import describe
from memgpt_rag.memory.index_settings import IndexSettings
from memgpt_rag.memory.states import encode

ENCODER = HashEncoder(dimension=16)
STATES = StatesFingerprint("tiny", (0,), 1, 4, "int8", (1,), (5, 6), "ADwAPA==")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six entries in two segments, one of them deleted, with metadata, states, an index and words."""
    memory = tmp_path / "memory"
    for numbers, gone in ((range(4), []), (range(4, 6), [1])):
        with MemoryWriter(memory, metadata={"year": "integer"}) as writer:
            writer.add_values([replace(passage(number), metadata={"year": 2000 + number}) for number in numbers])
            for block in writer.value_blocks(9):
                writer.add_keys(ENCODER.encode_passages([one.titled_text for one in block]))
            writer.delete(gone)
            writer.commit(ENCODER.fingerprint, splitting={"tokenizer": "hash", "max_tokens": 9}, job={"name": "test"})
    rng = np.random.default_rng(0)
    add_states(
        Memory.open(memory),
        STATES,
        lambda rows: [2] * len(rows),
        lambda rows: [encode(rng.normal(size=(2, 1, 2, 1, 4)), "int8") for _ in rows],
    )
    opened, settings = Memory.open(memory), IndexSettings("IVF2,Flat", "nprobe=2", 1)
    index = ApproximateIndex.build(opened.segments[0].keys, settings, "cosine")
    add_indexes(opened, {opened.segments[0].described.name: (index, asdict(settings))})
    add_words(Memory.open(memory))
    (memory / disk.LOCK).unlink()
    return memory


def use(folder: Path) -> list:
    """All that a reader can get from a memory."""
    memory = Memory.open(folder)
    rows = memory.rows()
    found = memory.search(ENCODER.encode_passages(["Fact number 3."]), 3)
    nearest = memory.search(memory.keys(), 1)  # by way of the index
    filtered = memory.search(ENCODER.encode_passages(["Fact number 3."]), 3, where="year > 2002")
    states = [
        None if of is None else [None if part is None else part.tobytes() for part in of]
        for of in map(memory.entry, rows)
    ]
    proposed = memory.candidates(ENCODER.encode_passages(["Fact number 3."]), ["Fact number 3."], 2)[0]
    return [
        [np.asarray(part).tobytes() for part in vars(proposed).values()],
        memory.passages(rows),
        memory.keys().tobytes(),
        found.rows.tolist(),
        nearest.rows.tolist(),
        filtered.rows.tolist(),
        states,
    ]


def test_a_flipped_byte_is_found_or_changes_nothing(folder, pytestconfig):
    step = 1 if pytestconfig.getoption("--thorough") else 5
    expected, flipped, found = use(folder), 0, 0
    assert verify_memory(folder) == []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        for place in range(0, len(content), step):
            damaged = bytearray(content)
            damaged[place] ^= 1 << (place % 8)
            path.write_bytes(damaged)
            flipped += 1
            if verify_memory(folder):
                found += 1
            else:
                assert use(folder) == expected, f"byte {place} of {path.name}"
        path.write_bytes(content)
    assert verify_memory(folder) == []
    print(f"{flipped} bytes flipped, {found} found, {flipped - found} changed nothing")


def mutate(folder: Path, random: Random) -> str:
    """Damage a folder in some way; half the time the manifest says that it is to be so."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = random.choice(files)
    kind = random.choice(["flip", "flip", "cut", "grow", "zero", "swap", "link", "remove", "number", "word"])
    content = bytearray(path.read_bytes())
    if kind == "flip":
        for _ in range(random.choice([1, 1, 4, 30])):
            content[random.randrange(len(content))] = random.randrange(256)
    elif kind == "cut":
        del content[random.randrange(len(content)) :]
    elif kind == "grow":
        content += os.urandom(random.choice([1, 8, 4096]))
    elif kind == "zero":
        start = random.randrange(len(content))
        content[start : start + 64] = bytes(min(64, len(content) - start))
    elif kind == "swap":
        content = bytearray(random.choice(files).read_bytes())
    elif kind in ("link", "remove"):
        path.unlink()
        if kind == "link":
            path.symlink_to("/dev/zero")
        return kind
    else:
        path = folder / disk.MANIFEST
        fields = json.loads(path.read_text())
        _change_somewhere(fields, random, kind)
        path.write_text(json.dumps(fields))
        return kind
    path.write_bytes(content)
    if random.random() < 0.5 and path.suffix != ".json":
        manifest = folder / disk.MANIFEST
        fields = json.loads(manifest.read_text())
        for segment in fields["segments"]:
            if segment["name"] == path.parent.name and path.name in segment["files"]:
                segment["files"][path.name] = vars(describe(path))
        manifest.write_text(json.dumps(fields))
    return kind


def _change_somewhere(fields, random: Random, kind: str) -> None:
    node, odd = fields, [0, -1, 2**31, 2**47, 2**63, 10**30, 1.5, True, None, "", "../../etc/passwd", "\0", [], {}]
    while True:
        place = random.choice(list(node)) if isinstance(node, dict) else random.randrange(len(node))
        if isinstance(node[place], (dict, list)) and node[place] and random.random() < 0.8:
            node = node[place]
            continue
        if isinstance(node, dict) and kind == "word" and random.random() < 0.3:
            node[random.choice(["../x", "keys.faiss", "deleted-00000000.bits"])] = node.pop(place)
        else:
            node[place] = random.choice(odd)
        return


def _use_mutated(folder: str, scratch: str, count: int, done) -> None:
    for number in range(count):
        copy = Path(scratch) / "copy"
        shutil.copytree(folder, copy, symlinks=True)
        random = Random(number)
        kind = mutate(copy, random)
        try:
            use(copy)
            verify_memory(copy)
        except MemgptRagError:
            pass
        except Exception as error:  # whatever else is a fault, and is told with the number that made it
            done.put((number, f"{kind}: {type(error).__name__}: {error}"))
            return
        shutil.rmtree(copy)
        done.put((number, None))


def test_no_folder_crashes_or_hangs(folder, tmp_path, pytestconfig):
    count = 10_000 if pytestconfig.getoption("--thorough") else 400
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    process = context.Process(target=_use_mutated, args=(str(folder), str(tmp_path), count, done))
    process.start()
    for number in range(count):
        try:
            finished, fault = done.get(timeout=30)
        except Exception:
            process.kill()
            pytest.fail(f"mutation {number} hangs or crashes (exit code {process.exitcode})")
        assert fault is None, f"mutation {finished}: {fault}"
    process.join()
    assert process.exitcode == 0
