"""Stores made by their own libraries become memories, and memories become such stores; each test needs the library that it names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hashing import HashEncoder
from imported import bring, require_same
from peer_changes import CHANGES, GONE, entries_after
from peer_stores import MAKERS, Entries, make_entries

from indexing.imports.open_store import open_store
from indexing.imports.stored_entry import StoreOptions
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.errors import MissingPackageError, SourceError

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the libraries, about themselves
    pytest.mark.skipif(sys.version_info < (3, 11), reason="the libraries are pinned for Python 3.11"),
]


def made(kind: str, folder: Path, entries: Entries) -> Path:
    """Make a store with its library; skip the test where that is not installed."""
    library, make = MAKERS[kind]
    pytest.importorskip(library, reason=f"{library} is not installed; see CONTRIBUTING.md")
    path = folder / ("store.parquet" if kind == "parquet" else "store")
    make(path, entries)
    return path


@pytest.mark.parametrize("kind", MAKERS)
def test_a_new_store_becomes_a_memory(tmp_path, kind):
    entries = make_entries(90, 32)
    report = bring(kind, made(kind, tmp_path, entries), tmp_path / "memory", HashEncoder(32))
    assert (report.entries, report.embedded) == (90, 0)
    require_same(tmp_path / "memory", entries)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_ten_thousand_entries_keep_their_keys(tmp_path, kind):
    entries = make_entries(10_000, 32)
    encoder = HashEncoder(32)
    report = bring(kind, made(kind, tmp_path, entries), tmp_path / "memory", encoder)
    assert (report.entries, report.embedded) == (10_000, 0)
    assert encoder.calls < 300  # a sample, and probes
    require_same(tmp_path / "memory", entries)


@pytest.fixture(scope="module")
def embedded() -> tuple[Encoder, Entries]:
    """The default encoder, and ten thousand entries with its vectors."""
    encoder = load_encoder()
    return encoder, make_entries(10_000, encoder=encoder)


@pytest.mark.slow
@pytest.mark.offline_models
@pytest.mark.parametrize("kind", MAKERS)
def test_ten_thousand_entries_keep_the_keys_of_the_default_encoder(tmp_path, embedded, kind):
    encoder, entries = embedded
    report = bring(kind, made(kind, tmp_path, entries), tmp_path / "memory", encoder)
    assert (report.entries, report.embedded) == (10_000, 0), report.reason
    require_same(tmp_path / "memory", entries, encoder)


@pytest.mark.parametrize("kind", CHANGES)
def test_a_store_that_was_changed_is_imported_as_it_is_now(tmp_path, kind):
    path, after = made(kind, tmp_path, make_entries(30, 8)), entries_after()
    # In a process of its own: Chroma keeps a store that it has opened.
    script = ROOT / "tests" / "peer_changes.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, kind, path], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    report = bring(kind, path, tmp_path / "memory")
    kept = [row for row in range(30) if row not in GONE]
    assert (report.entries, report.embedded) == (28, 0), report.reason
    parts: list[Any] = [[column[row] for row in kept] for column in (after.ids, after.texts, after.metadata)]
    require_same(tmp_path / "memory", Entries(*parts, after.vectors[kept]))


def test_the_missing_library_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    (tmp_path / "db" / "benches.lance").mkdir(parents=True)
    with pytest.raises(
        MissingPackageError, match=r"LanceDB needs the package lancedb.*pip install 'memgpt_rag\[lancedb\]'"
    ):
        open_store("lancedb", tmp_path / "db")


def test_a_table_of_lancedb_that_is_damaged_is_refused(tmp_path):
    path = made("lancedb", tmp_path, make_entries(30, 8))
    for file in sorted(path.rglob("*.*")):
        if file.is_file() and file.suffix in (".lance", ".manifest"):
            whole = file.read_bytes()
            file.write_bytes(whole[: len(whole) // 2])
            with pytest.raises(SourceError, match="cannot be read as a database of LanceDB: "):
                list(open_store("lancedb", path).entries())
            file.write_bytes(whole)
    with pytest.raises(SourceError, match="holds no collection 'parks'; found 'benches'"):
        open_store("lancedb", path, StoreOptions(collection="parks"))
