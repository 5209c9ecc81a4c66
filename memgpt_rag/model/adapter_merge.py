"""An adapter merged into a decoder: W + α/r · B A, so that reading with it costs what reading without it costs."""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from memgpt_rag.model.adapter_files import AdapterSettings


def sharing_weights(decoder: PreTrainedModel, *, except_for: frozenset[str] = frozenset()) -> PreTrainedModel:
    """Return the same modules once more, over the very same tensors.

    Args:
        except_for: names of modules whose weights are copied.
    """
    own = {id(decoder.get_submodule(name).weight) for name in except_for}
    shared = {id(tensor): tensor for tensor in chain(decoder.parameters(), decoder.buffers()) if id(tensor) not in own}
    return copy.deepcopy(decoder, shared)


@torch.no_grad()
def merged_decoder(decoder: PreTrainedModel, settings: AdapterSettings, weights: dict[str, Tensor]) -> PreTrainedModel:
    """Return a decoder with the adapter merged into its linear maps; all other weights are shared with `decoder`.

    Args:
        weights: as `read_weights` gives them.
    """
    merged = sharing_weights(decoder, except_for=frozenset(settings.modules))
    for name in settings.modules:
        module = merged.get_submodule(name)
        weight: Tensor = module.weight
        low, high = (
            weights[f"base_model.model.{name}.lora_{part}.weight"].to(weight.device, torch.float32) for part in "AB"
        )
        change = settings.alpha / settings.rank * (high @ low)
        weight.copy_(weight.float() + (change.T if isinstance(module, Conv1D) else change))
    return merged.eval().requires_grad_(False)
