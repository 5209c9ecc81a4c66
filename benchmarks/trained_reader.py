"""The reader of memory that `train_readers.py` left in a folder, for measurements: adapter, delimiters, numbers."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from memgpt_rag.model import DEFAULT_GENERATOR, MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.adapter import add_adapter
from memgpt_rag.model.delimiters import Delimiters

READERS = Path(__file__).with_name("readers")


def load_trained_reader(
    preset: str, folder: Path = READERS / DEFAULT_GENERATOR, *, dtype: torch.dtype | str = "auto"
) -> MemoryDecoder:
    """The decoder with what was trained for it; questions stand right behind its prefix, and answers end with its end of text.

    Raises:
        ValueError: the folder's weights are not those of this decoder.
    """
    numbers = json.loads((folder / "presets.json").read_text(encoding="utf-8"))[preset]
    model = MemoryDecoder.from_pretrained(folder.name, config=MemoryAttentionConfig.from_dict(numbers), dtype=dtype)
    weights = load_file(folder / "memory_adapter.safetensors")
    rank = next(len(tensor) for name, tensor in weights.items() if ".lora_A." in name)
    adapter = add_adapter(model, rank=rank, every_map=True)
    own = {name: one for name, one in adapter.named_parameters() if ".lora_" in name}
    if {name: one.shape for name, one in own.items()} != {name: one.shape for name, one in weights.items()}:
        raise ValueError(f"{folder} holds an adapter of another model.")
    with torch.no_grad():
        for name, one in own.items():
            one.copy_(weights[name])
    model.delimiters = Delimiters(**load_file(folder / "delimiters.safetensors"))
    return model.eval().requires_grad_(False)
