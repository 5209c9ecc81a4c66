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
from memgpt_rag.state_codes import _LEVELS, Rounding, _rotated, decode, encode, key_widths, stored_rounding


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
        rounding = None if center is None else Rounding(center)
        return float(np.square(decode(*encode(states, dtype, rounding), rounding) - states).mean())

    assert loss(center) <= {"int8": 1e-3, "int4": 0.02, "fp16": 1e-6, "bf16": 1e-4, "fp32": 1e-9}[dtype]
    if dtype not in ("fp16", "fp32"):
        assert loss(center) < loss(None) / 10


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_the_largest_magnitude_never_overflows(rng, dtype):
    some = vectors(rng, 1000, 64) * np.exp(rng.normal(size=(1000, 1)) * 2)
    error = np.abs(decode(*encode(some, dtype)) - some).max(axis=-1)
    assert (error <= np.linalg.norm(some, axis=-1) / 4).all()


def spread_states(rng, tokens=300, layers=2, heads=2, dim=32) -> tuple[np.ndarray, Rounding]:
    """States whose keys differ in spread by orders of magnitude, in every head otherwise, as those of real models do."""
    spread = np.exp(1.5 * rng.normal(size=(layers, heads, dim))).astype(np.float16).astype(np.float32)
    states = rng.normal(size=(tokens, layers, 2, heads, dim)).astype(np.float32)
    states[:, :, 0] *= spread
    center = 10 * rng.normal(size=states.shape[1:]).astype(np.float32)
    return states + center, Rounding(center, spread)


def test_keys_lose_a_third_of_what_they_lose_without_their_spread(rng):
    states, rounding = spread_states(rng)

    def losses(rounding: Rounding) -> np.ndarray:
        return np.square(decode(*encode(states, "int4", rounding), rounding) - states).mean(axis=(0, 1, 3, 4))

    (keys, values), (plain_keys, plain_values) = losses(rounding), losses(Rounding(rounding.center))
    assert keys < plain_keys / 3
    assert values < plain_values


