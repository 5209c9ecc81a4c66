"""Loads pretrained decoders with care: whole weights, no code of others, the dtype that the processor computes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, GgufConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from memgpt_rag.hub.bundled import GENERATORS, generator_folder
from memgpt_rag.hub.model_files import gguf_file, loading, require_whole
from memgpt_rag.model.tokenizer import KIND


def load_decoder(
    name: str | Path, dtype: torch.dtype | str, device: str | torch.device | None, settings: dict[str, Any]
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode; of a model that reads pictures, all of it.

    Args:
        name: hub name or folder, a GGUF file, or a model that comes as a package.
        dtype: "auto" for bf16 where the processor computes in it, else fp32.
        device: None for a GPU where there is one; not used with `device_map`.
        settings: passed on to `from_pretrained` of transformers, such as device_map or quantization_config.

    Raises:
        ModelError: no such model, or one with weights missing.
        MissingPackageError: it comes as a package that is not installed.
        ValueError: code of the model's own is to run.
    """
    if settings.pop("trust_remote_code", False):
        raise ValueError(
            "trust_remote_code is not taken: load the model with transformers and pass it to MemoryDecoder(decoder, tokenizer)."
        )
    given = generator_folder(str(name)) or name
    source, gguf = gguf_file(given)
    if gguf:
        settings = {"quantization_config": GgufConfig(dequantize=True), **settings, **gguf}
    with loading(KIND, name, given, packages=GENERATORS):
        decoder, found = _kind(source, settings).from_pretrained(
            source,
            dtype=best_dtype() if dtype == "auto" else dtype,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # named by require_whole
            **settings,
        )
        require_whole(decoder, found, KIND, name)
    if settings.get("device_map") is None:
        decoder = decoder.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    loaded: PreTrainedModel = decoder.eval()
    return loaded


def _kind(source: str | Path, settings: dict[str, Any]) -> Any:
    """Return what loads a model: as one that reads pictures where transformers knows it as such."""
    if "gguf_file" in settings:
        return AutoModelForCausalLM
    known = {
        name: settings[name] for name in ("revision", "token", "cache_dir", "local_files_only") if name in settings
    }
    config = type(AutoConfig.from_pretrained(source, trust_remote_code=False, **known))
    return AutoModelForImageTextToText if config in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING else AutoModelForCausalLM


def best_dtype() -> torch.dtype:
    """Return bf16 where the processor computes in it, else fp32."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = (
        getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    )
    return torch.bfloat16 if native else torch.float32
