"""The numbers that a name stands for: measured for any decoder, fitted to one, or calibrated by a user for theirs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memgpt_rag.choices import PRESETS, Preset
from memgpt_rag.errors import ModelError
from memgpt_rag.hub.bundled import GENERATORS
from memgpt_rag.io.cache_folder import cache_folder, is_there
from memgpt_rag.io.json_file import read_json, replace_json
from memgpt_rag.model.config import MemoryAttentionConfig
from memgpt_rag.model.layer_kinds import query_heads
from memgpt_rag.model.reader_files import Reader

_GENERAL: dict[Preset, MemoryAttentionConfig] = {
    "quality": MemoryAttentionConfig(layers="all", score_bias=6.0, top_m=16),
    "compact": MemoryAttentionConfig(layers="global", inverse_temperature=1.1, score_bias=10.0, top_m=32),
}
# Written by `benchmarks/answers.py choose --save`: of each decoder, the presets that were fitted to it.
_MAX_BYTES = 2**22  # of a user's file; numbers for each of 128 heads in 100 layers have two million
FITTED = Path(__file__).with_name("fitted.json")


def general_preset(name: str) -> MemoryAttentionConfig:
    """The preset as it holds for any decoder.

    Args:
        name: "quality" reads memory in all layers; "compact" in the global layers of a model that mixes both kinds.

    Raises:
        ValueError: no preset of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}; expected one of {', '.join(PRESETS)}.")
    return _GENERAL[name]


def preset(name: str, decoder_config: Any) -> MemoryAttentionConfig:
    """The preset as it was fitted to a decoder, or as it holds for any.

    Args:
        decoder_config: the decoder's transformers configuration.

    Raises:
        ValueError: no preset of that name.
    """
    general = general_preset(name)
    fitted = json.loads(FITTED.read_text(encoding="utf-8")).get(decoder_key(decoder_config), {})
    return MemoryAttentionConfig.from_dict(fitted[name]) if name in fitted else general


def decoder_key(decoder_config: Any) -> str:
    """What a decoder is known by where its presets are kept: its type, layers, heads and width."""
    config = decoder_config.get_text_config(decoder=True)
    return f"{config.model_type}-{config.num_hidden_layers}-{query_heads(config)}-{config.hidden_size}"


def calibrated_file(model: str | Path, reader: Reader | None = None) -> Path:
    """Where the numbers calibrated for a model and its reader are kept: in the model's folder, or for a hub name in the user's
    cache folder.
    """
    folder = cache_folder("models", str(model)) if model in GENERATORS else Path(model)
    if model not in GENERATORS and not folder.is_dir():
        folder = cache_folder("calibrated", str(model).replace("/", "--"))
    return folder / ("memory_attention.json" if reader is None else f"memory_attention-{reader.digest}.json")


def confidence_file(model: str | Path) -> Path:
    """Where a user's fitted decisions to query and to abstain are kept: beside the numbers calibrated for the model."""
    return calibrated_file(model).with_name("memory_decisions.json")


def calibrated_preset(
    name: str, model: str | Path, decoder_config: Any, reader: Reader | None = None
) -> MemoryAttentionConfig:
    """The preset as a user calibrated it for this model and reader; failing that, as it was trained with the reader, was fitted
    to the decoder, or holds for any.

    Raises:
        ValueError: no preset of that name.
        ModelError: the file of calibrated numbers is damaged.
    """
    otherwise = preset(name, decoder_config)
    trained = {} if reader is None else reader.presets
    return {name: otherwise, **trained, **_read(calibrated_file(model, reader))}[name]


def save_calibrated(name: str, config: MemoryAttentionConfig, model: str | Path, reader: Reader | None = None) -> Path:
    """Keep numbers as what a preset means for this model from now on; returns the file.

    Raises:
        ModelError: the file there is damaged, or cannot be written.
    """
    file = calibrated_file(model, reader)
    presets = {**_read(file), name: config}
    try:
        replace_json(file, {name: asdict(one) for name, one in presets.items()})
    except OSError as error:
        raise ModelError(f"{file} cannot be written: {error.strerror}; make its folder writable.") from error
    return file


def _read(file: Path) -> dict[str, MemoryAttentionConfig]:
    if not is_there(file):
        return {}
    try:
        presets = read_json(file, max_bytes=_MAX_BYTES)
        if not isinstance(presets, dict) or not presets.keys() <= set(PRESETS):
            raise ValueError(f"expected presets of the names {', '.join(PRESETS)}")
        return {name: MemoryAttentionConfig.from_dict(values) for name, values in presets.items()}
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"{file} does not hold calibrated numbers ({error}); remove it, or calibrate the model again."
        ) from error
