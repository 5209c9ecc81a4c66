"""What must match between the model that wrote a part of a memory and the model that reads it: numbers, not only names.

Two folders of one model have different names and equal vectors; one name can hide another prompt or other weights. So
a fingerprint keeps what the model makes of fixed probe texts, and two models match when these vectors do. Keys carry the
fingerprint of an encoder, sparse vectors that of a sparse encoder, states that of a language model.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from memgpt_rag.errors import MemoryFormatError, MismatchError

PROBE_QUERY = "Where does the river meet the sea? 河流在哪里入海？"
PROBE_PASSAGE = "The river meets the sea at the old harbour. 河流在旧港口入海。"
PROBE_PIXELS = 32  # a side of the probe picture, whose pixel in row y and column x is (8 x, 8 y, 255 - 4 x - 4 y)

# The components of a sparse vector that are not 0, by their number.
SparseVector = Mapping[str, float]

# Cosine between states of one model in fp32 and bf16 was above .9999.
SAME_STATES = 0.999
# Cosine between probe vectors of one model in different precisions was above .999, but for int8 on ONNX Runtime, where it was
# .9886 on a processor without VNNI; between "query: " and "passage: " before the same text it was below .97.
SAME_PROBE = 0.98
# Length of the difference between the probe vectors of a sparse encoder and those of another run of it, relative to theirs; as
# vectors whose cosine is SAME_PROBE.
SAME_SPARSE_PROBE = 0.2
MAX_DIMENSION = 2**16
_MAX_SPARSE_DIMENSION = 2**24
_MAX_LAYERS = 2**12
# Fields of states that a manifest leaves out where they are empty, as it was before there were such.
_MAY_BE_EMPTY = ("delimiters", "center", "spread")
# Of encoders that were measured, those with unit vectors have .1 to .6.
_LEAST_SCALE, _MOST_SCALE = 1e-4, 1e6
_ASK_AGAIN = "Ask with the encoder that embedded it, or build the memory again."
_USUAL = {"backend": "torch", "precision": "fp32", "picture_probe": ""}  # what files leave out
# Fields that have another name in the files of memories.
_NAMES_IN_FILES = {"normalized": "normalised", "score_scale": "score_contrast"}


@dataclass(frozen=True)
class EncoderFingerprint:
    """Identity of an embedding model together with the way in which it is used.

    Attributes:
        name: name or folder that loads the encoder.
        dimension: numbers per vector.
        normalized: whether its vectors have unit length.
        query_prompt: text that it puts before a query.
        passage_prompt: text that it puts before a passage.
        max_tokens: longest text that it reads, in its own tokens; 0 where it has no limit.
        score_scale: how much higher a question scores with its own passage than with others', the unit in which
            retrieval scores of this encoder are counted.
        query_probe, passage_probe: base64 of little-endian float16 vectors of the probe texts.
        backend, precision: what ran it and in which numbers, as in `memgpt_rag.encoders.backends`. Jobs keep to both; whoever
            asks need not, since vectors are what must match. Memories do not say "torch" and "fp32", which was all there was.
        picture_probe: where keys are of pictures, likewise the vector of the probe picture; else empty, and memories do not say it.
    """

    name: str
    dimension: int
    normalized: bool
    query_prompt: str
    passage_prompt: str
    max_tokens: int
    score_scale: float
    query_probe: str
    passage_probe: str
    backend: str = "torch"
    precision: str = "fp32"
    picture_probe: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a manifest holds them."""
        return {
            _NAMES_IN_FILES.get(name, name): value for name, value in asdict(self).items() if _USUAL.get(name) != value
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> EncoderFingerprint:
        """Raises MemoryFormatError where a field is missing, unknown, of the wrong type, or a number that cannot be meant."""
        kinds = {"str": str, "int": int, "bool": bool, "float": float}
        wanted = {_NAMES_IN_FILES.get(name, name): kinds[str(kind)] for name, kind in cls.__annotations__.items()}
        given = {**_USUAL, **fields}
        wrong = [name for name, kind in wanted.items() if type(given.get(name)) is not kind]
        wrong += sorted(set(fields) - set(wanted))
        if not wrong:
            wrong = [
                *([] if 0 < given["dimension"] <= MAX_DIMENSION else ["dimension"]),
                *([] if given["max_tokens"] >= 0 else ["max_tokens"]),
                # Scores are divided by it: at 0, and where it is no number, every share of attention would be none either.
                *([] if is_score_scale(given["score_contrast"]) else ["score_contrast"]),
                *(name for name in ("query_probe", "passage_probe") if not _is_probe(given[name], given["dimension"])),
                *(
                    name
                    for name in ("picture_probe",)
                    if given[name] and not _is_probe(given[name], given["dimension"])
                ),
            ]
        if wrong:
            raise MemoryFormatError(
                f"The manifest's encoder has missing, unknown or impossible fields: {', '.join(wrong)}."
            )
        names = {in_file: name for name, in_file in _NAMES_IN_FILES.items()}
        return cls(**{names.get(name, name): value for name, value in fields.items()})

    def require_match(self, other: EncoderFingerprint, doing: str = "is asked", remedy: str = _ASK_AGAIN) -> None:
        """Check that vectors of another encoder can be compared with keys of this one.

        Args:
            doing: what the other encoder does with the memory, for the message.
            remedy: what the user can do.

        Raises:
            MismatchError: they cannot; the message names both and what differs.
        """
        if differs := self._differences(other):
            raise MismatchError(
                f"This memory was embedded with {self.name!r} and {doing} with {other.name!r}: {'; '.join(differs)}. {remedy}"
            )

    def _differences(self, other: EncoderFingerprint) -> list[str]:
        differs: list[str] = []
        if self.dimension != other.dimension:
            differs.append(f"dimension {self.dimension} against {other.dimension}")
        if self.normalized != other.normalized:
            words = {True: "unit-length vectors", False: "vectors of any length"}
            differs.append(f"{words[self.normalized]} against {words[other.normalized]}")
        for which in ("query_prompt", "passage_prompt"):
            mine, theirs = getattr(self, which), getattr(other, which)
            if mine != theirs:
                differs.append(f"{which.replace('_', ' ')} {mine!r} against {theirs!r}")
        if self.picture_probe and not other.picture_probe:
            differs.append("keys of pictures against keys of texts")
        for probe, what in (("query_probe", "text"), ("passage_probe", "text"), ("picture_probe", "picture")):
            mine, theirs = getattr(self, probe), getattr(other, probe)
            if not differs and mine and not (agreement := _cosine(mine, theirs)) >= SAME_PROBE:
                differs.append(f"the same {what} gives other vectors (cosine {agreement:.3f})")
        return differs


@dataclass(frozen=True)
class SparseFingerprint:
    """Identity of a sparse encoder.

    Attributes:
        name: name or folder that loads it.
        dimension: components per vector, most of which are 0.
        max_tokens: longest text that it reads, in its own tokens; 0 where it has no limit.
        score_scale: as of `EncoderFingerprint`.
        query_probe, passage_probe: sparse vectors of the probe texts.
    """

    name: str
    dimension: int
    max_tokens: int
    score_scale: float
    query_probe: dict[str, float]
    passage_probe: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a manifest holds them."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> SparseFingerprint:
        """Raises MemoryFormatError where a field is missing, unknown, of the wrong type, or a number that cannot be meant."""
        fits = {
            "name": lambda name: isinstance(name, str),
            "dimension": lambda number: type(number) is int and 0 < number <= _MAX_SPARSE_DIMENSION,
            "max_tokens": lambda number: type(number) is int and number >= 0,
            "score_scale": lambda number: type(number) is float and is_score_scale(number),
            "query_probe": _is_sparse_vector,
            "passage_probe": _is_sparse_vector,
        }
        wrong = sorted(set(fields) ^ set(fits)) or [name for name, fit in fits.items() if not fit(fields[name])]
        if wrong:
            raise MemoryFormatError(
                f"The manifest's sparse encoder has missing, unknown or impossible fields: {', '.join(wrong)}."
            )
        return cls(**fields)

    def require_match(self, other: SparseFingerprint) -> None:
        """Check that the vectors of another sparse encoder can be compared with those of this one.

        Raises:
            MismatchError: they cannot; the message names both and what differs.
        """
        differs = "" if self.dimension == other.dimension else f"dimension {self.dimension} against {other.dimension}"
        for mine, theirs in ((self.query_probe, other.query_probe), (self.passage_probe, other.passage_probe)):
            if not differs and not (difference := _sparse_difference(mine, theirs)) <= SAME_SPARSE_PROBE:
                differs = f"the same text gives other weights (they differ by {difference:.0%})"
        if differs:
            raise MismatchError(
                f"The sparse vectors of this memory were computed by {self.name!r} and are searched with {other.name!r}: {differs}. "
                f"Search with the sparse encoder that computed them, or compute them again with: memgpt-index sparse"
            )


@dataclass(frozen=True)
class StatesFingerprint:
    """Identity of the language model that computed states, of how it was used, and of how they are stored.

    Attributes:
        model: name or folder that loads it.
        layers: layers whose states are stored, in ascending order.
        kv_heads, head_dim: size of one token's keys in one layer.
        dtype: one of `memgpt_rag.choices.STATES_TYPES`.
        prefix_ids: the tokens after which every entry was read, which also fix the entry's positions.
        probe_ids: the probe passage in tokens.
        probe: base64 of little-endian float16: keys and values of the probe's last token in the last of the layers.
        delimiters: digest of the trained vectors behind the prefix and every entry; empty without such.
        center: base64 of little-endian float16: what is subtracted from states before they are rounded, the mean of some passages'
            states in all layers; empty for nothing.
        spread: base64 of little-endian float16: the standard deviation of each number of these passages' keys; empty where states are
            rounded without it.
    """

    model: str
    layers: tuple[int, ...]
    kv_heads: int
    head_dim: int
    dtype: str
    prefix_ids: tuple[int, ...]
    probe_ids: tuple[int, ...]
    probe: str
    delimiters: str = ""
    center: str = ""
    spread: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a manifest holds them; what is empty is left out, as earlier releases did."""
        return {name: value for name, value in asdict(self).items() if name not in _MAY_BE_EMPTY or value}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> StatesFingerprint:
        """Raises MemoryFormatError where a field is missing, unknown, of the wrong type, or a number that cannot be meant."""
        fields = {**dict.fromkeys(_MAY_BE_EMPTY, ""), **fields}
        wrong = sorted(set(fields) ^ set(cls.__annotations__))
        for name, kind in cls.__annotations__.items():
            value = fields.get(name)
            fits = {"str": isinstance(value, str), "int": type(value) is int and value > 0}
            is_ids = isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)
            wrong += [] if name in wrong or fits.get(str(kind), is_ids) else [name]
        if not wrong:
            wrong = [
                *([] if fields["kv_heads"] * fields["head_dim"] <= MAX_DIMENSION else ["kv_heads", "head_dim"]),
                *([] if 0 < len(fields["layers"]) == len(set(fields["layers"])) <= _MAX_LAYERS else ["layers"]),
                *([] if _is_probe(fields["probe"]) else ["probe"]),
                *([] if not fields["center"] or _is_probe(fields["center"], _state_size(fields)) else ["center"]),
                *([] if not fields["spread"] or _is_spread(fields) else ["spread"]),
            ]
        if wrong:
            raise MemoryFormatError(
                f"The manifest's states have missing, unknown or impossible fields: {', '.join(wrong)}."
            )
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        return cls(**values)

    def require_match(self, reading: StatesFingerprint) -> None:
        """Check that the `reading` language model would have computed these states.

        Raises:
            MismatchError: it would not; the message names both and what differs.
        """
        differs: list[str] = []
        missing = sorted(set(reading.layers) - set(self.layers))
        if missing:
            raise MismatchError(
                f"The states in this memory were computed for layers {_listed(self.layers)}, and {reading.model!r} is to attend "
                f"to {_listed(reading.layers)}; read with the preset that they were computed for, or compute the missing ones "
                "with: memgpt-index states --preset quality"
            )
        for which in ("kv_heads", "head_dim"):
            mine, theirs = getattr(self, which), getattr(reading, which)
            if mine != theirs:
                differs.append(f"{which} {mine} against {theirs}")
        if self.probe_ids != reading.probe_ids:
            differs.append("the same text gives other tokens")
        elif self.prefix_ids != reading.prefix_ids:
            differs.append(f"another prefix ({len(self.prefix_ids)} tokens against {len(reading.prefix_ids)})")
        if self.delimiters != reading.delimiters:
            kinds = [
                f"the delimiters {one}" if one else "no delimiters" for one in (self.delimiters, reading.delimiters)
            ]
            differs.append(f"another reader ({kinds[0]} against {kinds[1]})")
        if not differs and not (agreement := _cosine(self.probe, reading.probe)) >= SAME_STATES:
            differs.append(f"the same text gives other states (cosine {agreement:.4f})")
        if differs:
            raise MismatchError(
                f"The states in this memory were computed by {self.model!r} and are read by {reading.model!r}: "
                f"{'; '.join(differs)}. Read them with the model and the reader that computed them, or compute them again "
                "with: memgpt-index states"
            )


def _state_size(fields: dict[str, Any]) -> int:
    return len(fields["layers"]) * 2 * int(fields["kv_heads"]) * int(fields["head_dim"])


def _is_spread(fields: dict[str, Any]) -> bool:
    """Whether the spread is one of keys that a mean was subtracted from."""
    if fields["dtype"] != "int4" or not fields["center"] or not _is_probe(fields["spread"], _state_size(fields) // 2):
        return False
    return bool((np.frombuffer(base64.b64decode(fields["spread"]), dtype="<f2") >= 0).all())


def _listed(layers: tuple[int, ...]) -> str:
    return ", ".join(map(str, layers)) if len(layers) <= 6 else f"{layers[0]} to {layers[-1]} ({len(layers)} layers)"


def encode_probe(vector: Float[np.ndarray, " dimension"]) -> str:
    """Return a vector as base64 of little-endian float16, as a manifest holds it."""
    return base64.b64encode(vector.astype("<f2").tobytes()).decode("ascii")


def is_score_scale(value: float) -> bool:
    """Whether a mean difference of scores can be the unit in which scores are counted."""
    return _LEAST_SCALE <= value <= _MOST_SCALE  # of NaN, neither holds


def _is_probe(text: str, dimension: int | None = None) -> bool:
    """Whether a text is a vector that another one can be compared with."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    if not data or len(data) % 2 or len(data) // 2 != (dimension or len(data) // 2):
        return False
    vector = np.frombuffer(data, dtype="<f2").astype(np.float32)
    return bool(np.isfinite(vector).all() and vector.any())


def _is_sparse_vector(value: Any) -> bool:
    """Whether a value is a sparse vector that another one can be compared with."""
    return (
        isinstance(value, dict)
        and all(name.isdecimal() and type(weight) is float and math.isfinite(weight) for name, weight in value.items())
        and any(value.values())
    )


def _sparse_difference(one: SparseVector, other: SparseVector) -> float:
    """Return the length of the difference of two sparse vectors, relative to that of the first."""
    names = {*one, *other}
    return math.hypot(*(one.get(name, 0) - other.get(name, 0) for name in names)) / math.hypot(*one.values())


def _cosine(one: str, other: str) -> float:
    """Return the cosine of two probes; 0 where they have different lengths, as a damaged manifest may."""
    first, second = (np.frombuffer(base64.b64decode(probe), dtype="<f2").astype(np.float32) for probe in (one, other))
    if len(first) != len(second):
        return 0.0
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
