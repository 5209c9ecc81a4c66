"""Memories that were damaged or made to harm: small ones with everything that a memory may hold, and what may be done to them."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from hashing import HashEncoder, passage

from memgpt_rag.fingerprint import SparseFingerprint, StatesFingerprint
from memgpt_rag.memory import (
    Memory,
    MemoryWriter,
    SparseQueries,
    add_indexes,
    add_lexical_index,
    add_sparse_vectors,
    add_states,
)
from memgpt_rag.memory.dense.faiss_index import ApproximateIndex, codes_for
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.storage.files import describe
from memgpt_rag.memory.storage.index_settings import IndexSettings
from memgpt_rag.state_codes import encode

ENCODER = HashEncoder(dimension=16)
STATES = StatesFingerprint("tiny", (0,), 1, 4, "int8", (1,), (5, 6), "ADwAPA==")
SPARSE = SparseFingerprint("tiny", 9, 0, 1.0, {"3": 1.0}, {"3": 1.0})
INDEXES = {
    "IVF2,Flat": "nprobe=2",
    "IVF2,SQ8": "nprobe=2",
    "HNSW4,Flat": "efSearch=16",
    "HNSW4_SQ8": "efSearch=16",
    **dict.fromkeys(codes_for(16), ""),
}
_LARGE = 60  # entries, so that codes can be trained


def make_memory(memory: Path, index: str) -> Path:
    """Write entries in two segments, one of them deleted, with metadata, states, words, sparse vectors, and an index of a kind."""
    first = 4 if index == "IVF2,Flat" else _LARGE
    for numbers, gone in ((range(first), []), (range(first, first + 2), [1])):
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
    opened, settings = Memory.open(memory), IndexSettings(index, INDEXES[index], 2)
    built = ApproximateIndex.build(opened.segments[0].keys, settings, "cosine")
    add_indexes(opened, {opened.segments[0].described.name: (built, {**asdict(settings), "recall": 0.5})})
    add_lexical_index(Memory.open(memory))
    add_sparse_vectors(Memory.open(memory), SPARSE, lambda passages: [{"3": 0.5, "4": 1.0}] * len(passages))
    (memory / layout.LOCK).unlink()
    return memory


def use(folder: Path) -> list[Any]:
    """Read all that a reader can get from a memory."""
    memory = Memory.open(folder)
    rows = memory.rows()
    asked = ENCODER.encode_passages(["Fact number 3."])
    found = memory.search(asked, 3)
    own = memory.keys()  # damaged ones hold what is no number, which is refused as a query
    nearest = memory.search(np.where(np.isfinite(own).all(axis=1, keepdims=True), own, asked), 1)  # by way of the index
    filtered = memory.search(asked, 3, where="year > 2002")
    states = [
        None if item is None else [None if part is None else part.tobytes() for part in item]
        for item in map(memory.states, rows)
    ]
    queries = SparseQueries(SPARSE, [{"4": 2.0}])
    proposed = memory.candidates(asked, ["Fact number 3."], 2, sparse=queries)[0]
    return [
        [np.asarray(part).tobytes() for part in vars(proposed).values()],
        memory.passages(rows),
        memory.keys().tobytes(),
        found.rows.tolist(),
        nearest.rows.tolist(),
        filtered.rows.tolist(),
        states,
    ]


def mutate(folder: Path, random: Random, outside: Path | None = None, *, intact: bool = True) -> str:
    """Damage a folder in some way; half the time the manifest says that it is to be so.

    Args:
        intact: no file was damaged before, so that Arrow, which writes files anew, can read them.
        outside: a folder of the user's that links may lead to; without one, they lead to a device.

    Returns:
        What was done.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    path = random.choice(files)
    kinds = [
        "flip",
        "flip",
        "flip",
        "cut",
        "grow",
        "zero",
        "swap",
        "link",
        "remove",
        "number",
        "word",
        "index",
        "arrow",
        "pipe",
    ]
    kind = random.choice(kinds)
    if kind in ("number", "word"):
        path = random.choice([folder / layout.MANIFEST, *sorted((folder / layout.VERSIONS).glob("*.json"))])
        if (fields := _json(path)) is None:
            return kind
        for _ in range(random.choice([1, 1, 3])):
            _change_somewhere(fields, random, kind)
        path.write_text(json.dumps(fields))
        return kind
    if kind in ("link", "pipe", "remove"):
        _replace_with(kind, folder, random, outside)
        return kind
    if kind == "index":  # where FAISS follows numbers
        path = random.choice([one for one in files if one.suffix == ".faiss"] or files)
    elif kind == "arrow":
        path = random.choice([one for one in files if one.suffix == ".arrow"] or files)
        if path.suffix == ".arrow" and intact:
            _rewrite_values(path, random)
    content = bytearray(path.read_bytes()) or bytearray(1)
    if kind in ("flip", "index"):
        for _ in range(random.choice([1, 1, 4, 30])):
            place = random.choice([random.randrange(len(content)), random.randrange(min(len(content), 400))])
            content[place] = random.choice([random.randrange(256), content[place] ^ 1 << random.randrange(8), 0, 255])
    elif kind == "cut":
        del content[random.randrange(len(content)) :]
    elif kind == "grow":
        content += os.urandom(random.choice([1, 8, 4096]))
    elif kind == "zero":
        start = random.randrange(len(content))
        content[start : start + 64] = bytes(min(64, len(content) - start))
    elif kind == "swap":
        content = bytearray(random.choice(files).read_bytes())
    path.write_bytes(content)
    if (random.random() < 0.5 or kind in ("index", "arrow")) and path.suffix != ".json":
        _say_so(folder, path)
    return kind


