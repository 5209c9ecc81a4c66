"""Codes of states: how the keys and values of tokens are rounded to be stored, and what the codes stand for.

`int8` and `int4` keep one scale per token and head. In `int4`, the mean of a few passages' states is subtracted first, which is most of
what is large in them. Then values are rotated by a Hadamard matrix, after which no number stands out (QuaRot, Ashkboos et al. 2024,
§4), and rounded to 16 levels. Numbers of keys differ in their spread by the same factors for all tokens, so that each is counted in
its own spread, and bits go where they save most ("reverse water-filling", Cover and Thomas 2006, §10.3.3): 8 to the widest numbers of a
key, 2 to twice as many of the narrowest, 4 to the others. A key that loses more by this, as one far behind the positions where the
spread was taken may, is rotated as values are, which a scale below 0 says. Levels lose least for numbers that are normally
distributed (Max 1960, table I).

Earlier releases rotated all keys, too, and rounded to 15 equal steps; such states stay readable. numpy has no bf16; such codes are
uint16.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8, Shaped, UInt8

from memgpt_rag.choices import StatesType
from memgpt_rag.fingerprint import StatesFingerprint

# Of the largest magnitude of a vector, what 7 of 7 steps reach: the best is chosen, since few numbers lie beyond the smaller ones.
_REACHES = (1.0, 0.9, 0.8, 0.7, 0.6)
_CODE_TYPES: dict[StatesType, str] = {"int4": "<u1", "int8": "<i1", "fp16": "<f2", "bf16": "<u2", "fp32": "<f4"}
SCALED: tuple[StatesType, ...] = ("int4", "int8")


def _both_signs(*positive: float) -> Float[np.ndarray, " levels"]:
    return np.array([*(-level for level in reversed(positive)), *positive], np.float32)


# Levels of 2 and of 4 bits, and those of 8: equal steps, since a number may lie far outside of its usual spread.
_LEVELS = {
    2: _both_signs(0.4528, 1.510),
    4: _both_signs(0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733),
    8: (np.arange(256, dtype=np.float32) - 127.5) * np.float32(6 / 127),
}
# Mean squared error of a normally distributed number of variance 1.
_ERROR = {2: 0.1175, 4: 0.0095, 8: 0.0002}

Codes = tuple[Shaped[np.ndarray, "*heads code_dim"], Float[np.ndarray, "*heads"] | None]


def code_type(dtype: StatesType, head_dim: int) -> tuple[np.dtype, int]:
    """Return the type of codes, and how many of them a vector of `head_dim` numbers has; in int4, half as many, and `head_dim` is even."""
    return np.dtype(_CODE_TYPES[dtype]), head_dim // 2 if dtype == "int4" else head_dim


class KeyWidths(NamedTuple):
    """Bits of the numbers of one head's keys.

    Attributes:
        order: the numbers by their spread, widest first.
        places: where each number stands in this order.
        widest: how many of them have 8 bits; twice as many, at the end, have 2.
    """

    order: Int[np.ndarray, " head_dim"]
    places: Int[np.ndarray, " head_dim"]
    widest: int


@dataclass(frozen=True)
class Rounding:
    """What is known of states before they are rounded.

    Attributes:
        center: what is subtracted first.
        spread: of each number of keys, its standard deviation; None for states of earlier releases.
    """

    center: Float[np.ndarray, "layers 2 kv_heads head_dim"]
    spread: Float[np.ndarray, "layers kv_heads head_dim"] | None = None

    @cached_property
    def widths(self) -> dict[tuple[int, int], KeyWidths]:
        """Return the bits of keys by layer and head."""
        assert self.spread is not None, "states of earlier releases have 4 bits a number"
        return {place: key_widths(self.spread[place]) for place in np.ndindex(*self.spread.shape[:2])}

    @cached_property
    def units(self) -> Float[np.ndarray, "layers kv_heads head_dim"]:
        """Return what numbers of keys are counted in: their spread, or little where that is next to nothing."""
        assert self.spread is not None, "keys of earlier releases are counted as they are"
        least = self.spread.max(axis=-1, keepdims=True) / 1000
        units: np.ndarray = np.maximum(self.spread, np.where(least > 0, least, 1)).astype(np.float32)
        return units


def key_widths(spread: Float[np.ndarray, " head_dim"]) -> KeyWidths:
    """Return the bits that lose least; 4 a number on average. The same numbers give the same bits on any machine."""
    order = np.argsort(-spread, kind="stable")
    variance = np.square(spread[order].astype(np.float64))
    count = len(spread) // 6 * 2  # even, so that codes fill whole bytes
    saved = variance[:count].reshape(-1, 2) * (_ERROR[4] - _ERROR[8])
    lost = variance[::-1][: 2 * count].reshape(-1, 4) * (_ERROR[2] - _ERROR[4])
    gained = saved.sum(axis=1) > lost.sum(axis=1)
    return KeyWidths(order, np.argsort(order), 2 * int(gained.sum()))


@lru_cache(maxsize=4)  # a memory's is asked for with every question
def stored_rounding(fingerprint: StatesFingerprint) -> Rounding | None:
    """Return how states of this fingerprint are rounded beyond their type; None for as they are."""
    if not fingerprint.center:
        return None
    shape = len(fingerprint.layers), 2, fingerprint.kv_heads, fingerprint.head_dim
    center = _numbers(fingerprint.center).reshape(shape)
    return Rounding(center, _numbers(fingerprint.spread).reshape(center[:, 0].shape) if fingerprint.spread else None)


def _numbers(text: str) -> Float[np.ndarray, " numbers"]:
    return np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float32)


def encode(
    states: Float[np.ndarray, "*heads head_dim"],
    dtype: StatesType,
    rounding: Rounding | None = None,
) -> Codes:
    """Encode states into codes and, for int8 and int4, a scale for each head.

    Args:
        states: where `rounding` knows the spread of keys, of shape [tokens, layers, 2, kv_heads, head_dim].
        rounding: what is known of them; None for nothing.

    Raises:
        ValueError: the states are not finite.
    """
    states = np.ascontiguousarray(states, dtype=np.float32)
    if not np.isfinite(states).all():
        raise ValueError("The states of an entry hold NaN or infinity; the language model failed on it.")
    if rounding is not None:
        states = states - rounding.center
    if dtype == "int8":
        # Rounded up to the next fp16 number, so that the largest magnitude never needs the code 128.
        scales = np.nextafter((np.abs(states).max(axis=-1) / 127).astype(np.float16), np.float16(np.inf))
        return np.rint(states / scales[..., None].astype(np.float32)).astype(np.int8), scales
    if dtype == "int4" and rounding is not None and rounding.spread is not None:
        return _encode_levels(states, rounding)
    if dtype == "int4":
        codes, scales = _four_bits(_rotated(states))
        return _packed(codes), scales
    if dtype == "bf16":
        bits = states.view(np.uint32)
        nearest_even = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return ((bits + nearest_even) >> np.uint32(16)).astype(np.uint16), None
    return states.astype(_CODE_TYPES[dtype]), None


def decode(
    codes: Shaped[np.ndarray, "*heads code_dim"],
    scales: Float[np.ndarray, "*heads"] | None,
    rounding: Rounding | None = None,
) -> Float[np.ndarray, "*heads head_dim"]:
    """Decode codes and scales, encoded with the same `rounding`, into states in fp32."""
    if codes.dtype == np.uint8 and scales is not None:
        states = _decode_four_bits(codes, scales, rounding)
    else:
        is_bf16 = codes.dtype == np.uint16
        states = (codes.astype(np.uint32) << np.uint32(16)).view(np.float32) if is_bf16 else codes.astype(np.float32)
        states = states if scales is None else states * scales[..., None].astype(np.float32)
    return states if rounding is None else states + rounding.center


def are_finite(codes: Shaped[np.ndarray, "*heads code_dim"], scales: Float[np.ndarray, "*heads"] | None) -> bool:
    """Whether codes stand for numbers, and not for NaN or infinity."""
    numbers = codes if scales is None else scales
    if numbers.dtype == np.uint16:  # bf16: all bits of the exponent are set
        return not bool(((numbers & 0x7F80) == 0x7F80).any())
    return bool(np.isfinite(numbers).all())


def _four_bits(
    vectors: Float[np.ndarray, "*heads head_dim"],
) -> tuple[Int8[np.ndarray, "*heads head_dim"], Float[np.ndarray, "*heads"]]:
    """Round vectors to −7 … 7 steps; of a few scales for each, the one that loses least is chosen."""
    largest = np.abs(vectors).max(axis=-1)
    codes, scales = np.zeros(vectors.shape, np.int8), np.zeros(largest.shape, np.float16)
    least = np.full(largest.shape, np.inf, np.float32)
    for reach in _REACHES:
        tried = np.nextafter((largest * (reach / 7)).astype(np.float16), np.float16(np.inf))
        steps = tried[..., None].astype(np.float32)
        rounded = np.clip(np.rint(vectors / steps), -7, 7).astype(np.int8)
        loss = np.square(rounded * steps - vectors).sum(axis=-1)
        better = loss < least
        codes[better], scales[better], least[better] = rounded[better], tried[better], loss[better]
    return codes, scales


def _decode_four_bits(
    codes: UInt8[np.ndarray, "*heads code_dim"], scales: Float[np.ndarray, "*heads"], rounding: Rounding | None
) -> Float[np.ndarray, "*heads head_dim"]:
    sizes = np.abs(scales[..., None].astype(np.float32))
    if rounding is None or rounding.spread is None:
        return _rotated(_unpacked(codes) * sizes)
    values = _rotated(_levels(codes[:, :, 1], 4) * sizes[:, :, 1])
    keys = _spread_levels(codes[:, :, 0], rounding) * (rounding.units * sizes[:, :, 0])
    if (turned := scales[:, :, 0] < 0).any():
        keys[turned] = _rotated(_levels(codes[:, :, 0][turned], 4) * sizes[:, :, 0][turned])
    return np.stack([keys, values], axis=2)


def _encode_levels(states: Float[np.ndarray, "tokens layers 2 kv_heads head_dim"], rounding: Rounding) -> Codes:
    """Encode values, and keys in the form that loses less: rotated as values, which a negative scale says, or in their spread."""
    rotated = _rotated(np.ascontiguousarray(states))
    rotated_codes = _nearest(_scaled(rotated), 4)
    codes, scales, lost = _joined(rotated_codes, 2), *_best_scales(rotated, _LEVELS[4][rotated_codes])
    own_codes = _spread_codes(states[:, :, 0] / rounding.units, rounding)
    levels = _spread_levels(own_codes, rounding) * rounding.units
    own_scales, own_lost = _best_scales(states[:, :, 0], levels)
    is_less = own_lost < lost[:, :, 0]
    codes[:, :, 0][is_less] = own_codes[is_less]
    scales[:, :, 0] = np.where(is_less, own_scales, -scales[:, :, 0])
    return codes, scales


def _spread_codes(
    keys: Float[np.ndarray, "tokens layers kv_heads head_dim"], rounding: Rounding
) -> UInt8[np.ndarray, "tokens layers kv_heads code_dim"]:
    """Return the codes of keys that are counted in their spread."""
    codes, scaled = np.empty((*keys.shape[:-1], keys.shape[-1] // 2), np.uint8), _scaled(keys)
    for (layer, head), widths in rounding.widths.items():
        own, ends = scaled[:, layer, head][:, widths.order], (widths.widest, keys.shape[-1] - 2 * widths.widest)
        parts = _nearest(own[:, : ends[0]], 8), _nearest(own[:, ends[0] : ends[1]], 4), _nearest(own[:, ends[1] :], 2)
        codes[:, layer, head] = np.concatenate([parts[0], _joined(parts[1], 2), _joined(parts[2], 4)], axis=-1)
    return codes


def _spread_levels(
    codes: UInt8[np.ndarray, "tokens layers kv_heads code_dim"], rounding: Rounding
) -> Float[np.ndarray, "tokens layers kv_heads head_dim"]:
    """Return the levels of keys that are counted in their spread."""
    levels = np.empty((*codes.shape[:-1], codes.shape[-1] * 2), np.float32)
    for (layer, head), widths in rounding.widths.items():
        own, ends = codes[:, layer, head], (widths.widest, codes.shape[-1] - widths.widest // 2)
        parts = (own[:, : ends[0]], 8), (own[:, ends[0] : ends[1]], 4), (own[:, ends[1] :], 2)
        ordered = np.concatenate([_levels(part, bits) for part, bits in parts], axis=-1)
        levels[:, layer, head] = np.take(ordered, widths.places, axis=1)
    return levels


def _scaled(numbers: Float[np.ndarray, "*heads head_dim"]) -> Float[np.ndarray, "*heads head_dim"]:
    """Return vectors whose numbers have a mean square of 1."""
    scaled: np.ndarray = numbers / (np.sqrt(np.square(numbers).mean(axis=-1, keepdims=True)) + np.float32(1e-9))
    return scaled


def _best_scales(
    numbers: Float[np.ndarray, "*heads head_dim"], levels: Float[np.ndarray, "*heads head_dim"]
) -> tuple[Float[np.ndarray, "*heads"], Float[np.ndarray, "*heads"]]:
    """Return the scale of each vector's levels that loses least, and the squared error that remains."""
    best = (levels * numbers).sum(axis=-1) / np.maximum(np.square(levels).sum(axis=-1), np.float32(1e-30))
    scales = np.minimum(best, np.finfo(np.float16).max).astype(np.float16)
    return scales, np.square(levels * scales[..., None].astype(np.float32) - numbers).sum(axis=-1)


