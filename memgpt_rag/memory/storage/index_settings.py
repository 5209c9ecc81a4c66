"""Which approximate index a segment has and how it is searched, as a manifest says it: read strictly, since FAISS would believe it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

IndexForm = Literal["hnsw", "ivf", "pq", "rabitq", "sq"]

_FACTORIES: dict[IndexForm, re.Pattern[str]] = {
    "hnsw": re.compile(r"HNSW(?P<size>[0-9]{1,3})(?P<flat>[_,]Flat)?(_SQ8)?"),
    "ivf": re.compile(r"IVF(?P<size>[0-9]{1,7}),(?P<flat>Flat)?(SQ8)?"),
    "pq": re.compile(r"PQ(?P<size>[0-9]{1,5})x4fs"),
    "rabitq": re.compile(r"RaBitQfs"),
    "sq": re.compile(r"SQ8"),
}
_PARAMETERS: dict[IndexForm, str] = {"hnsw": "efSearch", "ivf": "nprobe"}
MOST_EFFORT = 2**16
_MOST_CANDIDATES = 2**10


@dataclass(frozen=True)
class IndexSettings:
    """What an approximate index is, and how it is searched.

    Attributes:
        factory: its description in FAISS's own language: "HNSW32_SQ8", "HNSW32", "IVF512,SQ8", "IVF512,Flat", "PQ96x4fs", "RaBitQfs"
            or "SQ8".
        parameters: of the search, likewise, such as "efSearch=64" or "nprobe=16"; empty where there are none.
        candidates: how many rows it proposes for each one that is wanted; the best by their keys are kept.

    Raises:
        ValueError: an index that this release does not know, or numbers that no search can have.
    """

    factory: str
    parameters: str
    candidates: int

    def __post_init__(self) -> None:
        if self.form not in _PARAMETERS:
            if self.parameters:
                raise ValueError(f"{self.factory} is searched without parameters; found {self.parameters!r}")
        elif self.parameters:
            name, wanted = self.parameters.partition("=")[::2], _PARAMETERS[self.form]
            if name[0] != wanted or not re.fullmatch("[0-9]{1,6}", name[1]) or not 0 < int(name[1]) <= MOST_EFFORT:
                raise ValueError(
                    f"{self.factory} is searched with {wanted}=1 to {wanted}={MOST_EFFORT}; found {self.parameters!r}"
                )
        if type(self.candidates) is not int or not 0 < self.candidates <= _MOST_CANDIDATES:
            raise ValueError(f"candidates is {self.candidates!r}; expected 1 to {_MOST_CANDIDATES}")

    @classmethod
    def from_json(cls, fields: Any) -> IndexSettings:
        """Read what a manifest says of an index: settings, and the figures that were measured when it was chosen.

        Raises:
            ValueError: something is missing, or is none of what it should be.
        """
        if not isinstance(fields, dict):
            raise ValueError(f"index is {fields!r}")
        figures = {name: value for name, value in fields.items() if name not in cls.__dataclass_fields__}
        for name, value in figures.items():
            if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} of an index is {value!r}")
        factory, parameters = fields.get("factory"), fields.get("parameters")
        if not isinstance(factory, str) or not isinstance(parameters, str):
            raise ValueError(f"index {factory!r} with parameters {parameters!r}")
        return cls(factory, parameters, fields.get("candidates", 0))

    @cached_property
    def form(self) -> IndexForm:
        """What kind of index the factory makes."""
        for form, pattern in _FACTORIES.items():
            if pattern.fullmatch(self.factory):
                return form
        raise ValueError(
            f"there is no index {self.factory[:80]!r}; expected one such as HNSW32_SQ8, IVF512,SQ8 or RaBitQfs"
        )

    @property
    def size(self) -> int:
        """Links of a node, lists, or parts of a code, as the factory says; 0 where it says none."""
        found = _FACTORIES[self.form].fullmatch(self.factory)
        assert found is not None
        return int(found.groupdict().get("size") or 0)

    @property
    def is_flat(self) -> bool:
        """Whether a graph or lists hold the keys themselves instead of bytes."""
        if self.form == "hnsw":
            return not self.factory.endswith("_SQ8")
        return self.form == "ivf" and self.factory.endswith("Flat")
