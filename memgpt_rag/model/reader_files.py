"""The files of a reader, checked before anything is made of them: settings and weights of an adapter in peft's form,
delimiters, and `reader.json`, which says what they were trained for.

Knows files and shapes; knows no memory and no prompt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from memgpt_rag.choices import PRESETS
from memgpt_rag.errors import ModelError, first_line
from memgpt_rag.io.json_file import read_json, replace_json
from memgpt_rag.model.adapter_files import SETTINGS, WEIGHTS, AdapterSettings, read_settings, read_weights
from memgpt_rag.model.config import MemoryAttentionConfig
from memgpt_rag.model.delimiters import Delimiters

READER, DELIMITERS = "reader.json", "delimiters.safetensors"
FILES = (READER, SETTINGS, WEIGHTS, DELIMITERS)
CARD = "README.md"
_PARTS = {"adapter": (SETTINGS, WEIGHTS), "delimiters": (DELIMITERS,)}
_MAX_BYTES = 2**22  # of reader.json; a probe of ten thousand numbers has a tenth of a million
_MAX_DELIMITERS = 256
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class Adapter:
    """An adapter (LoRA): its settings, and its weights by the names that peft gives them."""

    settings: AdapterSettings
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Reader:
    """What was trained so that a decoder reads memory.

    Attributes:
        folder: where it was read from.
        model: name of the model that it was trained for.
        probe: hidden state that this model computes for the probe passage.
        digest: first 16 hexadecimal digits of the SHA-256 of its settings and numbers; a copy of a reader has the same digest.
        worked_examples: whether the prefix of a model without a chat template holds worked examples, as untrained models
            need them; without them an answer ends with the end-of-text token.
        declines: whether it learned to answer "not in memory" where that is right.
        presets: how memory and local context share attention, by name of the preset; those of the model where none is here.
        adapter: changes to the decoder's linear maps; None for none.
        delimiters: vectors behind the prefix and every entry; None for none.
    """

    folder: Path
    model: str
    probe: Tensor
    digest: str
    worked_examples: bool
    declines: bool
    presets: dict[str, MemoryAttentionConfig]
    adapter: Adapter | None
    delimiters: Delimiters | None


def read_reader(folder: Path, decoder: PreTrainedModel, require: Callable[[str, Tensor], object]) -> Reader:
    """Read the reader in a folder.

    Args:
        require: is given the name of the model that it was trained for, and that model's probe, before anything else is read.

    Raises:
        ModelError: the folder holds no reader, a damaged one, or one for a decoder of other shapes.
    """
    fields = _fields(folder)
    try:
        model, probe = str(fields["model"]), torch.tensor(fields["probe"], dtype=torch.float32)
        examples, presets = fields.get("worked_examples", True), _presets(fields.get("presets", {}))
        parts = _parts(fields, folder)
        declines = fields.get("declines", "adapter" in parts)  # as adapters of earlier releases did
        for name, value in (("worked_examples", examples), ("declines", declines)):
            if not isinstance(value, bool):
                raise ValueError(f"{name} is neither true nor false")
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise damaged(folder, f"{READER}: {first_line(error)}") from error
    require(model, probe)
    absent = [name for part in parts for name in _PARTS[part] if not (folder / name).is_file()]
    if absent:
        raise damaged(folder, f"{absent[0]} is missing")
    adapter = delimiters = None
    if "adapter" in parts:
        lora: AdapterSettings = _part(folder, SETTINGS, lambda file: read_settings(file, decoder))
        adapter = Adapter(lora, _part(folder, WEIGHTS, lambda file: read_weights(file, lora, decoder)))
    if "delimiters" in parts:
        hidden = int(decoder.get_input_embeddings().weight.shape[1])
        delimiters = _part(folder, DELIMITERS, lambda file: _read_delimiters(file, hidden))
    settings = {"worked_examples": examples, "declines": declines, "presets": _as_fields(presets)}
    digest = _digest(settings, adapter, delimiters)
    return Reader(folder, model, probe, digest, examples, declines, presets, adapter, delimiters)


def learned_to_decline(reader: Reader | None) -> bool:
    """Return whether there is a reader, and one that learned to answer "not in memory"."""
    return reader is not None and reader.declines


def reader_model(folder: Path) -> str:
    """Return the name of the model that the reader in a folder was trained for; raises ModelError where there is none."""
    name = _fields(folder).get("model")
    if not isinstance(name, str):
        raise damaged(folder, f"{READER}: model is no name")
    return name


def write_reader(
    folder: Path,
    *,
    model: str,
    probe: Tensor,
    worked_examples: bool,
    declines: bool,
    presets: dict[str, MemoryAttentionConfig],
    delimiters: Delimiters | None,
    adapter: bool,
) -> None:
    """Write all of a reader but its adapter, and remove the parts of an earlier reader that this one does not have.

    Args:
        adapter: whether the folder holds the adapter of this reader, which peft wrote.

    Raises:
        OSError: the folder cannot be written.
    """
    parts = [part for part, has in (("adapter", adapter), ("delimiters", delimiters is not None)) if has]
    before = _parts_there(folder)
    if delimiters is not None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: one.detach().float().cpu().contiguous() for name, one in delimiters.tensors().items()},
            folder / DELIMITERS,
        )
    fields = {
        "model": model,
        "parts": parts,
        "worked_examples": worked_examples,
        "declines": declines,
        "presets": _as_fields(presets),
        "probe": [round(number, 3) for number in probe.tolist()],
    }
    replace_json(folder / READER, fields)
    for part in before - set(parts):
        for name in _PARTS[part]:
            (folder / name).unlink(missing_ok=True)


def damaged(folder: Path, reason: str) -> ModelError:
    """The error for a reader that cannot be read."""
    return ModelError(f"The reader in {folder} is damaged ({reason.rstrip('.')}); train it again.")


def _fields(folder: Path) -> dict[str, Any]:
    """Return what reader.json says."""
    try:
        fields = read_json(folder / READER, max_bytes=_MAX_BYTES)
        if not isinstance(fields, dict):
            raise ValueError("it is no object")
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} holds no reader: it has no {READER}; name a folder that memgpt-rag train wrote."
        ) from error
    except (OSError, ValueError) as error:
        raise damaged(folder, f"{READER}: {first_line(error)}") from error
    return fields


def _parts(fields: dict[str, Any], folder: Path) -> list[str]:
    """Return the parts that a reader says it has; one of an earlier release has those whose files are there, an adapter at least."""
    there = [part for part, files in _PARTS.items() if (folder / files[0]).exists()] or ["adapter"]
    parts = fields.get("parts", there)
    if not isinstance(parts, list) or not set(parts) <= set(_PARTS):
        raise ValueError(f"parts are not a list of {', '.join(_PARTS)}")
    return parts


def _parts_there(folder: Path) -> set[str]:
    """Return the parts of the reader in a folder; none where there is no reader, whatever other files there are."""
    try:
        return set(_parts(_fields(folder), folder))
    except (ModelError, ValueError, TypeError):
        return set()


def _part(folder: Path, name: str, read: Callable[[Path], _Part]) -> _Part:
    try:
        return read(folder / name)
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(folder, f"{name}: {first_line(error)}") from error


def _presets(fields: Any) -> dict[str, MemoryAttentionConfig]:
    if not isinstance(fields, dict) or not fields.keys() <= set(PRESETS):
        raise ValueError(f"presets are not an object with the names {', '.join(PRESETS)}")
    return {name: MemoryAttentionConfig.from_dict(values) for name, values in fields.items()}


def _read_delimiters(file: Path, hidden: int) -> Delimiters:
    """Delimiters of a decoder whose embeddings have `hidden` numbers; raises ValueError where they are none."""
    with safe_open(file, "pt") as opened:
        if set(opened.keys()) != {"prefix", "entry"}:
            raise ValueError("it holds other tensors than prefix and entry")
        for name in ("prefix", "entry"):
            shape = opened.get_slice(name).get_shape()
            if len(shape) != 2 or not 1 <= shape[0] <= _MAX_DELIMITERS or shape[1] != hidden:
                found = "×".join(map(str, shape))
                raise ValueError(f"{name} has {found} numbers; expected 1 to {_MAX_DELIMITERS} vectors of {hidden:,}")
        # Copied, since the file may be written anew.
        tensors = {name: opened.get_tensor(name).clone() for name in ("prefix", "entry")}
    if not all(one.is_floating_point() and torch.isfinite(one.float()).all() for one in tensors.values()):
        raise ValueError("a vector holds what is no number")
    return Delimiters(tensors["prefix"].float(), tensors["entry"].float())


def _as_fields(presets: dict[str, MemoryAttentionConfig]) -> dict[str, Any]:
    return {name: asdict(config) for name, config in presets.items()}


def _digest(settings: dict[str, Any], adapter: Adapter | None, delimiters: Delimiters | None) -> str:
    """Return the digest of a reader's settings and numbers, independent of file layout and of the precision that stores the same numbers."""
    tensors = {} if delimiters is None else delimiters.tensors()
    if adapter is not None:
        settings = {**settings, "adapter": asdict(adapter.settings)}
        tensors = {**tensors, **adapter.weights}
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        numbers = tensor.detach().float().cpu().contiguous()
        total.update(f"{name} {tuple(numbers.shape)}".encode() + numbers.numpy().tobytes())
    return total.hexdigest()[:16]
