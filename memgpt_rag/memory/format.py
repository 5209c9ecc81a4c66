"""The on-disk form of a memory, version 1. This module is the only place that knows a file's name or a column's.

A memory is a folder:

    manifest.json              what the memory is made of; written last, moved into place in one step
    segments/<name>/
        keys.faiss             FAISS index over the keys; the key at row i belongs to the value at row i
        values.arrow           Arrow IPC file, one row per entry, columns as in VALUES_SCHEMA

`manifest.json` is UTF-8 JSON with these fields, all of them required:

    format          "memgpt_rag memory"
    version         1
    metric          "cosine" (inner product of unit vectors) or "euclidean"
    entries         number of entries
    encoder         fingerprint of the embedding model, fields as in `memgpt_rag.fingerprint`
    splitting       {"tokenizer": name, "max_tokens": longest passage}
    sources         {"documents": read, "passages": split, "exact_duplicates": dropped, "near_duplicates": dropped}
    segments        list of {"name", "entries", "files": {file name: {"bytes", "sha256"}}}

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
from memgpt_rag.fingerprint import EncoderFingerprint
from memgpt_rag.passage import Passage

FORMAT = "memgpt_rag memory"
VERSION = 1
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


@dataclass(frozen=True)
class StoredFile:
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Segment:
    name: str
    entries: int
    files: dict[str, StoredFile]


@dataclass(frozen=True)
class Manifest:
    metric: Metric
    entries: int
    encoder: EncoderFingerprint
    splitting: dict[str, Any]
    sources: dict[str, int]
    segments: tuple[Segment, ...] = field(default_factory=tuple)

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
            "segments": segments,
        }


def segment_dir(memory: Path, name: str) -> Path:
    return memory / SEGMENTS / name


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
    if fields.get("version") != VERSION:
        raise MemoryFormatError(
            f"{path} is of version {fields.get('version')!r} and this release reads version {VERSION}; upgrade memgpt_rag."
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
    for segment in fields["segments"]:
        if not _SEGMENT_NAME.fullmatch(segment["name"]):
            raise ValueError(f"segment name {segment['name']!r}")
        files = {name: StoredFile(int(file["bytes"]), str(file["sha256"])) for name, file in segment["files"].items()}
        if set(files) != {KEYS, VALUES}:
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
    )
