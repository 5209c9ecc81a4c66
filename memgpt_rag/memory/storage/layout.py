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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from memgpt_rag.choices import METRICS, Metric
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.fingerprint import EncoderFingerprint, SparseFingerprint, StatesFingerprint
from memgpt_rag.io.json_file import parse_json
from memgpt_rag.memory.storage.files import StoredFile, reading
from memgpt_rag.memory.storage.index_settings import IndexSettings
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
_SEGMENT_NAME = re.compile(r"[0-9a-z]{1,32}")
_HEX = "[0-9a-f]{8}"
_STATES = re.compile(rf"states-{_HEX}\.safetensors")
_DELETED = re.compile(rf"deleted-{_HEX}\.bits")
_INDEX = re.compile(rf"index-{_HEX}\.faiss")
_WORDS = re.compile(rf"words-{_HEX}\.safetensors")
_SPARSE = re.compile(rf"sparse-{_HEX}\.safetensors")
OptionalFile = Literal["states", "deleted", "index", "words", "sparse"]
_OPTIONAL: dict[OptionalFile, re.Pattern[str]] = {
    "states": _STATES,
    "deleted": _DELETED,
    "index": _INDEX,
    "words": _WORDS,
    "sparse": _SPARSE,
}
_MAX_MANIFEST = 2**28


@dataclass(frozen=True)
class Segment:
    """A manifest's entry for a segment.

    Attributes:
        entries: number of rows, deleted ones included.
        deleted: number of deleted rows.
        index: settings of the approximate index and the figures measured when it was chosen; None where there is none.
    """

    name: str
    entries: int
    files: dict[str, StoredFile]
    deleted: int = 0
    index: dict[str, Any] | None = None

    def file(self, kind: OptionalFile) -> str | None:
        """Return the name of an optional file; None where the segment has none."""
        return next((name for name in self.files if _OPTIONAL[kind].fullmatch(name)), None)

    def with_file(self, name: str, described: StoredFile | None, instead_of: str | None) -> dict[str, StoredFile]:
        """Return the files with one added in place of another; if `described` is None, the other is only dropped."""
        files = {kept: file for kept, file in self.files.items() if kept != instead_of}
        return files if described is None else {**files, name: described}


@dataclass(frozen=True)
class Manifest:
    """A version of a memory: how it was built, and the segments that it consists of; fields as in `manifest.json`."""

    metric: Metric
    encoder: EncoderFingerprint
    splitting: dict[str, Any]
    job: dict[str, Any]
    segments: tuple[Segment, ...] = field(default_factory=tuple)
    states: StatesFingerprint | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    commit: int = 1
    previous: str | None = None
    words: str | None = None
    sparse: SparseFingerprint | None = None

    @property
    def entries(self) -> int:
        """Return the number of entries, without deleted ones."""
        return sum(segment.entries - segment.deleted for segment in self.segments)

    @property
    def has_pictures(self) -> bool:
        """Return whether a segment holds pictures."""
        return any(PICTURES in segment.files for segment in self.segments)

    def entries_without(self, kind: OptionalFile) -> int:
        """Return the number of entries in segments without an optional file."""
        return sum(segment.entries - segment.deleted for segment in self.segments if segment.file(kind) is None)

    def to_json(self) -> dict[str, Any]:
        """Return the fields of `manifest.json`."""
        segments = [
            {
                "name": segment.name,
                "entries": segment.entries,
                "deleted": segment.deleted,
                "files": {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in segment.files.items()},
                "index": segment.index,
            }
            for segment in self.segments
        ]
        return {
            "format": FORMAT,
            "version": self._version,
            "commit": self.commit,
            "previous": self.previous,
            "metric": self.metric,
            "encoder": self.encoder.to_json(),
            "splitting": self.splitting,
            "metadata": self.metadata,
            "job": self.job,
            "states": None if self.states is None else self.states.to_json(),
            "words": self.words,
            **({} if self.sparse is None else {"sparse": self.sparse.to_json()}),
            "segments": segments,
        }

    @property
    def _version(self) -> int:
        if self.sparse is not None:
            return VERSION
        return WITHOUT_SPARSE if self.has_pictures or self.encoder.picture_probe else WITHOUT_PICTURES


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


def read_manifest(memory: Path, commit: int | None = None) -> Manifest:
    """Read the current manifest, or that of an earlier commit.

    Raises:
        MemoryFormatError: the folder holds no memory, the commit does not exist, or the manifest is damaged or of an unknown
            version.
    """
    path = memory / MANIFEST
    if not memory.exists():
        raise MemoryFormatError(
            f"{memory} does not exist; build a memory there with: memgpt-index build SOURCE --memory {memory}"
        )
    if not memory.is_dir() or not (path.exists() or path.is_symlink()):
        raise MemoryFormatError(
            f"{memory} is not a memory: it has no {MANIFEST}; name a folder that memgpt-index build wrote."
        )
    present = parse_manifest(path)
    if commit is None or commit == present.commit:
        return present
    if commit > present.commit or commit not in commits(memory):
        kept = ", ".join(str(one) for one in commits(memory) if one <= present.commit) or str(present.commit)
        raise MemoryFormatError(f"{memory} has no version {commit}; it has {kept}.")
    return parse_manifest(version_path(memory, commit))


