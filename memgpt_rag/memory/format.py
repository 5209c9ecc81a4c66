"""The on-disk form of a memory, version 2. This module is the only place that knows a file's name or a column's.

A memory is a folder:

    manifest.json              what the memory is made of; written last, moved into place in one step
    segments/<name>/
        keys.faiss             FAISS index over the keys; the key at row i belongs to the value at row i
        values.arrow           Arrow IPC file, one row per entry, columns as in VALUES_SCHEMA
        states-<hex>.safetensors   where the manifest says states: tensors as in `memgpt_rag.memory.states`

`manifest.json` is UTF-8 JSON with these fields, all of them required:

    format          "memgpt_rag memory"
    version         2
    metric          "cosine" (inner product of unit vectors) or "euclidean"
    entries         number of entries
    encoder         fingerprint of the embedding model, fields as in `memgpt_rag.fingerprint`
    splitting       {"tokenizer": name, "max_tokens": longest passage}
    sources         {"documents": read, "passages": split, "exact_duplicates": dropped, "near_duplicates": dropped}
    states          null, or fingerprint of the language model that computed them, likewise
    segments        list of {"name", "entries", "files": {file name: {"bytes", "sha256"}}}

Version 1 had neither `states` nor such files; it is read as a memory without states.
A folder without a manifest is not a memory. Files that the manifest does not name are leftovers and mean nothing.
Segments never change once a manifest names them. Nothing here is pickled and nothing read from a memory is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.fingerprint import EncoderFingerprint, StatesFingerprint
from memgpt_rag.passage import Passage

FORMAT = "memgpt_rag memory"
VERSION = 2
READABLE = (1, 2)
MANIFEST = "manifest.json"
SEGMENTS = "segments"
KEYS = "keys.faiss"
VALUES = "values.arrow"

Metric = Literal["cosine", "euclidean"]
METRICS: tuple[Metric, ...] = ("cosine", "euclidean")

VALUES_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("record", pa.string(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("first", pa.int64(), nullable=False),
        pa.field("last", pa.int64(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
    ]
)
assert VALUES_SCHEMA.names == list(Passage.__dataclass_fields__)

_SEGMENT_NAME = re.compile(r"[0-9a-z]{1,32}")
_STATES = re.compile(r"states-[0-9a-f]{8}\.safetensors")


@dataclass(frozen=True)
class StoredFile:
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Segment:
    name: str
    entries: int
    files: dict[str, StoredFile]

    @property
    def states(self) -> str | None:
        """Name of the file of states, None where there is none."""
        return next((name for name in self.files if _STATES.fullmatch(name)), None)


@dataclass(frozen=True)
class Manifest:
    metric: Metric
    entries: int
    encoder: EncoderFingerprint
    splitting: dict[str, Any]
    sources: dict[str, int]
    segments: tuple[Segment, ...] = field(default_factory=tuple)
    states: StatesFingerprint | None = None

    def to_json(self) -> dict[str, Any]:
        segments = [
            {
                "name": segment.name,
                "entries": segment.entries,
                "files": {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in segment.files.items()},
            }
            for segment in self.segments
        ]
        return {
            "format": FORMAT,
            "version": VERSION,
            "metric": self.metric,
            "entries": self.entries,
            "encoder": self.encoder.to_json(),
            "splitting": self.splitting,
            "sources": self.sources,
            "states": None if self.states is None else self.states.to_json(),
            "segments": segments,
        }


def segment_dir(memory: Path, name: str) -> Path:
    return memory / SEGMENTS / name


def states_name(states: StatesFingerprint) -> str:
    """Name of a file of states; those of another model, prefix or type have another one, so that no file changes."""
    return f"states-{hashlib.sha256(repr(states).encode()).hexdigest()[:8]}.safetensors"


def read_manifest(memory: Path) -> Manifest:
    """Raises MemoryFormatError: no memory there, a damaged manifest, or a version that this release does not know."""
    path = memory / MANIFEST
    if not memory.exists():
        raise MemoryFormatError(
            f"{memory} does not exist; build a memory there with: memgpt-index build SOURCE --memory {memory}"
        )
    if not memory.is_dir() or not path.is_file():
        raise MemoryFormatError(
            f"{memory} is not a memory: it has no {MANIFEST}; name a folder that memgpt-index build wrote."
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MemoryFormatError(f"{path} is damaged: it is not JSON ({error}); build the memory again.") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise MemoryFormatError(f"{path} is not the manifest of a memory: it does not say format {FORMAT!r}.")
    if fields.get("version") not in READABLE:
        raise MemoryFormatError(
            f"{path} is of version {fields.get('version')!r} and this release reads up to version {VERSION}; upgrade memgpt_rag."
        )
    try:
        return _parse(fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MemoryFormatError(
            f"{path} is damaged: {type(error).__name__} at {error}; build the memory again."
        ) from error


def write_manifest(memory: Path, manifest: Manifest) -> None:
    """Swap the manifest in by rename: a reader sees the old memory or the new one, never a mixture."""
    path, fresh = memory / MANIFEST, memory / f"{MANIFEST}.new"
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(manifest.to_json(), file, ensure_ascii=False, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_dir(memory)


def describe_file(path: Path) -> StoredFile:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return StoredFile(path.stat().st_size, digest.hexdigest())


def sync_dir(folder: Path) -> None:
    """Make renames and new names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _parse(fields: dict[str, Any]) -> Manifest:
    segments = []
    of_states = None if fields["version"] == 1 else fields["states"]
    fingerprint = None if of_states is None else StatesFingerprint.from_json(of_states)
    for segment in fields["segments"]:
        if not _SEGMENT_NAME.fullmatch(segment["name"]):
            raise ValueError(f"segment name {segment['name']!r}")
        files = {name: StoredFile(int(file["bytes"]), str(file["sha256"])) for name, file in segment["files"].items()}
        states = [name for name in files if _STATES.fullmatch(name)]
        if set(files) != {KEYS, VALUES, *states} or len(states) != (fingerprint is not None):
            raise ValueError(f"files {sorted(files)} of segment {segment['name']}")
        segments.append(Segment(segment["name"], int(segment["entries"]), files))
    if fields["metric"] not in METRICS:
        raise ValueError(f"metric {fields['metric']!r}")
    if int(fields["entries"]) != sum(segment.entries for segment in segments):
        raise ValueError(f"entries {fields['entries']}")
    return Manifest(
        metric=fields["metric"],
        entries=int(fields["entries"]),
        encoder=EncoderFingerprint.from_json(fields["encoder"]),
        splitting=dict(fields["splitting"]),
        sources={str(name): int(count) for name, count in fields["sources"].items()},
        segments=tuple(segments),
        states=fingerprint,
    )