def _nearest(numbers: Float[np.ndarray, "*heads n"], bits: int) -> UInt8[np.ndarray, "*heads n"]:
    levels = _LEVELS[bits]
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, numbers).astype(np.uint8)


def _joined(codes: UInt8[np.ndarray, "*heads n"], parts: int) -> UInt8[np.ndarray, "*heads bytes"]:
    """Put so many codes into a byte: those of the first part of a vector into the lowest bits."""
    joined = np.zeros((*codes.shape[:-1], codes.shape[-1] // parts), np.uint8)
    for number, part in enumerate(np.split(codes, parts, axis=-1)):
        joined |= part << np.uint8(number * 8 // parts)
    return joined


@cache
def _byte_levels(bits: int) -> list[Float[np.ndarray, " 256"]]:
    """Return what each byte stands for in each of its parts, lowest bits first."""
    every = np.arange(256)
    return [_LEVELS[bits][every >> shift & (2**bits - 1)] for shift in range(0, 8, bits)]


def _levels(codes: UInt8[np.ndarray, "*heads bytes"], bits: int) -> Float[np.ndarray, "*heads n"]:
    return np.concatenate([table[codes] for table in _byte_levels(bits)], axis=-1)


def _nibbles(codes: UInt8[np.ndarray, "*heads bytes"]) -> UInt8[np.ndarray, "*heads n"]:
    return np.concatenate([codes & np.uint8(15), codes >> np.uint8(4)], axis=-1)


def _packed(codes: Int8[np.ndarray, "*heads head_dim"]) -> UInt8[np.ndarray, "*heads half_dim"]:
    return _joined((codes + np.int8(8)).astype(np.uint8), 2)


def _unpacked(codes: UInt8[np.ndarray, "*heads half_dim"]) -> Int8[np.ndarray, "*heads head_dim"]:
    return _nibbles(codes).astype(np.int8) - np.int8(8)


def _rotated(vectors: Float[np.ndarray, "*heads head_dim"]) -> Float[np.ndarray, "*heads head_dim"]:
    """Multiply each vector, in blocks of the largest power of two that divides its length, by an orthonormal Hadamard matrix.

    The matrix is the Kronecker product of two small ones, which takes a fraction of the multiplications.
    """
    length = vectors.shape[-1]
    exponent = (length & -length).bit_length() - 1
    left, right = _hadamard(exponent // 2), _hadamard(exponent - exponent // 2)
    blocks = vectors.reshape(-1, len(left), len(right)) @ right
    return np.ascontiguousarray((blocks.swapaxes(1, 2) @ left).swapaxes(1, 2)).reshape(vectors.shape)


@cache
def _hadamard(exponent: int) -> Float[np.ndarray, "n n"]:
    """Return Sylvester's matrix of 2^exponent rows, orthonormal and symmetric."""
    matrix = np.ones((1, 1), np.float32)
    for _ in range(exponent):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.float32(2 ** (exponent / 2))
