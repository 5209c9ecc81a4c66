"""How memory and local context share one softmax: a handful of numbers, and what they are in each layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch

from memgpt_rag.errors import ModelError
from memgpt_rag.io.json_file import number
from memgpt_rag.model.attention import PerHead

_MOST = 1e4  # of any number here: they are factors on logits or logits, and even half precision holds them
PerLayer = float | tuple[float | tuple[float, ...], ...]


def _flat(value: PerLayer) -> list[Any]:
    """Every number of one, of those of layers, or of those of layers and heads."""
    per_layer = value if isinstance(value, tuple) else (value,)
    return [one for per_head in per_layer for one in (per_head if isinstance(per_head, tuple) else (per_head,))]


def _are_layers(layers: Any) -> bool:
    numbers = isinstance(layers, tuple) and all(type(layer) is int and layer >= 0 for layer in layers)
    return numbers and len(set(layers)) == len(layers)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class MemoryAttentionConfig:
    """How a decoder attends to memory.

    Attributes:
        layers: "all"; "global" for the layers without a sliding window of a model that mixes both; or layer numbers.
        inverse_temperature: τ, factor on the scores of memory tokens; above 1 sharpens attention. One number, or for
            each attended layer one number or one per head.
        offset: b, logits added to every memory token. One number, or for each attended layer one or one per head.
        null_score: score of a slot that takes weight and gives nothing, so that a head may look away; None for no such
            slot. One number, or for each attended layer one or one per head.
        score_bias: β, logits per unit of normalized retrieval score; 0 leaves retrieval scores out.
        top_m: memory tokens that a head attends to at once; None for all.
        recurrent: what recurrent layers go on from: the states after the entries, "combined" by their scores, or that after the
            "prefix", so that entries reach the attention layers alone.
        recurrent_bias: β of that combination: weights are the softmax of β times the scores; None for `score_bias`.
    """

    layers: Literal["all", "global"] | tuple[int, ...] = "all"
    inverse_temperature: PerLayer = 1.0
    offset: PerLayer = 0.0
    null_score: PerLayer | None = None
    score_bias: float = 0.0
    top_m: int | None = None
    recurrent: Literal["combined", "prefix"] = "combined"
    recurrent_bias: float | None = None

    def __post_init__(self) -> None:
        if self.layers not in ("all", "global") and not _are_layers(self.layers):
            raise ValueError(
                f'layers is {self.layers!r}; expected "all", "global" or layer numbers such as (5, 11, 17).'
            )
        temperatures = [number(one, "inverse_temperature", 0, _MOST) for one in _flat(self.inverse_temperature)]
        if not min(temperatures, default=0) > 0:
            raise ValueError(f"inverse_temperature is {self.inverse_temperature}; expected numbers above 0.")
        number(self.score_bias, "score_bias", -_MOST, _MOST)
        number(0.0 if self.recurrent_bias is None else self.recurrent_bias, "recurrent_bias", -_MOST, _MOST)
        if self.recurrent not in ("combined", "prefix"):
            raise ValueError(f'recurrent is {self.recurrent!r}; expected "combined" or "prefix".')
        for name, value in (
            ("offset", self.offset),
            ("null_score", 0.0 if self.null_score is None else self.null_score),
        ):
            for one in _flat(value):
                number(one, name, -_MOST, _MOST)
        if self.top_m is not None and not (type(self.top_m) is int and 1 <= self.top_m < 2**31):
            raise ValueError(f"top_m is {self.top_m}; expected 1 or more, or None for every memory token.")

    @property
    def weight_bias(self) -> float | None:
        """β of the weights by which states of recurrent layers are combined; None where they are not."""
        if self.recurrent == "prefix":
            return None
        return self.score_bias if self.recurrent_bias is None else self.recurrent_bias

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MemoryAttentionConfig:
        """A configuration from what `dataclasses.asdict` made of one, also after a journey through JSON.

        Raises:
            ValueError: a name that no configuration has, or a number that is none or out of its range.
        """
        if not isinstance(values, dict):
            raise ValueError(f"{values!r} is no configuration.")
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(
                f"A configuration has no {', '.join(unknown)}; it has {', '.join(f.name for f in fields(cls))}."
            )
        return cls(**{name: _tuples(value) for name, value in values.items()})

    def has_layers(self, windows: Mapping[int, int | None]) -> bool:
        """Whether it says which layers of a decoder attend: "global" says nothing where all layers are alike."""
        return self.layers != "global" or len({window is None for window in windows.values()}) == 2

    def only(self, layers: Sequence[int], attended: Sequence[int]) -> MemoryAttentionConfig:
        """The same numbers for some of the layers that attend now.

        Args:
            layers: those that are to attend.
            attended: those that attend now.
        """

        def pick(value: Any) -> Any:
            return tuple(value[attended.index(layer)] for layer in layers) if isinstance(value, tuple) else value

        return replace(
            self,
            layers=tuple(layers),
            inverse_temperature=pick(self.inverse_temperature),
            offset=pick(self.offset),
            null_score=pick(self.null_score),
        )

    def resolve(self, windows: Mapping[int, int | None], heads: int) -> dict[int, LayerSettings]:
        """What holds in each attended layer of a decoder.

        Args:
            windows: layer → sliding window or chunk in tokens, None where attention is global.
            heads: query heads of each layer.

        Raises:
            ModelError: the decoder has no such layers, or another number of heads.
        """
        if self.layers == "all":
            layers = tuple(windows)
        elif self.layers == "global":
            layers = tuple(layer for layer, window in windows.items() if window is None)
            if not self.has_layers(windows):
                kind = "global" if layers else "sliding-window"
                raise ModelError(
                    f"The preset compact keeps the global layers of a model that mixes sliding and global attention; all "
                    f"{len(windows)} layers of this one are {kind}; find its layers with `memgpt-rag calibrate --preset compact`, "
                    "use the preset quality, or name layers."
                )
        else:
            layers = tuple(self.layers)
            unknown = [layer for layer in layers if layer not in windows]
            if unknown:
                raise ModelError(f"The model attends in layers {_spans(windows)}; memory was asked for in {unknown}.")
        temperatures, offsets = (_spread(value, layers, heads) for value in (self.inverse_temperature, self.offset))
        nulls = [None] * len(layers) if self.null_score is None else _spread(self.null_score, layers, heads)
        return {
            layer: LayerSettings(temperature, offset, null, self.top_m, windows[layer])
            for layer, temperature, offset, null in zip(layers, temperatures, offsets, nulls, strict=True)
        }


@dataclass(frozen=True)
class LayerSettings:
    """The numbers that hold in one layer; `window` is its sliding window in tokens, None where attention is global."""

    inverse_temperature: PerHead
    offset: PerHead
    null_score: PerHead | None
    top_m: int | None
    window: int | None


def _spans(layers: Iterable[int]) -> str:
    """Return numbers as "0 to 17", or one by one where they do not follow each other."""
    numbers = sorted(layers)
    whole = len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1
    return f"{numbers[0]} to {numbers[-1]}" if whole else ", ".join(map(str, numbers))


def _spread(value: PerLayer, layers: tuple[int, ...], heads: int) -> list[PerHead]:
    per_layer = value if isinstance(value, tuple) else (value,) * len(layers)
    if len(per_layer) != len(layers):
        raise ModelError(
            f"{len(per_layer)} numbers were given for the {len(layers)} layers {list(layers)}; give one number, or one per layer."
        )
    for layer, per_head in zip(layers, per_layer, strict=True):
        if isinstance(per_head, tuple) and len(per_head) != heads:
            raise ModelError(
                f"{len(per_head)} numbers were given for the {heads} heads of layer {layer}; give one number, or one per head."
            )
    return [torch.tensor(per_head) if isinstance(per_head, tuple) else per_head for per_head in per_layer]
