"""Codes of states: how the keys and values of tokens are rounded to be stored, and what the codes stand for.

`int8` and `int4` keep one scale per token and head. Rounding to 4 bits costs vectors with outliers most, and keys of real models
have some, which are nearly the same for all tokens. So in `int4` the mean of a probe passage's states is subtracted first, and the
rest rotated by a Hadamard matrix, after which no number stands out (QuaRot, Ashkboos et al. 2024, §4). The rotation is its own
inverse. numpy has no bf16; such codes are uint16.
"""

from __future__ import annotations

import base64
from functools import cache

import numpy as np
from jaxtyping import Float, Int8, Shaped, UInt8

from memgpt_rag.choices import StatesType
from memgpt_rag.fingerprint import StatesFingerprint

# Of the largest magnitude of a vector, what 7 of 7 steps reach: the best is chosen, since few numbers lie beyond the smaller ones.
_REACHES = (1.0, 0.9, 0.8, 0.7, 0.6)
_CODE_TYPES: dict[StatesType, str] = {"int4": "<u1", "int8": "<i1", "fp16": "<f2", "bf16": "<u2", "fp32": "<f4"}
SCALED: tuple[StatesType, ...] = ("int4", "int8")

Codes = tuple[Shaped[np.ndarray, "*heads code_dim"], Float[np.ndarray, "*heads"] | None]


def code_type(dtype: StatesType, head_dim: int) -> tuple[np.dtype, int]:
    """Return the type of codes, and how many of them a vector of `head_dim` numbers has; in int4, one holds two numbers, and `head_dim` is even."""
    return np.dtype(_CODE_TYPES[dtype]), head_dim // 2 if dtype == "int4" else head_dim


def rounding_center(fingerprint: StatesFingerprint) -> Float[np.ndarray, "layers 2 kv_heads head_dim"] | None:
    """Return what is subtracted from states of this fingerprint before they are rounded; None for nothing."""
    if not fingerprint.center:
        return None
    numbers = np.frombuffer(base64.b64decode(fingerprint.center), dtype="<f2").astype(np.float32)
    return numbers.reshape(len(fingerprint.layers), 2, fingerprint.kv_heads, fingerprint.head_dim)


def encode(
    states: Float[np.ndarray, "*heads head_dim"],
    dtype: StatesType,
    center: Float[np.ndarray, "layers 2 kv_heads head_dim"] | None = None,
) -> Codes:
    """Encode states into codes and, for int8 and int4, a scale for each head.

    Args:
        center: is subtracted first; None for nothing.

    Raises:
        ValueError: the states are not finite.
    """
    states = np.ascontiguousarray(states, dtype=np.float32)
    if not np.isfinite(states).all():
        raise ValueError("The states of an entry hold NaN or infinity; the language model failed on it.")
    if center is not None:
        states = states - center
    if dtype == "int8":
        # Rounded up to the next fp16 number, so that the largest magnitude never needs the code 128.
        scales = np.nextafter((np.abs(states).max(axis=-1) / 127).astype(np.float16), np.float16(np.inf))
        return np.rint(states / scales[..., None].astype(np.float32)).astype(np.int8), scales
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
    center: Float[np.ndarray, "layers 2 kv_heads head_dim"] | None = None,
) -> Float[np.ndarray, "*heads head_dim"]:
    """Decode codes and scales, encoded with the same center, into states in fp32."""
    if codes.dtype == np.uint16:
        states = (codes.astype(np.uint32) << np.uint32(16)).view(np.float32)
    else:
        states = (_unpacked(codes) if codes.dtype == np.uint8 else codes).astype(np.float32)
    if scales is not None:
        states = states * scales[..., None].astype(np.float32)
    if codes.dtype == np.uint8:
        states = _rotated(states)
    return states if center is None else states + center


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


def _packed(codes: Int8[np.ndarray, "*heads head_dim"]) -> UInt8[np.ndarray, "*heads half_dim"]:
    """Put two codes into a byte: those of the first half of a vector into the low bits."""
    low, high = np.split((codes + np.int8(8)).astype(np.uint8), 2, axis=-1)
    return low | (high << np.uint8(4))


def _unpacked(codes: UInt8[np.ndarray, "*heads half_dim"]) -> Int8[np.ndarray, "*heads head_dim"]:
    return np.concatenate([codes & np.uint8(15), codes >> np.uint8(4)], axis=-1).astype(np.int8) - np.int8(8)


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
