"""The adapter of a reader: low-rank changes (LoRA, Hu et al. 2022) to what reads memory, kept in a folder of its own.

It sits on a copy of the decoder that shares every weight with it. So the decoder itself goes on computing states as it
was pretrained: no state ever depends on an adapter, and none has to be switched off anywhere.
"""

from __future__ import annotations

import copy
import re
import warnings
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from memgpt_rag.errors import (
    MismatchError,
    MissingPackageError,
    ModelError,
    first_line,
)
from memgpt_rag.fingerprint import PROBE_PASSAGE, SAME_STATES
from memgpt_rag.io.json_file import read_json, replace_json
from memgpt_rag.model.adapter_files import (
    SETTINGS,
    WEIGHTS,
    AdapterSettings,
    linear_maps,
    read_settings,
    read_weights,
)

if TYPE_CHECKING:
    from peft import PeftModel

    from memgpt_rag.model.decoder import MemoryDecoder

# Beside the files of peft: the model that the adapter was trained on, and what it makes of a probe passage.
READER = "reader.json"
_MAX_BYTES = 2**22  # of that file; a probe of ten thousand numbers has a tenth of a million

_LAYER = re.compile(r"\.(\d+)\.")
_ATTENTION = re.compile(r"attn|attention")
# What reads inside attention: queries and outputs. Other projections write keys and values, or all three at once.
_READS = ("q_proj", "o_proj", "out_proj", "dense", "c_proj")


def reading_modules(decoder: PreTrainedModel) -> list[str]:
    """Names of the linear maps that an adapter changes: queries and outputs of every attention, and the feed-forward
    maps of the later half of the layers. Where one map gives queries, keys and values, it is left alone.

    Raises:
        ModelError: the decoder has none that can be told by name.
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
) -> PeftModel:
    """Let a model read with a new adapter, which changes nothing until it is trained.

    Args:
        rank: rank of the change to each linear map.
        scale: α / rank, the factor on the change.
        dropout: of what goes into the change, while it is trained.
        seed: of the adapter's random numbers.
        every_map: change all maps of the layers, not only those that read.

    Raises:
        MissingPackageError: peft is not installed.
        ModelError: no part of the decoder is known to read.
    """
    settings = AdapterSettings(
        rank, scale * rank, dropout, tuple(layer_modules(model.writer) if every_map else reading_modules(model.writer))
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapter = _adapted(model.writer, settings)
    model.read_with(adapter.get_base_model())
    return adapter


def save_adapter(model: MemoryDecoder, adapter: PeftModel, folder: str | Path) -> None:
    """Write an adapter into a folder: `adapter_model.safetensors` and `adapter_config.json` of peft, and `reader.json`."""
    folder = Path(folder)
    adapter.peft_config["default"].base_model_name_or_path = model.name
    adapter.save_pretrained(str(folder), save_embedding_layers=False)
    probe = [round(number, 3) for number in _probe(model).tolist()]
    replace_json(folder / READER, {"model": model.name, "probe": probe})


def load_adapter(model: MemoryDecoder, folder: str | Path) -> PeftModel:
    """Let a model read with an adapter that `save_adapter` wrote.

    Raises:
        MissingPackageError: peft is not installed.
        ModelError: the folder holds no adapter, or a damaged one.
        MismatchError: it was trained on another model.
    """
    folder = Path(folder)
    try:
        reader: Any = read_json(folder / READER, max_bytes=_MAX_BYTES)
        name, probe = str(reader["model"]), torch.tensor(reader["probe"], dtype=torch.float32)
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} holds no adapter: it has no {READER}; name a folder that memgpt-rag train wrote."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _damaged(folder, f"{READER}: {first_line(error)}") from error
    here = _probe(model)
    agreement = float(torch.cosine_similarity(probe, here, dim=0)) if probe.shape == here.shape else 0.0
    if not agreement >= SAME_STATES:
        raise MismatchError(
            f"The adapter in {folder} was trained on {name!r} and is to read with {model.name!r}, which reads the same text "
            f"otherwise (cosine {agreement:.3f}). Load the model that it was trained on, or train another adapter."
        )
    absent = [name for name in (SETTINGS, WEIGHTS) if not (folder / name).is_file()]
    if absent:
        raise _damaged(folder, f"{absent[0]} is missing")
    try:
        settings = read_settings(folder / SETTINGS, model.writer)
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{SETTINGS}: {first_line(error)}") from error
    try:
        weights = read_weights(folder / WEIGHTS, settings, model.writer)
    except (OSError, ValueError, SafetensorError) as error:
        raise _damaged(folder, f"{WEIGHTS}: {first_line(error)}") from error
    adapter = _adapted(model.writer, settings)
    _peft().set_peft_model_state_dict(adapter, weights)
    adapter.eval().requires_grad_(False)
    model.read_with(adapter.get_base_model())
    return adapter


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingPackageError("peft", "An adapter", "pip install 'memgpt_rag[train]'") from error
    return peft


def _damaged(folder: Path, reason: str) -> ModelError:
    return ModelError(f"The adapter in {folder} is damaged ({reason.rstrip('.')}); train it again.")


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
        adapter: PeftModel = _peft().get_peft_model(_sharing_weights(decoder), config)
    return adapter


def _sharing_weights(decoder: PreTrainedModel) -> PreTrainedModel:
    """The same modules once more, over the very same tensors, so that an adapter can be put on top of them."""
    shared = {id(tensor): tensor for tensor in chain(decoder.parameters(), decoder.buffers())}
    return copy.deepcopy(decoder, shared)


@torch.no_grad()
def _probe(model: MemoryDecoder) -> torch.Tensor:
    """What the pretrained decoder makes of the probe passage: the hidden state of its last token."""
    ids = model.tokenizer(PROBE_PASSAGE, add_special_tokens=False, return_tensors="pt")["input_ids"]
    hidden: torch.Tensor = model.writer.base_model(ids.to(model.writer.device), use_cache=False).last_hidden_state
    return hidden[0, -1].float().cpu()
