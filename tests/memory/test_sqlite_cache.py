"""The one cache in a SQLite file: what it gives back, what it forgets, and whatever happens to its file: never an error,
never a wrong value, one warning.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from memgpt_rag.io.cache_folder import CacheWarning
from memgpt_rag.memory.caches import sqlite_cache
from memgpt_rag.memory.caches.sqlite_cache import ROW_BYTES, SqliteCache

SOURCES = [f"source {number}".encode() for number in range(1200)]


def value(number: int, size: int = 1000) -> bytes:
    return random.Random(number).randbytes(size)


VALUES = [value(number) for number in range(1200)]


def filled(folder: Path, count: int = 1200, **settings) -> SqliteCache:
    cache = SqliteCache(folder, "cache", "mine", **settings)
    cache.put(SOURCES[:count], VALUES[:count])
    return cache


def changed(path: Path, *statements: str) -> None:
    """As another process changes a file."""
    file = sqlite3.connect(path)
    with file:
        for statement in statements:
            file.execute(statement)
    file.close()


def used_without_harm(cache: SqliteCache) -> None:
    """A cache that was left out gives nothing, takes everything, and says no more."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.put(SOURCES[:2], VALUES[:2])
        assert cache.get(SOURCES[:2]) == [None, None]
        assert len(cache) == cache.num_bytes == 0


def test_what_one_process_keeps_another_one_finds(tmp_path):
    filled(tmp_path / "new" / "folder")
    assert SqliteCache(tmp_path / "new" / "folder", "cache", "mine").get([*SOURCES, b"other"]) == [*VALUES, None]


def test_a_folder_may_be_named_from_where_the_process_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filled(Path("a folder?"), 3)
    assert SqliteCache(tmp_path / "a folder?", "cache", "mine").get(SOURCES[:3]) == VALUES[:3]


def test_what_another_one_computed_is_never_found(tmp_path):
    filled(tmp_path)
    assert SqliteCache(tmp_path, "cache", "other").get(SOURCES[:3]) == [None] * 3


def test_the_least_recently_used_go_first_and_the_bytes_are_kept_to(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_cache, "_FRESH_NANOSECONDS", 0)
    cache = SqliteCache(tmp_path, "cache", "mine", max_bytes=10 * (1000 + ROW_BYTES))
    for number in range(10):
        cache.put([SOURCES[number]], [VALUES[number]])
    cache.get(SOURCES[:2])
    cache.put(SOURCES[10:13], VALUES[10:13])
    assert cache.num_bytes == cache.max_bytes
    assert [found is None for found in cache.get(SOURCES[:13])] == [number in (2, 3, 4) for number in range(13)]
    cache.put([b"large"], [value(0, 20_000)])
    assert cache.get([b"large"]) == [None]
    assert len(cache) == 10, "what is larger than the cache throws nothing out"


def test_a_use_is_noted_once_a_minute(tmp_path):
    cache = filled(tmp_path, 1)
    (before,) = cache._file.execute("SELECT used FROM entries").fetchone()
    cache.get(SOURCES[:1])
    assert cache._file.execute("SELECT used FROM entries").fetchone() == (before,)
    cache._file.execute("UPDATE entries SET used = used - 61 * 1000000000")
    cache.get(SOURCES[:1])
    assert cache._file.execute("SELECT used FROM entries").fetchone()[0] >= before


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET value = zeroblob(1000)",
        "UPDATE entries SET value = NULL",
        "UPDATE entries SET value = 'text', checksum = 'text'",
        "UPDATE entries SET checksum = zeroblob(16)",
        # A row's value and checksum under another row's key: each is sound in itself.
        "UPDATE entries SET value = other.value, checksum = other.checksum FROM entries AS other "
        "WHERE other.rowid = 11 - entries.rowid",
    ],
)
def test_a_value_that_is_not_as_it_was_kept_is_absent_and_made_anew(tmp_path, damage):
    changed(filled(tmp_path, 10).path, damage)
    cache = SqliteCache(tmp_path, "cache", "mine")
    with pytest.warns(CacheWarning, match=r"cache-2\.sqlite holds values that are not as they were kept") as shown:
        assert cache.get(SOURCES[:10]) == [None] * 10
        assert cache.get(SOURCES[:10]) == [None] * 10
    assert len(shown) == 1
    cache.put(SOURCES[:10], VALUES[:10])
    assert cache.get(SOURCES[:10]) == VALUES[:10]


