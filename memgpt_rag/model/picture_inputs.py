"""What a decoder is given beside the tokens of a question that pictures stand in: pixels, kinds of tokens, positions.

Prefix and entries stand before the question and hold no picture, so that their states are those of any other question.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Pictures:
    """The pictures of one question, as a decoder's processor makes them.

    Attributes:
        ids: tokens that stand for them.
        kinds: the kind of each of these tokens, by the name under which the decoder takes it; text is 0.
        pixels: what else the decoder takes: pixels, and their sizes.
    """

    ids: tuple[int, ...]
    kinds: dict[str, Int[Tensor, "1 tokens"]]
    pixels: dict[str, Tensor]

    def to(self, decoder: PreTrainedModel) -> Pictures:
        """Return them where a decoder is, and in its type."""

        def moved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {
                name: one.to(decoder.device, decoder.dtype if one.is_floating_point() else None)
                for name, one in tensors.items()
            }

        return Pictures(self.ids, moved(self.kinds), moved(self.pixels))

    def inputs(self, before: int, tokens: int) -> dict[str, Tensor]:
        """Return what a decoder takes beside a sequence of so many tokens, of which so many stand before the pictures."""
        behind = tokens - before - len(self.ids)
        padded = {name: torch.nn.functional.pad(kind, (before, behind)) for name, kind in self.kinds.items()}
        return padded | self.pixels


@dataclass(frozen=True)
class PictureInputs:
    """What a decoder is given with one question that pictures stand in.

    Attributes:
        start: how many tokens of the question stand before those of the pictures.
        shift: what is added to the counted position of each token of the question, in each dimension of the decoder's positions;
            that of the last token is added to all tokens behind it. None where pictures count as any token.
    """

    pictures: Pictures
    start: int
    shift: Int[Tensor, "dimensions tokens"] | None

    @classmethod
    def of(cls, decoder: PreTrainedModel, pictures: Pictures, question: Sequence[int], start: int) -> PictureInputs:
        """Return the inputs of a question.

        Args:
            question: its tokens, those of the pictures included.
            start: where among them the pictures' begin.
        """
        shift = None
        if (place := getattr(decoder.base_model, "get_rope_index", None)) is not None:
            known = pictures.inputs(start, len(question))
            names = inspect.signature(place).parameters.keys() & known.keys()
            position, _ = place(
                torch.tensor([question], device=decoder.device), **{name: known[name] for name in names}
            )
            shift = position[:, 0] - torch.arange(len(question), device=decoder.device)
        return cls(pictures, start, shift)

    def placed(self, position: Int[Tensor, "1 tokens"], seen: int) -> dict[str, Tensor]:
        """Return what a decoder takes for tokens that follow `seen` ones of the question: their positions, and the pictures once.

        Kinds of tokens count by position: prefix and entries are text.

        Args:
            position: of these tokens, counted.
        """
        before = int(position[0, 0])
        once = {} if seen else self.pictures.inputs(before + self.start, before + position.shape[1])
        if self.shift is not None:
            column = torch.arange(seen, seen + position.shape[1], device=position.device)
            position = position + self.shift[:, None, column.clamp(max=self.shift.shape[1] - 1)]
        return {"position_ids": position} | once

    @property
    def later_shift(self) -> int:
        """What is added to the counted positions of the tokens behind the question."""
        return 0 if self.shift is None else int(self.shift[0, -1])
