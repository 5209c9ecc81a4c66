"""States kept between processes: what comes back, whose they are, and what is not believed."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from memgpt_rag.fingerprint import StatesFingerprint, encode_probe
from memgpt_rag.io.cache_folder import CacheWarning
from memgpt_rag.memory import StateCache
from memgpt_rag.state_codes import encode

MINE = StatesFingerprint("mine", (0, 2), 2, 8, "int8", (1, 2), (3,), encode_probe(np.ones(32)))
LENGTH = 5


def states(seed: int, tokens: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(tokens, 2, 2, 2, 8)).astype(np.float32)


def ids(seed: int) -> list[int]:
    return [seed * 10 + place for place in range(LENGTH)]


@pytest.mark.parametrize("dtype", ["int8", "fp16", "bf16", "fp32"])
def test_what_one_process_keeps_another_one_finds_to_the_bit(tmp_path, dtype):
    typed = replace(MINE, dtype=dtype)
    put = [StateCache(tmp_path, typed).put(ids(seed), states(seed)) for seed in range(3)]
    other = StateCache(tmp_path, typed)
    for seed, (codes, scales) in enumerate(put):
        found, expected = other.get(ids(seed)), encode(states(seed), dtype)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[0], codes)
        assert (found[1] is None) == (scales is None) == (dtype != "int8")
        if scales is not None:
            np.testing.assert_array_equal(found[1], expected[1])
    assert other.get(ids(9)) is None


def test_another_model_prefix_or_set_of_layers_finds_nothing(tmp_path):
    StateCache(tmp_path, MINE).put(ids(0), states(0))
    for other in (
        replace(MINE, prefix_ids=(1,)),
        replace(MINE, layers=(0, 1)),
        replace(MINE, probe=encode_probe(np.arange(32))),
    ):
        assert StateCache(tmp_path, other).get(ids(0)) is None


@pytest.mark.parametrize("dtype", ["int8", "fp32"])
def test_wrong_codes_are_not_believed(tmp_path, dtype):
    cache = StateCache(tmp_path, replace(MINE, dtype=dtype))
    kept = cache.put(ids(0), states(0))
    (path,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(path) as file:
        file.execute("UPDATE entries SET value = zeroblob(length(value))")
    file.close()
    with pytest.warns(CacheWarning, match="holds values that are not as they were kept; they are computed anew"):
        assert cache.get(ids(0)) is None
    cache.put(ids(0), states(0))
    np.testing.assert_array_equal(cache.get(ids(0))[0], kept[0])


def test_where_nothing_can_be_kept_states_are_rounded_as_those_that_are(tmp_path):
    kept = StateCache(tmp_path / "folder", MINE).put(ids(0), states(0))
    (tmp_path / "file").write_text("")
    with pytest.warns(CacheWarning, match="file cannot be used as a cache .File exists"):
        cache = StateCache(tmp_path / "file", MINE)
    for one, other in zip(cache.put(ids(0), states(0)), kept, strict=True):
        np.testing.assert_array_equal(one, other)
    assert cache.get(ids(0)) is None
