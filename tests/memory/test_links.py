"""Memories with links, pipes and devices in them: nothing outside the folder is read, written or removed through them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hashing import HashEncoder, passage

from indexing.jobs.verify_memory import verify_memory
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory import Memory, MemoryWriter, add_lexical_index, expire, list_versions, roll_back
from memgpt_rag.memory.storage import layout

ENCODER = HashEncoder(dimension=16)


def write(memory: Path, number: int) -> None:
    with MemoryWriter(memory) as writer:
        writer.add_values([passage(number)])
        journal = writer.journal(ENCODER.fingerprint)
        for block in writer.value_blocks(9):
            texts = [one.titled_text for one in block]
            journal.add(texts, ENCODER.encode_passages(texts))
            writer.add_keys(journal.keys(texts))
        writer.commit(ENCODER.fingerprint, splitting={"tokenizer": "hash", "max_tokens": 9}, job={"name": "test"})


@pytest.fixture
def folder(tmp_path) -> Path:
    """A memory of two versions, as somebody might send it."""
    memory = tmp_path / "memory"
    write(memory, 0)
    write(memory, 1)
    (memory / layout.LOCK).unlink()
    return memory


@pytest.fixture
def victim(tmp_path) -> Path:
    """A folder of the user's."""
    folder = tmp_path / "home"
    (folder / "sub").mkdir(parents=True)
    (folder / ".bashrc").write_text("export EDITOR=vi\n")
    (folder / "thesis.doc").write_text("eight years of work")
    (folder / "sub" / "photo.jpg").write_bytes(b"\xff\xd8")
    (folder / "00000009.json").write_text("{}")
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def into_place(path: Path, target: Path) -> None:
    """Put a link where something of the memory stood."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def everything(memory: Path) -> list[str]:
    """All that a user may do with a memory, and what each was refused with."""
    jobs = {
        "open": lambda: Memory.open(memory),
        "versions": lambda: list_versions(memory),
        "write": lambda: write(memory, 2),
        "replace": lambda: MemoryWriter(memory, replace=True).__enter__(),
        "words": lambda: add_lexical_index(Memory.open(memory)),
        "roll back": lambda: roll_back(memory, 1),
        "expire": lambda: expire(memory, 1),
    }
    refusals = []
    for name, job in jobs.items():
        with pytest.raises(MemoryFormatError) as refused:
            job()
            pytest.fail(f"{name} did not refuse the memory")
        refusals.append(str(refused.value))
    return [*refusals, *verify_memory(memory)]


def some_segment(memory: Path) -> Path:
    return sorted((memory / layout.SEGMENTS).iterdir())[0]


LINKED_FOLDERS = {
    "segments": lambda memory: memory / layout.SEGMENTS,
    "versions": lambda memory: memory / layout.VERSIONS,
    "a segment": some_segment,
    "a segment that no manifest names": lambda memory: memory / layout.SEGMENTS / "000077",
}
LINKED_FILES = {
    "manifest": lambda memory: memory / layout.MANIFEST,
    "new manifest": lambda memory: memory / f"{layout.MANIFEST}.new",
    "journal": lambda memory: memory / layout.JOURNAL,
    "lock": lambda memory: memory / layout.LOCK,
    "an earlier manifest": lambda memory: layout.version_path(memory, 1),
    "a manifest that was never committed": lambda memory: layout.version_path(memory, 7),
    "keys": lambda memory: some_segment(memory) / layout.KEYS,
    "values": lambda memory: some_segment(memory) / layout.VALUES,
    "a file that no manifest names": lambda memory: some_segment(memory) / "notes.txt",
}


@pytest.mark.parametrize("where", LINKED_FOLDERS)
def test_a_linked_folder_is_refused_and_what_it_leads_to_stays(where, folder, victim):
    before, place = contents(victim), LINKED_FOLDERS[where](folder)
    into_place(place, victim)
    for refusal in everything(folder):
        assert f"{place} is a symbolic link; a memory holds plain files in plain folders" in refusal
    assert contents(victim) == before


@pytest.mark.parametrize("where", LINKED_FILES)
def test_a_linked_file_is_refused_and_what_it_leads_to_stays(where, folder, victim):
    before, place = contents(victim), LINKED_FILES[where](folder)
    into_place(place, victim / ".bashrc")
    for refusal in everything(folder):
        assert f"{place} is a symbolic link; a memory holds plain files in plain folders" in refusal
    assert contents(victim) == before


def test_an_earlier_version_that_names_a_linked_segment_is_no_way_out(folder, victim):
    """The present version is sound; an earlier one makes a job look into the folder that the link leads to."""
    manifest = json.loads(layout.version_path(folder, 1).read_text())
    manifest["segments"][0]["name"] = "000000"
    layout.version_path(folder, 1).write_text(json.dumps(manifest))
    (folder / layout.SEGMENTS / "000000").symlink_to(victim)
    before = contents(victim)
    assert all("000000 is a symbolic link" in refusal for refusal in everything(folder))
    assert contents(victim) == before


@pytest.mark.parametrize("where", LINKED_FILES)
def test_a_pipe_is_refused_and_holds_nobody_up(where, folder):
    place = LINKED_FILES[where](folder)
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    assert all(f"{place} is a named pipe" in refusal for refusal in everything(folder))


@pytest.mark.parametrize("where", ["journal", "lock"])
def test_a_second_name_for_a_file_of_the_user_is_not_written_to(where, folder, victim):
    before, place = contents(victim), LINKED_FILES[where](folder)
    place.unlink(missing_ok=True)
    os.link(victim / ".bashrc", place)
    with pytest.raises(MemoryFormatError, match="hard links|holds 17 bytes; a lock is an empty file"):
        write(folder, 2)
    assert contents(victim) == before


def test_a_folder_inside_a_segment_is_refused(folder):
    (some_segment(folder) / "more").mkdir()
    assert all("more is a folder; a memory holds plain files" in refusal for refusal in everything(folder))


def test_a_memory_may_itself_be_reached_through_a_link(folder, tmp_path):
    """The user named that one."""
    (tmp_path / "current").symlink_to(folder)
    write(tmp_path / "current", 2)
    assert len(Memory.open(tmp_path / "current")) == 3
