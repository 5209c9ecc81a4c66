"""Memory reading as a folder for `generate(custom_generate=…)`, which works from the Hub where this package is not installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from memgpt_rag.errors import ModelError
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.layer_kinds import Chunk
from memgpt_rag.model.presets import general_preset
from memgpt_rag.model.prompt import Prompt

_TEMPLATE = Path(__file__).with_name("custom_generate") / "generate.py"


def save_generation(model: MemoryDecoder, folder: str | Path, config: MemoryAttentionConfig | None = None) -> Path:
    """Write the folder `custom_generate`, as `model.generate(custom_generate=FOLDER, trust_remote_code=True)` takes it.

    The code in it reads passages behind the prefix of an untrained model and attends to all of their tokens. It has neither trained
    readers nor the best m tokens of each head, nor numbers for single layers and heads, which masks cannot say.

    Args:
        folder: of a model, or to be uploaded as a repository of its own.
        config: τ, β and b, as single numbers; None for the preset as it holds for any decoder.

    Returns:
        The folder `custom_generate` within it.

    Raises:
        ModelError: the configuration or the model has what masks cannot say, or the folder cannot be written.
    """
    config = general_preset("quality") if config is None else config
    numbers = {"inverse_temperature": config.inverse_temperature, "offset": config.offset}
    if (
        config.layers != "all"
        or config.null_score is not None
        or any(isinstance(one, tuple) for one in numbers.values())
    ):
        raise ModelError(
            "A folder for custom_generate reads memory in all layers, by one temperature and one offset, without a null slot; "
            "give such a configuration, or leave it out."
        )
    chunked = any(isinstance(window, Chunk) for window in model.windows.values())
    if model.is_recurrent or chunked or model.first_position:
        raise ModelError(
            f"{model.name} has recurrent layers, attends in chunks, or counts positions in its own way, which masks cannot say; use "
            "RAG.open."
        )
    target = Path(folder) / "custom_generate"
    settings = {"prefix_ids": list(Prompt(model.tokenizer).prefix_ids), "score_bias": config.score_bias, **numbers}
    try:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_TEMPLATE, target / _TEMPLATE.name)
        text = json.dumps(settings, allow_nan=False)  # numbers only, which JSON and Python write alike
        (target / "settings.py").write_text(
            f'"""The prefix in tokens, and how memory is weighted."""\n\nSETTINGS = {text}\n', encoding="utf-8"
        )
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror}; name another folder.") from error
    return target