def test_a_value_of_another_identity_is_not_believed_under_a_key_of_this_one(tmp_path):
    mine, other = filled(tmp_path / "mine", 1), SqliteCache(tmp_path / "other", "cache", "other")
    other.put(SOURCES[:1], VALUES[1:2])
    row = other._file.execute("SELECT value, checksum FROM entries").fetchone()
    mine._file.execute("UPDATE entries SET value = ?, checksum = ?", row)
    with pytest.warns(CacheWarning, match="not as they were kept"):
        assert mine.get(SOURCES[:1]) == [None]


def not_a_database(path: Path) -> None:
    path.write_bytes(b"something else" * 1000)


def folder_in_place(path: Path) -> None:
    path.mkdir()


def pipe_in_place(path: Path) -> None:
    os.mkfifo(path)


def full_device(path: Path) -> None:
    path.symlink_to("/dev/full")


def foreign_database(path: Path) -> None:
    changed(path, "CREATE TABLE entries (name TEXT)")


def other_layout(path: Path) -> None:
    changed(filled(path.parent).path, "ALTER TABLE entries ADD COLUMN more TEXT")


def torn_first_page(path: Path) -> None:
    filled(path.parent)
    content = path.read_bytes()
    path.write_bytes(content[:50] + b"\xff" * 4000 + content[4050:])


