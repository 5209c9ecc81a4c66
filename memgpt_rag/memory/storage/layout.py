"""The on-disk format of a memory, version 6. Names of files and columns are defined in this module only.

A memory is a folder:

    manifest.json              the current version: segments, files, checksums; replaced atomically by a commit
    versions/<8 digits>.json   the manifest of every commit that can still be opened, including the current one
    segments/<6 digits>/       entries that were committed together; a row is a position in such a segment
        keys.safetensors       tensor "keys", F32 [rows, dimension]; the key at row i belongs to the value at row i
        values.arrow           Arrow IPC file, one row per entry, columns as in VALUES_SCHEMA and then the metadata
        pictures.arrow         where entries have pictures: Arrow IPC file, row i the picture of row i, as in PICTURES_SCHEMA
        deleted-<hex>.bits     where rows are deleted: one bit a row, bit i % 8 of byte i // 8; 1 means deleted
        states-<hex>.safetensors   where there are states: tensors as in `memgpt_rag.memory.storage.states`
        index-<hex>.faiss      where there is an approximate index: FAISS index over the keys, row i the i-th key
        words-<hex>.safetensors    where there is a lexical index: as in `memgpt_rag.memory.lexical.postings`
        sparse-<hex>.safetensors   where there are sparse vectors: likewise, with weights
    journal                    keys that a job has computed and not committed yet, as in `memgpt_rag.memory.storage.journal`
    writer.lock                held by the job that writes; ignored by readers

`manifest.json` is UTF-8 JSON with these fields, all of them required, `sparse` in version 6 only:

    format          "memgpt_rag memory"
    version         6; 5 without sparse vectors; 4 where no entry has a picture either, and no key is of one
    commit          number of the commit, 1 for the first
    previous        null, or sha256 of the manifest of the commit before
    metric          "cosine" (inner product of unit vectors) or "euclidean"
    encoder         fingerprint of the embedding model, fields as in `memgpt_rag.fingerprint`
    splitting       {"tokenizer": name, "max_tokens": longest passage}
    metadata        {column: "string", "integer", "number", "boolean" or "date"}
    job             {"name": of the job that committed, and what it counted}
    states          null, or fingerprint of the language model that computed the states, likewise
    words           null, or name of the analysis of every segment's lexical index, see `memgpt_rag.memory.lexical.analysis`
    sparse          fingerprint of the sparse encoder that computed the sparse vectors, likewise
    segments        list of {"name", "entries": rows, "deleted": rows, "files": {file name: {"bytes", "sha256"}},
                    "index": null, or {"factory", "parameters", "candidates", and the measured figures}}

Rows of a memory are numbered through its segments in order, deleted ones included. Files never change once a manifest names
them; a change writes a file with another name. Files that no manifest names are leftovers of stopped jobs and are ignored.
A picture is a PNG or JPEG file of at most MOST_PICTURE_BYTES; null where an entry has none.
Versions 1 and 2 had one segment whose keys were a flat FAISS index, `keys.faiss`, and no commits, version 3 had no lexical
index, version 4 no pictures, and version 5 no sparse vectors; they can still be read.
Nothing here is pickled and nothing read from a memory is executed.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from memgpt_rag.fingerprint import StatesFingerprint
from memgpt_rag.passage import Passage

FORMAT = "memgpt_rag memory"
VERSION = 6
# What a memory without sparse vectors says, and without pictures, so that earlier releases open it.
WITHOUT_SPARSE, WITHOUT_PICTURES = 5, 4
READABLE = (1, 2, 3, 4, 5, 6)
MANIFEST = "manifest.json"
VERSIONS = "versions"
SEGMENTS = "segments"
JOURNAL = "journal"
LOCK = "writer.lock"
KEYS = "keys.safetensors"
FLAT_KEYS = "keys.faiss"
VALUES = "values.arrow"
PICTURES = "pictures.arrow"

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
assert [*VALUES_SCHEMA.names, "metadata"] == list(Passage.__dataclass_fields__)
PICTURES_SCHEMA = pa.schema([pa.field("picture", pa.large_binary())])

METADATA_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
}
_METADATA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
SEGMENT_NAME = re.compile(r"[0-9a-z]{1,32}")
_HEX = "[0-9a-f]{8}"
_STATES = re.compile(rf"states-{_HEX}\.safetensors")
_DELETED = re.compile(rf"deleted-{_HEX}\.bits")
_INDEX = re.compile(rf"index-{_HEX}\.faiss")
_WORDS = re.compile(rf"words-{_HEX}\.safetensors")
_SPARSE = re.compile(rf"sparse-{_HEX}\.safetensors")
OptionalFile = Literal["states", "deleted", "index", "words", "sparse"]
OPTIONAL_FILES: dict[OptionalFile, re.Pattern[str]] = {
    "states": _STATES,
    "deleted": _DELETED,
    "index": _INDEX,
    "words": _WORDS,
    "sparse": _SPARSE,
}


def is_column_name(name: str) -> bool:
    """Return whether a metadata column may be called so."""
    return bool(_METADATA_NAME.fullmatch(name)) and name not in VALUES_SCHEMA.names


def values_schema(metadata: dict[str, str]) -> pa.Schema:
    """Return the Arrow schema of a segment's values.

    Raises:
        ValueError: a metadata column has an invalid name or type.
    """
    for name, kind in metadata.items():
        if kind not in METADATA_TYPES:
            raise ValueError(f"Metadata {name!r} is of type {kind!r}; expected one of {', '.join(METADATA_TYPES)}.")
        if not is_column_name(name):
            raise ValueError(
                f"Metadata cannot be called {name!r}; expected letters, digits and underscores, and none of {', '.join(VALUES_SCHEMA.names)}."
            )
    extra = [pa.field(name, METADATA_TYPES[kind]) for name, kind in metadata.items()]
    return pa.schema([*VALUES_SCHEMA, *extra])


def segment_dir(memory: Path, name: str) -> Path:
    """Return the folder of a segment."""
    return memory / SEGMENTS / name


def version_path(memory: Path, commit: int) -> Path:
    """Return the path of the manifest of a commit."""
    return memory / VERSIONS / f"{commit:08d}.json"


def commits(memory: Path) -> list[int]:
    """Return the numbers of the stored manifests, in order; those above the current one were never committed."""
    names = [path.name for path in (memory / VERSIONS).glob("*.json")]
    return sorted(int(name[:8]) for name in names if re.fullmatch(r"[0-9]{8}\.json", name))


def states_name(states: StatesFingerprint, deleted: str | None) -> str:
    """Return the name of a states file, which differs by model, prefix, type and rows.

    Args:
        deleted: name of the bitmap of deleted rows, which have no states.
    """
    return f"states-{_digest(repr((states, deleted)).encode())}.safetensors"


def deleted_name(bits: bytes) -> str:
    """Return the name of a bitmap of deleted rows."""
    return f"deleted-{_digest(bits)}.bits"


def index_name(settings: dict[str, Any]) -> str:
    """Return the name of an approximate index file of these settings and figures."""
    return f"index-{_digest(json.dumps(settings, sort_keys=True).encode())}.faiss"


def words_name(analysis: str) -> str:
    """Return the name of a lexical index file of an analysis."""
    return f"words-{_digest(analysis.encode())}.safetensors"


def sparse_name(digest: str) -> str:
    """Return the name of a file of sparse vectors.

    Args:
        digest: of its bytes; a sparse encoder may compute other digits on another machine.
    """
    return f"sparse-{digest[:8]}.safetensors"


def is_known(name: str) -> bool:
    """Return whether a name may occur at the top of a memory's folder."""
    return name in (MANIFEST, f"{MANIFEST}.new", VERSIONS, SEGMENTS, JOURNAL, LOCK)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]
