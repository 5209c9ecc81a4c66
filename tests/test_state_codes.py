"""Codes of states: what they stand for is what was stored, within half a step; the rotation of int4 keeps products and spreads outliers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import hadamard

from memgpt_rag.choices import STATES_TYPES
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.fingerprint import StatesFingerprint, encode_probe
from memgpt_rag.state_codes import _rotated, decode, encode, rounding_center


def vectors(rng, *shape: int) -> np.ndarray:
    """With a number that is a hundred times as large as the others, as keys of real models have."""
    made = rng.normal(size=shape).astype(np.float32)
    made[..., 5] *= 100
    return made


@pytest.mark.parametrize("length", [2, 8, 64, 80, 96, 256])
def test_a_rotation_is_the_product_with_a_hadamard_matrix_and_its_own_inverse(rng, length):
    some, block = vectors(rng, 3, 2, max(length, 6))[..., :length], length & -length
    matrix = hadamard(block) / np.sqrt(block)
    expected = (some.reshape(3, 2, -1, block) @ matrix).reshape(some.shape)
    np.testing.assert_allclose(_rotated(some), expected, atol=1e-4)
    np.testing.assert_allclose(_rotated(_rotated(some)), some, atol=1e-4)


def test_int4_loses_a_hundredth_where_rounding_without_a_rotation_loses_a_tenth(rng):
    keys, queries = vectors(rng, 500, 256), rng.normal(size=(20, 256)).astype(np.float32)
    decoded = decode(*encode(keys, "int4"))
    largest = np.abs(keys).max(axis=-1, keepdims=True)
    plain = np.rint(keys / largest * 7) * largest / 7

    def loss(rounded: np.ndarray) -> float:
        """Of the products that attention takes, apart from what the outlier gives to all of them alike."""
        rest = np.delete(keys - rounded, 5, axis=-1)
        return float(np.square(np.delete(queries, 5, axis=-1) @ rest.T).mean())

    assert loss(decoded) < 0.5 * loss(plain)
    assert np.square(decoded - keys).sum() < 0.02 * np.square(keys).sum()


def test_int4_uses_two_codes_a_byte_and_keeps_zeros():
    some = np.zeros((2, 8), dtype=np.float32)
    some[1] = 3.0
    codes, scales = encode(some, "int4")
    assert codes.dtype == np.uint8 and codes.shape == (2, 4)
    np.testing.assert_allclose(decode(codes, scales), some, atol=0.01)


@pytest.mark.parametrize("dtype", STATES_TYPES)
def test_what_is_subtracted_first_is_added_again(rng, dtype):
    """A number that is large in all tokens, as in keys of real models, then costs nothing."""
    states = rng.normal(size=(50, 2, 2, 1, 64)).astype(np.float32)
    states[..., 5] += 100
    center = states.mean(axis=0)

    def loss(center: np.ndarray | None) -> float:
        return float(np.square(decode(*encode(states, dtype, center), center) - states).mean())

    assert loss(center) <= {"int8": 1e-3, "int4": 0.02, "fp16": 1e-6, "bf16": 1e-4, "fp32": 1e-9}[dtype]
    if dtype not in ("fp16", "fp32"):
        assert loss(center) < loss(None) / 10


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_the_largest_magnitude_never_overflows(rng, dtype):
    some = vectors(rng, 1000, 64) * np.exp(rng.normal(size=(1000, 1)) * 2)
    error = np.abs(decode(*encode(some, dtype)) - some).max(axis=-1)
    assert (error <= np.linalg.norm(some, axis=-1) / 4).all()


def test_a_fingerprint_keeps_what_is_subtracted_and_one_of_another_size_is_refused(rng):
    center = rng.normal(size=(2, 2, 1, 4)).astype(np.float16)
    kept = StatesFingerprint("tiny", (0, 3), 1, 4, "int4", (1,), (5, 6), "ADwAPA==", center=encode_probe(center))
    read = StatesFingerprint.from_json(json.loads(json.dumps(kept.to_json())))
    np.testing.assert_array_equal(rounding_center(read), center)
    assert rounding_center(replace(kept, center="")) is None
    with pytest.raises(MemoryFormatError, match="states have missing, unknown or impossible fields: center"):
        StatesFingerprint.from_json(json.loads(json.dumps(replace(kept, layers=(0,)).to_json())))