def cut_short(path: Path) -> None:
    filled(path.parent)
    os.truncate(path, 5000)


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (not_a_database, "file is not a database"),
        (folder_in_place, "no plain file"),
        (pipe_in_place, "no plain file"),
        (full_device, "it is a link"),
        (foreign_database, "another program or release"),
        (other_layout, "another program or release"),
        (torn_first_page, "malformed|not a database|unsupported file format|disk I/O error"),
        (cut_short, "malformed|disk I/O error"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_file_that_cannot_be_used_is_left_out_with_one_warning_and_stays_as_it_is(tmp_path, spoil, reason):
    path = tmp_path / "cache-2.sqlite"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.warns(CacheWarning, match=reason) as shown:
        cache = SqliteCache(tmp_path, "cache", "mine")
        cache.get(SOURCES)
        cache.put(SOURCES[:1], VALUES[:1])
    assert len(shown) == 1
    assert f"{path} cannot be used as a cache" in str(shown[0].message)
    used_without_harm(cache)
    assert before is None or path.read_bytes() == before


def test_torn_pages_give_no_value_but_right_ones_and_no_error(tmp_path):
    whole = filled(tmp_path / "whole", 300)
    size = 300 * 1000
    changed(whole.path, "PRAGMA wal_checkpoint(TRUNCATE)")
    content, shown = whole.path.read_bytes(), 0
    assert len(content) > size
    for place in range(4096, len(content), len(content) // 20):
        torn = tmp_path / f"torn at {place}"
        torn.mkdir()
        (torn / whole.path.name).write_bytes(content[:place] + value(place, 3000) + content[place + 3000 :])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cache = SqliteCache(torn, "cache", "mine")
            found = cache.get(SOURCES[:300])
            cache.put(SOURCES[300:310], VALUES[300:310])
        assert all(one in (None, kept) for one, kept in zip(found, VALUES[:300], strict=True)), place
        assert {one.category for one in caught} <= {CacheWarning}
        assert len(caught) <= 2, "damaged values, and a file that is left out when it is written"
        shown += bool(caught)
    assert shown > 10


def test_no_space_is_no_error(tmp_path):
    cache = filled(tmp_path, 5)
    cache._file.execute("PRAGMA max_page_count=10")
    with pytest.warns(CacheWarning, match=r"cache-2\.sqlite .*disk is full.*make room beside it"):
        cache.put(SOURCES, VALUES)
    used_without_harm(cache)
    assert SqliteCache(tmp_path, "cache", "mine").get(SOURCES[:6]) == [*VALUES[:5], None]


HOLDING = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute("PRAGMA locking_mode=EXCLUSIVE")
file.execute("BEGIN EXCLUSIVE")
file.execute("CREATE TABLE IF NOT EXISTS held (a)")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("opened", [True, False], ids=["while it is used", "when it is opened"])
def test_a_file_that_another_process_holds_is_left_out_soon(tmp_path, monkeypatch, opened):
    assert sqlite_cache._LOCK_SECONDS <= 2
    monkeypatch.setattr(sqlite_cache, "_LOCK_SECONDS", 0.2)
    path = tmp_path / "cache-2.sqlite"
    cache = filled(tmp_path, 1) if opened else None
    code = HOLDING.replace("locking_mode=EXCLUSIVE", "user_version") if opened else HOLDING
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.warns(CacheWarning, match="database is locked.*wait for the process that holds it, or end it"):
            cache = cache or SqliteCache(tmp_path, "cache", "mine")
            cache.put(SOURCES[:1], VALUES[:1])
        used_without_harm(cache)


def test_several_at_once_make_one_file_and_lose_nothing(tmp_path):
    for time_ in range(10):
        folder, faults = tmp_path / str(time_), []

        def work(part: int, folder: Path = folder, faults: list = faults) -> None:
            try:
                cache = SqliteCache(folder, "cache", "mine")
                for start in range(part, 400, 40):
                    cache.put(SOURCES[start : start + 10], VALUES[start : start + 10])
                    cache.get(SOURCES[:50])
            except CacheWarning as shown:
                faults.append(shown)

        threads = [threading.Thread(target=work, args=(10 * part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults
        assert SqliteCache(folder, "cache", "mine").get(SOURCES[:400]) == VALUES[:400]


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_links_are_not_followed(tmp_path, suffix):
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    folder.mkdir()
    victim.write_bytes(b"")
    if suffix:
        filled(folder, 1)
    (folder / f"cache-2.sqlite{suffix}").symlink_to(victim)
    with pytest.warns(CacheWarning, match=rf"cache-2\.sqlite{suffix} .*it is a link"):
        cache = SqliteCache(folder, "cache", "mine")
    used_without_harm(cache)
    assert victim.read_bytes() == b""


def test_files_are_for_their_owner_alone(tmp_path):
    mask = os.umask(0)
    try:
        cache = filled(tmp_path / "new")
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
        assert {file.stat().st_mode & 0o777 for file in (tmp_path / "new").iterdir()} == {0o600}
        assert len(list((tmp_path / "new").iterdir())) == 3
        cache.path.chmod(0o644)
        SqliteCache(tmp_path / "new", "cache", "mine")
        assert cache.path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(mask)


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give a file away")
def test_a_file_of_another_user_is_left_out(tmp_path):
    cache = filled(tmp_path, 1)
    os.chown(cache.path, 12345, -1)
    with pytest.warns(CacheWarning, match="it belongs to another user"):
        SqliteCache(tmp_path, "cache", "mine")


def test_a_file_that_is_deleted_while_it_is_open_is_no_error(tmp_path):
    cache = filled(tmp_path / "folder", 5)
    for file in (tmp_path / "folder").iterdir():
        file.unlink()
    (tmp_path / "folder").rmdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.put(SOURCES[5:10], VALUES[5:10])
        assert cache.get(SOURCES[:10]) == VALUES[:10]
        assert filled(tmp_path / "folder", 1).get(SOURCES[:2]) == [VALUES[0], None]


def test_a_process_that_is_killed_leaves_a_file_that_can_be_used(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from memgpt_rag.memory.caches.sqlite_cache import SqliteCache\n"
        f"cache = SqliteCache(Path({str(tmp_path)!r}), 'cache', 'mine')\n"
        "cache.put([b'a'], [b'1' * 1000]); cache._file.execute('BEGIN IMMEDIATE')\n"
        "cache._file.execute('UPDATE entries SET value = NULL'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert SqliteCache(tmp_path, "cache", "mine").get([b"a"]) == [b"1" * 1000]
