"""A fitted classifier as a file beside the memory of its examples: what `fit` found out, so that texts can be classified at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.errors import MemoryFormatError, MismatchError
from memgpt_rag.io.json_file import number, read_json, replace_json
from memgpt_rag.limits import MOST_ENTRIES, MOST_MEMORY_TOKENS
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.presets import decoder_key
from memgpt_rag.tasks.classification.classifier import MemoryClassifier
from memgpt_rag.tasks.classification.mixture import Mixture

_KIND, _VERSION = "memgpt_rag classifier", 2
_MAX_BYTES = 2**24


def classifier_file(memory: str | Path) -> Path:
    """Return where the classifier of a memory is kept: beside its folder, whose files are the memory's alone."""
    folder = Path(memory).resolve()
    return folder.with_name(f"{folder.name}.classifier.json")


def save_classifier(classifier: MemoryClassifier) -> Path:
    """Write a fitted classifier beside its memory.

    Returns:
        The file.

    Raises:
        OSError: it cannot be written.
    """
    reader, path = classifier.reader_, classifier_file(classifier.memory_.path)
    replace_json(
        path,
        {
            "kind": _KIND,
            "version": _VERSION,
            "column": reader.column,
            "words": dict(reader.words.words),
            "k": reader.k,
            "max_tokens": reader.words.max_tokens,
            "mixture": classifier.mixture_.to_dict(),
            "model": decoder_key(reader.model.decoder.config),
        },
    )
    return path


def load_classifier(
    memory: str | Path | Memory, *, model: MemoryDecoder | str | None = None, encoder: Encoder | None = None
) -> MemoryClassifier:
    """Return the classifier that was fitted to a memory, with the examples that it has now.

    Args:
        model: the language model that it was fitted with; None for the default one.
        encoder: that of the memory; needed where it does not come as a package.

    Raises:
        MemoryFormatError: no classifier was fitted to this memory, or its file is damaged.
        MismatchError: it was fitted with another language model.
    """
    path = classifier_file(memory.path if isinstance(memory, Memory) else memory)
    kept = _read(path)
    settings = {"words": kept["words"], "k": kept["k"], "max_tokens": kept["max_tokens"]}
    classifier = MemoryClassifier.from_memory(memory, label=kept["column"], model=model, encoder=encoder, **settings)
    if (key := decoder_key(classifier.reader_.model.decoder.config)) != kept["model"]:
        raise MismatchError(
            f"{path.name} was fitted with the language model {kept['model']}, and this one is {key}; name that one, or fit again."
        )
    classifier.mixture_ = kept["mixture"]
    return classifier


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path, max_bytes=_MAX_BYTES)
        return _checked(found)
    except FileNotFoundError:
        raise MemoryFormatError(
            f"No classifier was fitted to this memory ({path.name} is missing); run: memgpt-rag classify fit --memory "
            f"{path.name.removesuffix('.classifier.json')}"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise MemoryFormatError(f"{path} holds no classifier ({reason}); fit it again.") from error


def _checked(found: Any) -> dict[str, Any]:
    if not isinstance(found, Mapping) or found.get("kind") != _KIND:
        raise ValueError(f"its kind is not {_KIND!r}")
    if found["version"] != _VERSION:
        raise ValueError(f"version {found['version']!r}; expected {_VERSION}")
    words, names = found["words"], (found["column"], found["model"])
    if not isinstance(words, dict) or not all(isinstance(one, str) for one in (*words.values(), *names)):
        raise ValueError("its words, column or model are no texts")
    return {
        "words": words,
        "column": found["column"],
        "model": found["model"],
        "k": int(number(found["k"], "k", 1, MOST_ENTRIES)),
        "max_tokens": int(number(found["max_tokens"], "max_tokens", 1, MOST_MEMORY_TOKENS)),
        "mixture": Mixture.from_dict(found["mixture"]),
    }
