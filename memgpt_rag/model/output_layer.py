"""The output layer of a decoder, and the form in which it takes the last tokens of what was read."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel


def fold_inputs(decoder: PreTrainedModel) -> None:
    """Have the output layer take its inputs as the rows of one matrix.

    transformers gives it a slice, such as the last token of each question. torch multiplies slices as a batch of matrices, and in bf16
    on a CPU copies the weights for each of them: with 262,144 words that took 40 times as long as the product itself.
    """
    layer = decoder.get_output_embeddings()
    layer = getattr(layer, "linear", layer)  # with codes beside its weights
    if isinstance(layer, nn.Linear) and _fold not in layer._forward_pre_hooks.values():
        layer.register_forward_pre_hook(_fold)


def _fold(layer: nn.Module, given: tuple[Any, ...]) -> tuple[Tensor] | None:
    if not given or _is_folded(given[0]):  # not given: by its name, as no decoder of transformers does
        return None
    return (given[0].clone(memory_format=torch.contiguous_format),)


def _is_folded(inputs: Float[Tensor, "*batch numbers"]) -> bool:
    """Whether the strides are those of a matrix, also in dimensions of size 1, which `is_contiguous` passes over."""
    sizes, strides = inputs.shape, inputs.stride()
    return all(strides[place] == strides[place + 1] * sizes[place + 1] for place in range(inputs.dim() - 2))
