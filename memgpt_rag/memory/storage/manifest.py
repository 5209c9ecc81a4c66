"""The manifest of a version of a memory: written to JSON, and read with every field checked.

Its fields are described in `memgpt_rag.memory.storage.layout`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memgpt_rag.choices import METRICS, Metric
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.fingerprint import EncoderFingerprint, SparseFingerprint, StatesFingerprint
from memgpt_rag.io.json_file import parse_json
from memgpt_rag.memory.storage.files import StoredFile, reading
from memgpt_rag.memory.storage.index_settings import IndexSettings
from memgpt_rag.memory.storage.layout import (
    FLAT_KEYS,
    FORMAT,
    KEYS,
    MANIFEST,
    OPTIONAL_FILES,
    PICTURES,
    READABLE,
    SEGMENT_NAME,
    VALUES,
    VERSION,
    WITHOUT_PICTURES,
    WITHOUT_SPARSE,
    OptionalFile,
    commits,
    values_schema,
    version_path,
)

_MAX_BYTES = 2**28


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
        return next((name for name in self.files if OPTIONAL_FILES[kind].fullmatch(name)), None)

    def with_file(self, name: str, described: StoredFile | None, instead_of: str | None) -> dict[str, StoredFile]:
        """Return the files with one added in place of another; if `described` is None, the other is only dropped."""
        files = {kept: file for kept, file in self.files.items() if kept != instead_of}
        return files if described is None else {**files, name: described}


@dataclass(frozen=True)
class Manifest:
    """A version of a memory: how it was built, and the segments that it consists of; fields as in the manifest file."""

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
        """Return the fields of the manifest file."""
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
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise MemoryFormatError(f"{path} is missing; restore it, or build the memory again.") from error
    if len(content) > _MAX_BYTES:
        raise MemoryFormatError(f"{path} has more than {_MAX_BYTES:,} bytes, which no manifest has.")
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
    if not SEGMENT_NAME.fullmatch(name):
        raise ValueError(f"segment name {name!r}")
    files = {file: StoredFile(_count(entry["bytes"]), str(entry["sha256"])) for file, entry in fields["files"].items()}
    optional = {kind: [file for file in files if form.fullmatch(file)] for kind, form in OPTIONAL_FILES.items()}
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