def _say_so(folder: Path, changed: Path) -> None:
    """Let every manifest have the digest of the file as it is now."""
    for manifest in (folder / layout.MANIFEST, *(folder / layout.VERSIONS).glob("*.json")):
        if (fields := _json(manifest)) is not None:
            for segment in fields["segments"]:
                if segment["name"] == changed.parent.name and changed.name in segment["files"]:
                    segment["files"][changed.name] = vars(describe(changed))
            manifest.write_text(json.dumps(fields))


def _json(path: Path) -> Any:
    """None where the file was damaged before, as may happen to one that is mutated twice."""
    if not path.is_file():
        return None
    try:
        fields = json.loads(path.read_text())
        return fields if all(isinstance(segment["files"], dict) for segment in fields["segments"]) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _replace_with(kind: str, folder: Path, random: Random, outside: Path | None) -> None:
    """Put a link or a pipe in place of a file or a folder, or where none was, or take it away."""
    every = sorted(folder.rglob("*"))
    new = [
        folder / layout.JOURNAL,
        folder / layout.LOCK,
        folder / f"{layout.MANIFEST}.new",
        folder / layout.SEGMENTS / "000099",
    ]
    new += [one / "more" for one in every if one.is_dir()]
    path = random.choice([*every, *(() if kind == "remove" else new)])
    if not path.parent.is_dir():  # an earlier mutation has taken it away
        return
    targets = ["/dev/zero"] if outside is None else [outside, *sorted(outside.rglob("*"))]
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(random.choice(targets))
    elif kind == "pipe":
        os.mkfifo(path)


def _rewrite_values(path: Path, random: Random) -> None:
    """The same rows, packed or divided as no memory has them."""
    with pa.memory_map(str(path)) as mapped:
        batches = pa.ipc.open_file(mapped).read_all().to_batches()
    options = pa.ipc.IpcWriteOptions(compression=random.choice(["zstd", "lz4", None]))
    empty = batches[0].slice(0, 0)
    content = pa.BufferOutputStream()
    with pa.ipc.new_file(content, batches[0].schema, options=options) as writer:
        for batch in [*batches, *[empty] * random.choice([0, 1, 2000])]:
            writer.write_batch(batch)
    path.write_bytes(content.getvalue().to_pybytes())


def _change_somewhere(fields: Any, random: Random, kind: str) -> None:
    node = fields
    odd = [
        0,
        -1,
        2**31,
        2**47,
        2**63,
        10**30,
        1.5,
        True,
        None,
        "",
        "../../etc/passwd",
        "/etc/passwd",
        "\0",
        "\x1b[2J",
        [],
        {},
        1e308,
        float("nan"),
    ]
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