def test_codes_of_keys_stand_for_what_each_of_their_bits_says(rng):
    """Read bit by bit, number by number."""
    states, rounding = spread_states(rng, tokens=5)
    codes, scales = encode(states, "int4", rounding)
    assert codes.shape == (5, 2, 2, 2, 16) and codes.dtype == np.uint8 and scales.dtype == np.float16
    decoded = decode(codes, scales, rounding)
    widths = {2: 0, 4: 0, 8: 0}
    for token, layer, head in np.ndindex(5, 2, 2):
        if scales[token, layer, 0, head] < 0:  # rotated as values are
            continue
        order, _, widest = rounding.widths[layer, head]
        data = int.from_bytes(codes[token, layer, 0, head].tobytes(), "little")
        runs = [(8, widest), (4, 32 - 3 * widest), (2, 2 * widest)]
        start, number = 0, 0
        for bits, count in runs:
            parts = 8 // bits
            for place in range(count):
                byte, part = place % max(count // parts, 1), place // max(count // parts, 1)
                level = _LEVELS[bits][data >> start + 8 * byte + bits * part & 2**bits - 1]
                at = layer, 0, head, order[number]
                unit = rounding.spread[layer, head, order[number]] * float(scales[token, layer, 0, head])
                assert decoded[token][at] == pytest.approx(level * unit + rounding.center[at], rel=1e-4, abs=1e-4)
                widths[bits] += 1
                number += 1
            start += bits * count
        assert number == 32 and start == 4 * 32
    assert min(widths.values()) > 0 and sum(widths.values()) > 10 * 32


def test_each_key_has_the_form_that_loses_less(rng):
    """Keys that differ in all numbers alike, as far behind the positions of the spread, are rotated; the others are counted in it."""
    states, rounding = spread_states(rng)
    states[150:, :, 0] = rounding.center[:, 0] + 10 * rng.normal(size=states[150:, :, 0].shape)
    codes, scales = encode(states, "int4", rounding)
    lost = np.square(decode(codes, scales, rounding) - states)[:, :, 0].sum(axis=-1)
    rotated = decode(*encode(states, "int4", Rounding(rounding.center)), Rounding(rounding.center))
    turned = scales[:, :, 0] < 0
    assert turned[150:].mean() > 0.9 and turned[:150].mean() < 0.1
    assert lost[150:].sum() < np.square(rotated - states)[150:, :, 0].sum()
    again = np.abs(scales)  # read as if every key were counted in its spread
    assert (np.square(decode(codes, again, rounding) - states)[:, :, 0].sum(axis=-1)[turned] > lost[turned]).all()


def test_bits_of_keys_lose_least(rng):
    """Against every way to give 8 bits to some, and 2 to twice as many."""
    error = {2: 0.1175, 4: 0.0095, 8: 0.0002}
    for spread in np.exp(rng.normal(size=(40, 24)) * rng.uniform(0.1, 3, size=(40, 1))):
        variance = np.sort(np.square(spread))[::-1]

        def loss(widest: int, variance: np.ndarray = variance) -> float:
            bits = np.repeat([8, 4, 2], [widest, 24 - 3 * widest, 2 * widest])
            return float(sum(one * error[int(width)] for one, width in zip(variance, bits, strict=True)))

        order, places, widest = key_widths(spread)
        assert loss(widest) <= min(loss(count) for count in range(0, 9, 2)) * (1 + 1e-9)
        np.testing.assert_array_equal(spread[order], np.sort(spread)[::-1])
        np.testing.assert_array_equal(spread[order][places], spread)


def test_numbers_that_never_differ_and_keys_of_zeros_keep_what_is_subtracted(rng):
    states, rounding = spread_states(rng, tokens=4)
    spread = rounding.spread.copy()
    spread[0, 0], spread[1, :, 3:9] = 0, 0
    states[:, 0, 0, 0], states[:, 1, 0, :, 3:9] = rounding.center[0, 0, 0], rounding.center[1, 0, :, 3:9]
    rounding = Rounding(rounding.center, spread)
    decoded = decode(*encode(states, "int4", rounding), rounding)
    np.testing.assert_allclose(decoded[:, 0, 0, 0], states[:, 0, 0, 0], atol=1e-5)
    np.testing.assert_allclose(decoded[:, 1, 0, :, 3:9], states[:, 1, 0, :, 3:9], atol=0.5)


def test_a_fingerprint_keeps_the_spread_of_keys_and_refuses_what_is_none(rng):
    center, spread = (rng.normal(size=(2, *size, 1, 4)).astype(np.float16) for size in ((2,), ()))
    kept = StatesFingerprint(
        "tiny",
        (0, 3),
        1,
        4,
        "int4",
        (1,),
        (5, 6),
        "ADwAPA==",
        center=encode_probe(center),
        spread=encode_probe(abs(spread)),
    )
    read = StatesFingerprint.from_json(json.loads(json.dumps(kept.to_json())))
    np.testing.assert_array_equal(stored_rounding(read).spread, abs(spread))
    for wrong in (
        {"spread": encode_probe(spread)},  # below 0
        {"spread": encode_probe(abs(spread)[:1])},
        {"dtype": "int8"},
        {"center": ""},
    ):
        with pytest.raises(MemoryFormatError, match="states have missing, unknown or impossible fields: spread"):
            StatesFingerprint.from_json(json.loads(json.dumps(replace(kept, **wrong).to_json())))


def test_a_fingerprint_keeps_what_is_subtracted_and_one_of_another_size_is_refused(rng):
    center = rng.normal(size=(2, 2, 1, 4)).astype(np.float16)
    kept = StatesFingerprint("tiny", (0, 3), 1, 4, "int4", (1,), (5, 6), "ADwAPA==", center=encode_probe(center))
    read = StatesFingerprint.from_json(json.loads(json.dumps(kept.to_json())))
    np.testing.assert_array_equal(stored_rounding(read).center, center)
    assert stored_rounding(read).spread is None  # as earlier releases wrote it
    assert stored_rounding(replace(kept, center="")) is None
    with pytest.raises(MemoryFormatError, match="states have missing, unknown or impossible fields: center"):
        StatesFingerprint.from_json(json.loads(json.dumps(replace(kept, layers=(0,)).to_json())))
