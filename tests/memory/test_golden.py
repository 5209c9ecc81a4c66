"""Memories that earlier versions wrote, kept as files: every later version must open them and find the same entries.

A folder here is never written anew. Version 1 holds five entries under 16 numbers each.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import HashEncoder, passage

from memgpt_rag.memory import Memory
from memgpt_rag.memory import format as disk

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("version", ["v1"])
def test_a_memory_of_an_earlier_version_opens_and_pairs(version):
    encoder = HashEncoder(dimension=16)
    memory = Memory.open(GOLDEN / version, encoder=encoder.fingerprint)
    assert memory.passages(range(5)) == [passage(number) for number in range(5)]
    keys = encoder.encode_passages([passage(number).titled_text for number in range(5)])
    np.testing.assert_array_equal(memory.keys(), keys)
    scores = keys @ keys.T
    found = memory.search(keys, 5)
    np.testing.assert_allclose(np.take_along_axis(scores, found.rows, axis=1), found.scores, atol=1e-6)
    np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1), atol=1e-6)
    assert [[one.id for one in row] for row in found.passages] == [[f"doc#{n}" for n in row] for row in found.rows]


def test_the_golden_files_are_as_their_manifest_says():
    for segment in disk.read_manifest(GOLDEN / "v1").segments:
        for name, file in segment.files.items():
            assert disk.describe_file(disk.segment_dir(GOLDEN / "v1", segment.name) / name) == file


def test_this_version_has_a_golden_folder():
    assert (GOLDEN / f"v{disk.VERSION}").is_dir()
