"""The adapter of a reader while it is trained: low-rank changes (LoRA, Hu et al. 2022) to what reads memory, by peft.

It sits on a copy of the decoder that shares every weight with it. So the decoder itself goes on computing states as it
was pretrained: no state ever depends on an adapter, and none has to be switched off anywhere.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from memgpt_rag.errors import MissingPackageError, ModelError
from memgpt_rag.model.adapter_files import AdapterSettings, linear_maps
from memgpt_rag.model.adapter_merge import sharing_weights
from memgpt_rag.model.reader_files import Adapter

if TYPE_CHECKING:
    from peft import PeftModel

    from memgpt_rag.model.decoder import MemoryDecoder

_LAYER = re.compile(r"\.(\d+)\.")
_ATTENTION = re.compile(r"attn|attention")
# What reads inside attention: queries and outputs. Other projections write keys and values, or all three at once.
_READS = ("q_proj", "o_proj", "out_proj", "dense", "c_proj")


def reading_modules(decoder: PreTrainedModel) -> list[str]:
    """Names of the linear maps that an adapter changes: queries and outputs of every attention, and the feed-forward
    maps of the later half of the layers. Where one map gives queries, keys and values, it is left alone.

    Raises:
        ModelError: the decoder has none with a known name.
    """
    maps = [
        (int(layer[1]), name[layer.end() :], name) for name in linear_maps(decoder) if (layer := _LAYER.search(name))
    ]
    layers = max((layer for layer, _, _ in maps), default=-1) + 1
    reads = [
        name
        for layer, inside, name in maps
        if (inside.endswith(_READS) if _ATTENTION.search(inside) else layer >= layers // 2)
    ]
    if not reads:
        raise ModelError(
            f"{type(decoder).__name__} has no linear maps named {', '.join(_READS)} in its attention; an adapter for it is not known."
        )
    return reads


def layer_modules(decoder: PreTrainedModel) -> list[str]:
    """Names of all linear maps inside the layers, those that write keys and values of questions and answers included."""
    return [name for name in linear_maps(decoder) if _LAYER.search(name)]


def add_adapter(
    model: MemoryDecoder,
    *,
    rank: int = 8,
    scale: float = 2.0,
    dropout: float = 0.05,
    seed: int = 0,
    every_map: bool = False,
    start: Adapter | None = None,
) -> PeftModel:
    """Let a model read with a new adapter, which changes nothing until it is trained.

    Args:
        rank: rank of the change to each linear map.
        scale: α / rank, the factor on the change.
        dropout: of what goes into the change, while it is trained.
        seed: of the adapter's random numbers.
        every_map: change all maps of the layers, not only those that read.
        start: adapter to start from, whose rank, scale and maps are kept.

    Raises:
        MissingPackageError: peft is not installed.
        ModelError: no part of the decoder is known to read.
    """
    modules = layer_modules(model.writer) if every_map else reading_modules(model.writer)
    settings = AdapterSettings(rank, scale * rank, dropout, tuple(modules))
    if start is not None:
        settings = replace(start.settings, dropout=dropout)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapter = _adapted(model.writer, settings)
    if start is not None:
        _peft().set_peft_model_state_dict(adapter, start.weights)
    model.read_with(adapter.get_base_model())
    return adapter


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingPackageError("peft", "An adapter", "pip install 'memgpt_rag[train]'") from error
    return peft


def _adapted(decoder: PreTrainedModel, settings: AdapterSettings) -> PeftModel:
    config = _peft().LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.modules),
        fan_in_fan_out=isinstance(decoder.get_submodule(settings.modules[0]), Conv1D),
        init_lora_weights=True,  # others, such as "pissa", take a part of the weights that are shared away from them
    )
    with warnings.catch_warnings():
        # peft asks transformers for a property by its old name.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        adapter: PeftModel = _peft().get_peft_model(sharing_weights(decoder), config)
    return adapter
