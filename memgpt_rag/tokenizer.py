"""Tokenizers by the name of their language model, without loading the model."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from memgpt_rag.bundled import GENERATORS, generator_folder
from memgpt_rag.errors import ModelError


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """Tokenizer of a language model.

    Args:
        name: hub name, folder, or the name of a model that comes as a package.

    Raises:
        ModelError: no such model.
        MissingPackageError: it comes as a package that is not installed.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(generator_folder(str(name)) or name)
    except (OSError, ValueError, KeyError) as error:
        raise no_model(name, error) from error
    return tokenizer


def no_model(name: str | Path, error: Exception) -> ModelError:
    """The sentence for a language model that cannot be had."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return ModelError(
        f"No language model {str(name)!r}: it is no folder with a model here, it is none of the models that come as packages "
        f"({', '.join(GENERATORS)}), and the Hugging Face hub did not give it ({reason})."
    )
