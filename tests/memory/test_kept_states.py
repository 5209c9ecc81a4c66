"""States kept between processes: what comes back, what is forgotten, and whose they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.fingerprint import StatesFingerprint, encode_probe
from memgpt_rag.memory import KeptStates
from memgpt_rag.memory.states import encode

MINE = StatesFingerprint("mine", (0, 2), 2, 8, "int8", (1, 2), (3,), encode_probe(np.ones(32)))
LENGTH = 5


def states(seed: int, tokens: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(tokens, 2, 2, 2, 8)).astype(np.float32)


def ids(seed: int) -> list[int]:
    return [seed * 10 + place for place in range(LENGTH)]


@pytest.mark.parametrize("dtype", ["int8", "fp16", "bf16", "fp32"])
def test_what_one_process_keeps_another_one_finds_to_the_bit(tmp_path, dtype):
    of_type = replace(MINE, dtype=dtype)
    put = [KeptStates(tmp_path, of_type).put(ids(seed), states(seed)) for seed in range(3)]
    other = KeptStates(tmp_path, of_type)
    for seed, (codes, scales) in enumerate(put):
        found, expected = other.get(ids(seed)), encode(states(seed), dtype)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[0], codes)
        assert (found[1] is None) == (scales is None) == (dtype != "int8")
        if scales is not None:
            np.testing.assert_array_equal(found[1], expected[1])
    assert other.get(ids(9)) is None
    assert len(other) == 3


def test_the_least_recently_used_are_forgotten_and_the_bytes_kept_to(tmp_path):
    one = KeptStates(tmp_path / "one", MINE)
    one.put(ids(0), states(0))
    kept = KeptStates(tmp_path / "three", MINE, max_bytes=3 * one.num_bytes)
    for seed in range(3):
        kept.put(ids(seed), states(seed))
    assert kept.get(ids(0)) is not None  # now 1 is the one that was used least recently
    kept.put(ids(3), states(3))
    assert kept.num_bytes == 3 * one.num_bytes
    assert [kept.get(ids(seed)) is not None for seed in range(4)] == [True, False, True, True]
    small = KeptStates(tmp_path / "none", MINE, max_bytes=one.num_bytes - 1)
    assert np.array_equal(small.put(ids(0), states(0))[0], encode(states(0), "int8")[0])
    assert len(small) == 0


def test_another_model_prefix_or_set_of_layers_finds_nothing(tmp_path):
    KeptStates(tmp_path, MINE).put(ids(0), states(0))
    for other in (
        replace(MINE, prefix_ids=(1,)),
        replace(MINE, layers=(0, 1)),
        replace(MINE, probe=encode_probe(np.arange(32))),
    ):
        assert KeptStates(tmp_path, other).get(ids(0)) is None


def test_a_damaged_file_is_refused(tmp_path):
    kept = KeptStates(tmp_path, MINE)
    kept.put(ids(0), states(0))
    kept._file.execute("UPDATE states SET codes = x'00'")
    with pytest.raises(MemoryFormatError, match="holds 1 bytes of codes for an entry of 5 tokens; remove it"):
        kept.get(ids(0))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / kept.path.name).write_bytes(b"no database" * 100)
    with pytest.raises(MemoryFormatError, match="cannot keep states .*not a database"):
        KeptStates(broken, MINE)
    (tmp_path / "file").write_text("")
    with pytest.raises(MemoryFormatError, match="cannot keep states"):
        KeptStates(tmp_path / "file", MINE)