def parse_manifest(path: Path) -> Manifest:
    """Parse a manifest file; raises MemoryFormatError as `read_manifest`."""
    try:
        fields = parse_json(read_bytes(path))
    except ValueError as error:
        raise MemoryFormatError(f"{path} is damaged ({error}); build the memory again.") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise MemoryFormatError(f"{path} is not the manifest of a memory: it does not say format {FORMAT!r}.")
    if fields.get("version") not in READABLE:
        raise MemoryFormatError(
            f"{path} is of version {fields.get('version')!r} and this release reads up to version {VERSION}; upgrade memgpt_rag."
        )
    try:
        return _parse(fields)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MemoryFormatError(
            f"{path} is damaged: {type(error).__name__} at {error}; build the memory again."
        ) from error


def read_bytes(path: Path) -> bytes:
    """Read the bytes of a manifest file.

    Raises:
        MemoryFormatError: the file is missing, no plain file, or larger than 256 MiB.
    """
    try:
        with reading(path) as file:
            content = file.read(_MAX_MANIFEST + 1)
    except FileNotFoundError as error:
        raise MemoryFormatError(f"{path} is missing; restore it, or build the memory again.") from error
    if len(content) > _MAX_MANIFEST:
        raise MemoryFormatError(f"{path} has more than {_MAX_MANIFEST:,} bytes, which no manifest has.")
    return content


def _parse(fields: dict[str, Any]) -> Manifest:
    old = fields["version"] < 3
    states_fields = None if fields["version"] == 1 else fields["states"]
    states = None if states_fields is None else StatesFingerprint.from_json(states_fields)
    words = None if fields["version"] < 4 or fields["words"] is None else str(fields["words"])
    sparse = SparseFingerprint.from_json(fields["sparse"]) if fields["version"] >= 6 else None
    there = {"states": states is not None, "words": words is not None, "sparse": sparse is not None}
    segments = tuple(_parse_segment(segment, old, there) for segment in fields["segments"])
    if len({segment.name for segment in segments}) != len(segments):
        raise ValueError("segments of one name")
    if fields["metric"] not in METRICS:
        raise ValueError(f"metric {fields['metric']!r}")
    metadata = {} if old else {str(name): str(kind) for name, kind in fields["metadata"].items()}
    values_schema(metadata)
    encoder = EncoderFingerprint.from_json(fields["encoder"])
    manifest = Manifest(
        metric=fields["metric"],
        encoder=encoder,
        splitting=_splitting(fields["splitting"]),
        job={"name": "build", **fields["sources"]} if old else dict(fields["job"]),
        segments=segments,
        states=states,
        metadata=metadata,
        commit=1 if old else _count(fields["commit"]),
        previous=None if old or fields["previous"] is None else str(fields["previous"]),
        words=words,
        sparse=sparse,
    )
    if old and manifest.entries != _count(fields["entries"]):
        raise ValueError(f"entries {fields['entries']}")
    return manifest


def _parse_segment(fields: dict[str, Any], old: bool, there: dict[str, bool]) -> Segment:
    name = fields["name"]
    if not _SEGMENT_NAME.fullmatch(name):
        raise ValueError(f"segment name {name!r}")
    files = {file: StoredFile(_count(entry["bytes"]), str(entry["sha256"])) for file, entry in fields["files"].items()}
    optional = {kind: [file for file in files if form.fullmatch(file)] for kind, form in _OPTIONAL.items()}
    keys = [file for file in (KEYS, FLAT_KEYS) if file in files]
    pictures = [file for file in (PICTURES,) if file in files]
    known = {*keys, *pictures, VALUES, *(file for matches in optional.values() for file in matches)}
    index, deleted = (None, 0) if old else (fields["index"], _count(fields["deleted"]))
    entries = _count(fields["entries"])
    wrong = (
        set(files) != known
        or len(keys) != 1
        or any(len(matches) > 1 for matches in optional.values())
        or len(optional["states"]) > there["states"]
        or len(optional["words"]) != there["words"]
        or len(optional["sparse"]) > there["sparse"]
        or bool(optional["deleted"]) != (deleted > 0)
        or bool(optional["index"]) != (index is not None)
    )
    if wrong or deleted > entries:
        raise ValueError(f"files {sorted(files)} of segment {name}")
    if index is not None:
        IndexSettings.from_json(index)
    return Segment(name, entries, files, deleted, index)


def _splitting(fields: Any) -> dict[str, Any]:
    if not isinstance(fields.get("tokenizer"), str) or _count(fields.get("max_tokens")) > 2**24:
        raise ValueError(f"splitting {fields!r:.200}")
    return dict(fields)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**48:
        raise ValueError(f"number {value!r}")
    return value


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]
