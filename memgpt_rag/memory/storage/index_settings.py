"""Settings of a segment's approximate index, as stored in a manifest; parsed strictly, since FAISS trusts them."""

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
    """The FAISS factory of an approximate index, and its search parameters.

    Attributes:
        factory: FAISS index factory string: "HNSW32_SQ8", "HNSW32", "IVF512,SQ8", "IVF512,Flat", "PQ96x4fs", "RaBitQfs"
            or "SQ8".
        parameters: FAISS search parameters, such as "efSearch=64" or "nprobe=16"; empty where there are none.
        candidates: number of candidates per result wanted; the best by their keys are kept.

    Raises:
        ValueError: an unknown kind of index, or a parameter out of its range.
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
        """Read an index's settings from its manifest entry, and check the figures measured when it was chosen.

        Raises:
            ValueError: a field is missing, or has an invalid value.
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
        """Return the kind of index that the factory string describes."""
        for form, pattern in _FACTORIES.items():
            if pattern.fullmatch(self.factory):
                return form
        raise ValueError(
            f"there is no index {self.factory[:80]!r}; expected one such as HNSW32_SQ8, IVF512,SQ8 or RaBitQfs"
        )

    @property
    def size(self) -> int:
        """Return the factory's number of links of a node, lists, or parts of a code; 0 where it has none."""
        found = _FACTORIES[self.form].fullmatch(self.factory)
        assert found is not None
        return int(found.groupdict().get("size") or 0)

    @property
    def is_flat(self) -> bool:
        """Return whether a graph or lists hold the keys themselves instead of codes of a byte a component."""
        if self.form == "hnsw":
            return not self.factory.endswith("_SQ8")
        return self.form == "ivf" and self.factory.endswith("Flat")
