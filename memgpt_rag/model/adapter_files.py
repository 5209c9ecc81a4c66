"""The files of an adapter as peft writes them, read setting by setting: peft itself would import modules that they name,
change weights that they ask to be decomposed, and match names by any regular expression.

What is read here are numbers and names of linear maps of the model at hand; anything else that would change how it reads
is refused. Knows files and shapes; knows neither peft nor memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from memgpt_rag.io.json_file import read_json

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

MAX_RANK = 1024
_MAX_ALPHA = 1e6
_MAX_BYTES = 2**22  # of the settings; names of ten thousand maps have one million
# What says nothing about the weights, and what only counts with a setting that is refused.
_NOT_READ = {"base_model_name_or_path", "revision", "peft_version", "inference_mode", "auto_mapping", "task_type"}
_NOT_READ |= {"fan_in_fan_out", "megatron_core", "qalora_group_size", "runtime_config"}
_FIXED = {"peft_type": "LORA", "bias": "none", "init_lora_weights": True}


@dataclass(frozen=True)
class AdapterSettings:
    """Settings of a LoRA adapter.

    Attributes:
        rank: of the change to each linear map.
        alpha: α; α / rank is the factor on the change.
        dropout: of what goes into the change, while it is trained.
        modules: full names of the linear maps that it changes.
    """

    rank: int
    alpha: float
    dropout: float
    modules: tuple[str, ...]


def linear_maps(decoder: PreTrainedModel) -> dict[str, tuple[int, int]]:
    """Numbers that go into and come out of each linear map, by its name."""
    maps = {}
    for name, module in decoder.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            rows, columns = module.weight.shape
            maps[name] = (rows, columns) if isinstance(module, Conv1D) else (columns, rows)
    return maps


def read_settings(file: Path, decoder: PreTrainedModel) -> AdapterSettings:
    """Read an adapter's settings.

    Raises:
        OSError: there is no such file.
        ValueError: a setting is missing, of the wrong type or range, names no linear map of this decoder, or is not known
            here; the message is a reason to put into a sentence.
    """
    fields: dict[str, Any] = read_json(file, max_bytes=_MAX_BYTES)
    if not isinstance(fields, dict):
        raise ValueError("no object")
    rank: Any = fields.get("r")
    alpha: Any = fields.get("lora_alpha")
    dropout: Any = fields.get("lora_dropout", 0.0)
    for name, fixed in _FIXED.items():
        if fields.get(name, fixed) != fixed:
            raise ValueError(f"{name} is {_shown(fields[name])}, not {fixed!r}")
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise ValueError(f"r is {_shown(rank)}, not a number from 1 to {MAX_RANK}")
    if type(alpha) not in (int, float) or not 0 < alpha <= _MAX_ALPHA:
        raise ValueError(f"lora_alpha is {_shown(alpha)}, not a number above 0 and up to {_MAX_ALPHA:,.0f}")
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:
        raise ValueError(f"lora_dropout is {_shown(dropout)}, not a number from 0 to 1")
    known = {"r", "lora_alpha", "lora_dropout", "target_modules", *_FIXED, *_NOT_READ}
    strange = sorted(name for name, value in fields.items() if name not in known and value)
    if strange:
        raise ValueError(f"it has settings that are not read here: {_shown(', '.join(strange))}")
    return AdapterSettings(rank, float(alpha), float(dropout), _modules(fields.get("target_modules"), decoder))


def _modules(targets: Any, decoder: PreTrainedModel) -> tuple[str, ...]:
    """Full names of what the settings name, in full or by the last parts of its name, as peft shortens long lists."""
    if not isinstance(targets, list) or not targets or not all(isinstance(one, str) and one for one in targets):
        raise ValueError(f"target_modules is {_shown(targets)}, not a list of names")
    maps, by_ending = linear_maps(decoder), dict[str, list[str]]()
    for name, _ in decoder.named_modules():
        parts = name.split(".")
        for at in range(len(parts)):
            by_ending.setdefault(".".join(parts[at:]), []).append(name)
    unknown = [one for one in targets if not by_ending.get(one) or not maps.keys() >= set(by_ending[one])]
    if unknown:
        raise ValueError(f"target_modules names {_shown(unknown[0])}, which is no linear map of this model")
    return tuple(sorted({name for one in targets for name in by_ending[one]}))


def read_weights(file: Path, settings: AdapterSettings, decoder: PreTrainedModel) -> dict[str, Tensor]:
    """Read an adapter's weights, once it is known that they have the shapes that its settings and this decoder say.

    Raises:
        OSError, SafetensorError: there is no such file, or a damaged one.
        ValueError: a weight is missing, too many, of another shape, or holds what is no number; the message is a reason.
    """
    maps = linear_maps(decoder)
    expected = {}
    for name in settings.modules:
        given, made = maps[name]
        expected[f"base_model.model.{name}.lora_A.weight"] = [settings.rank, given]
        expected[f"base_model.model.{name}.lora_B.weight"] = [made, settings.rank]
    with safe_open(file, "pt") as opened:
        names = set(opened.keys())
        missing, surplus = sorted(expected.keys() - names), sorted(names - expected.keys())
        if missing or surplus:
            first = _shown((missing or surplus)[0])
            raise ValueError(f"{len(missing)} weights are missing and {len(surplus)} belong nowhere, such as {first}")
        for name, shape in expected.items():
            found = opened.get_slice(name).get_shape()
            if found != shape:
                raise ValueError(
                    f"{name} has {'×'.join(map(str, found))} numbers, and by the settings {'×'.join(map(str, shape))}"
                )
        weights = {name: opened.get_tensor(name).clone() for name in expected}  # the file may be written anew
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or not torch.isfinite(tensor.float()).all():
            raise ValueError(f"{name} holds what is no number")
    return weights


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}…"
