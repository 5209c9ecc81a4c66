"""Loads pretrained decoders with care: whole weights, no code of others, the dtype that the processor computes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from memgpt_rag.hub.bundled import GENERATORS, generator_folder
from memgpt_rag.hub.model_files import loading, require_whole
from memgpt_rag.model.tokenizer import KIND


def load_decoder(
    name: str | Path, dtype: torch.dtype | str, device: str | torch.device | None, settings: dict[str, Any]
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode.

    Args:
        name: hub name or folder, or a model that comes as a package.
        dtype: "auto" for bf16 where the processor computes in it, else fp32.
        device: None for a GPU where there is one.
        settings: passed on to `AutoModelForCausalLM.from_pretrained`.

    Raises:
        ModelError: no such model, or one with weights missing.
        MissingPackageError: it comes as a package that is not installed.
        ValueError: code of the model's own is to run.
    """
    if settings.pop("trust_remote_code", False):
        raise ValueError(
            "trust_remote_code is not taken: load the model with transformers and pass it to MemoryDecoder(decoder, tokenizer)."
        )
    source = generator_folder(str(name)) or name
    with loading(KIND, name, source, packages=GENERATORS):
        decoder, found = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=best_dtype() if dtype == "auto" else dtype,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # named by require_whole
            **settings,
        )
        require_whole(decoder, found, KIND, name)
    loaded: PreTrainedModel = decoder.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    return loaded


def best_dtype() -> torch.dtype:
    """Return bf16 where the processor computes in it, else fp32."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = (
        getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    )
    return torch.bfloat16 if native else torch.float32
