"""What must match between the encoder that wrote a memory's keys and the encoder that asks: numbers, not only names.

Two folders of one model have different names and equal vectors; one name can hide another prompt or other weights. So
the fingerprint keeps the vectors of two fixed probe texts, and two encoders match when their probe vectors do.
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from memgpt_rag.errors import MemoryFormatError, MismatchError

PROBE_QUERY = "Where does the river meet the sea? 河流在哪里入海？"
PROBE_PASSAGE = "The river meets the sea at the old harbour. 河流在旧港口入海。"

# Cosine between probe vectors of one model in different precisions was above .999, between "query: " and "passage: "
# before the same text below .97.
SAME_PROBE = 0.99


@dataclass(frozen=True)
class EncoderFingerprint:
    """Identity of an embedding model together with the way in which it is used.

    Attributes:
        name: name or folder that loads the encoder.
        dimension: numbers per vector.
        normalised: whether its vectors have unit length.
        query_prompt: text that it puts before a query.
        passage_prompt: text that it puts before a passage.
        max_tokens: longest text that it reads, in its own tokens; 0 where it has no limit.
        score_contrast: how much higher a question scores with its own passage than with others', the unit in which
            retrieval scores of this encoder are counted.
        query_probe, passage_probe: base64 of little-endian float16 vectors of the probe texts.
    """

    name: str
    dimension: int
    normalised: bool
    query_prompt: str
    passage_prompt: str
    max_tokens: int
    score_contrast: float
    query_probe: str
    passage_probe: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> EncoderFingerprint:
        """Raises MemoryFormatError where a field is missing, unknown or of the wrong type."""
        kinds = {"str": str, "int": int, "bool": bool, "float": float}
        wanted = {name: kinds[str(kind)] for name, kind in cls.__annotations__.items()}
        wrong = [name for name, kind in wanted.items() if type(fields.get(name)) is not kind]
        wrong += sorted(set(fields) - set(wanted))
        if wrong:
            raise MemoryFormatError(
                f"The manifest's encoder has missing, unknown or ill-typed fields: {', '.join(wrong)}."
            )
        return cls(**fields)

    def require_match(self, asking: EncoderFingerprint) -> None:
        """Check that vectors of the `asking` encoder can be compared with keys of this one.

        Raises:
            MismatchError: they cannot; the message names both and what differs.
        """
        differs: list[str] = []
        if self.dimension != asking.dimension:
            differs.append(f"dimension {self.dimension} against {asking.dimension}")
        if self.normalised != asking.normalised:
            words = {True: "unit-length vectors", False: "vectors of any length"}
            differs.append(f"{words[self.normalised]} against {words[asking.normalised]}")
        for which in ("query_prompt", "passage_prompt"):
            mine, theirs = getattr(self, which), getattr(asking, which)
            if mine != theirs:
                differs.append(f"{which.replace('_', ' ')} {mine!r} against {theirs!r}")
        if not differs:
            agreement = min(
                _cosine(self.query_probe, asking.query_probe), _cosine(self.passage_probe, asking.passage_probe)
            )
            if not agreement >= SAME_PROBE:
                differs.append(f"the same text gives other vectors (cosine {agreement:.3f})")
        if differs:
            raise MismatchError(
                f"This memory was embedded with {self.name!r} and is asked with {asking.name!r}: {'; '.join(differs)}. "
                "Ask with the encoder that embedded it, or build the memory again."
            )


def encode_probe(vector: Float[np.ndarray, " dimension"]) -> str:
    return base64.b64encode(vector.astype("<f2").tobytes()).decode("ascii")


def _cosine(one: str, other: str) -> float:
    first, second = (np.frombuffer(base64.b64decode(probe), dtype="<f2").astype(np.float32) for probe in (one, other))
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
