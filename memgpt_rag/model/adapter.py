"""The adapter of a reader: low-rank changes (LoRA, Hu et al. 2022) to what reads memory, kept in a folder of its own.

It sits on a copy of the decoder that shares every weight with it. So the decoder itself goes on computing states as it
was pretrained: no state ever depends on an adapter, and none has to be switched off anywhere.
"""

from __future__ import annotations

import copy
import json
import re
import warnings
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from memgpt_rag.errors import MismatchError, MissingPackageError, ModelError
from memgpt_rag.fingerprint import PROBE_PASSAGE, SAME_STATES
from memgpt_rag.model.decoder import MemoryDecoder

if TYPE_CHECKING:
    from peft import PeftModel

# Beside the files of peft: the model that the adapter was trained on, and what it makes of a probe passage.
READER = "reader.json"

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
    maps = []
    for name, module in decoder.named_modules():
        layer = _LAYER.search(name)
        if layer and isinstance(module, nn.Linear | Conv1D):
            maps.append((int(layer[1]), name[layer.end() :], name))
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


def add_adapter(
    model: MemoryDecoder, *, rank: int = 8, scale: float = 2.0, dropout: float = 0.05, seed: int = 0
) -> PeftModel:
    """Let a model read with a new adapter, which changes nothing until it is trained.

    Args:
        rank: rank of the change to each linear map.
        scale: α / rank, the factor on the change.
        dropout: of what goes into the change, while it is trained.
        seed: of the adapter's random numbers.

    Raises:
        MissingPackageError: peft is not installed.
        ModelError: no part of the decoder is known to read.
    """
    peft = _peft()
    reads = reading_modules(model.writer)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=scale * rank,
        lora_dropout=dropout,
        target_modules=reads,
        fan_in_fan_out=isinstance(model.writer.get_submodule(reads[0]), Conv1D),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapter = _adapted(model.writer, config)
    model.read_with(adapter.get_base_model())
    return adapter


def save_adapter(model: MemoryDecoder, adapter: PeftModel, folder: str | Path) -> None:
    """Write an adapter into a folder: `adapter_model.safetensors` and `adapter_config.json` of peft, and `reader.json`."""
    folder = Path(folder)
    adapter.peft_config["default"].base_model_name_or_path = model.name
    adapter.save_pretrained(str(folder), save_embedding_layers=False)
    probe = [round(number, 3) for number in _probe(model).tolist()]
    (folder / READER).write_text(json.dumps({"model": model.name, "probe": probe}) + "\n", encoding="utf-8")


def load_adapter(model: MemoryDecoder, folder: str | Path) -> PeftModel:
    """Let a model read with an adapter that `save_adapter` wrote.

    Raises:
        MissingPackageError: peft is not installed.
        ModelError: the folder holds no reader, or a damaged one.
        MismatchError: it was trained on another model.
    """
    folder = Path(folder)
    try:
        reader: Any = json.loads((folder / READER).read_text(encoding="utf-8"))
        name, probe = reader["model"], torch.tensor(reader["probe"], dtype=torch.float32)
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} holds no reader: it has no {READER}; name a folder that memgpt-rag train wrote."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{READER}: {error}") from error
    here = _probe(model)
    agreement = float(torch.cosine_similarity(probe, here, dim=0)) if probe.shape == here.shape else 0.0
    if not agreement >= SAME_STATES:
        raise MismatchError(
            f"The reader in {folder} was trained on {name!r} and is to read with {model.name!r}, which reads the same text "
            f"otherwise (cosine {agreement:.3f}). Load the model that it was trained on, or train another reader."
        )
    peft, weights = _peft(), folder / "adapter_model.safetensors"
    absent = [file.name for file in (folder / "adapter_config.json", weights) if not file.is_file()]
    if absent:
        raise _damaged(folder, f"{absent[0]} is missing")
    try:
        config = peft.LoraConfig.from_pretrained(str(folder))
        config.base_model_name_or_path = None  # a name for people; the probe above has told the model
        adapter = _adapted(model.writer, config)
        loaded = peft.set_peft_model_state_dict(adapter, load_file(weights))
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        raise _damaged(folder, (str(error).splitlines() or [type(error).__name__])[-1].strip()) from error
    missing = [name for name in loaded.missing_keys if "lora_" in name]
    if missing or loaded.unexpected_keys:
        raise _damaged(folder, f"{len(missing)} weights are missing and {len(loaded.unexpected_keys)} belong nowhere")
    adapter.eval().requires_grad_(False)
    model.read_with(adapter.get_base_model())
    return adapter


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingPackageError("peft", "A reader's adapter", "pip install 'memgpt_rag[train]'") from error
    return peft


def _damaged(folder: Path, reason: str) -> ModelError:
    return ModelError(f"The reader in {folder} is damaged ({reason.rstrip('.')}); train it again.")


def _adapted(decoder: PreTrainedModel, config: Any) -> PeftModel:
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
