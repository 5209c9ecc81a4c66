"""The bundled models, loaded once a process: whoever loads one again gets another copy that shares its weights.

Nothing is put in their place: the code that loads a model runs the first time, and what it gives is the model itself. Models
in folders of tests are loaded each time.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest

from memgpt_rag.encoders import load
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.config import DEFAULT_ENCODER, EncoderConfig
from memgpt_rag.hub.bundled import ENCODERS, GENERATORS
from memgpt_rag.model import decoder, loading


def share(patch: pytest.MonkeyPatch) -> None:
    load_decoder, load_encoder = loading.load_decoder, load.load_encoder
    decoders: dict[Any, Any] = {}
    encoders: dict[EncoderConfig, Encoder] = {}

    @functools.wraps(load_decoder)
    def shared_decoder(name: Any, dtype: Any, device: Any, settings: dict[str, Any]) -> Any:
        if str(name) not in GENERATORS or settings or device is not None:
            return load_decoder(name, dtype, device, settings)
        key = str(name), loading.best_dtype() if dtype == "auto" else dtype
        if key not in decoders:
            decoders[key] = load_decoder(name, dtype, device, settings)
        return sharing_weights(decoders[key])

    @functools.wraps(load_encoder)
    def shared_encoder(config: EncoderConfig | str = DEFAULT_ENCODER) -> Encoder:
        config = EncoderConfig(config) if isinstance(config, str) else config
        if config.name not in ENCODERS or (config.backend, config.precision) != ("torch", "fp32"):
            return load_encoder(config)
        if config not in encoders:
            encoders[config] = load_encoder(config)
        return encoders[config]

    patch.setattr(decoder, "load_decoder", shared_decoder)
    patch.setattr(load, "load_encoder", shared_encoder)


def sharing_weights(model: Any) -> Any:
    """Return a copy of a model with modules and a configuration of its own, and the same tensors."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
