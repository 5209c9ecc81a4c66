"""Memories that were damaged or made to harm: a flipped byte is found, and no folder crashes, hangs or leads astray.

pytest tests/memory/test_damage.py --thorough      every byte of every file, and ten thousand mutated folders
"""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest
from children import heard
from mutations import make_memory, mutate, use

from indexing.jobs.verify_memory import verify_memory
from memgpt_rag.errors import MemgptRagError


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_memory(tmp_path / "memory", "IVF2,Flat")


def test_a_flipped_byte_is_found_or_changes_nothing(folder, pytestconfig):
    step = 1 if pytestconfig.getoption("--thorough") else 23
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
        except Exception as error:  # whatever else is a fault, and is reported with the number that made it
            done.put((number, f"{kind}: {type(error).__name__}: {error}"))
            return
        shutil.rmtree(copy)
        done.put((number, None))
    done.put(None)


def test_no_folder_crashes_or_hangs(folder, tmp_path, pytestconfig):
    count = 10_000 if pytestconfig.getoption("--thorough") else 200
    number = -1
    try:
        for number, fault in heard(_use_mutated, str(folder), str(tmp_path), count):
            assert fault is None, f"mutation {number}: {fault}"
    except AssertionError as error:
        pytest.fail(f"after mutation {number}: {error}")
    assert number == count - 1
