"""Safe loading of third-party models: their code is not run, no prompt is shown, and missing weights are an error.

transformers initializes missing weights at random and only warns, so that a half-copied folder gives arbitrary output. Every
error of the libraries while a model loads becomes one sentence here, for any kind of model.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memgpt_rag.errors import MemgptRagError, ModelError, first_line
from memgpt_rag.io.json_file import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MOST_CONFIG = 2**24  # bytes
_NAMED = 3  # number of weights that an error names
# A pooler follows the hidden states, from which embeddings are computed; many embedding models are saved without it.
_POOLER = ("pooler.",)
_LAYER = re.compile(r"(?<=\.)\d+(?=\.)")
# Allowed arguments for loading a network in transformers. The configuration in a sentence-transformers folder can contain any
# argument, such as one to load pickles; the others are not passed on.
_SETTINGS = {"config", "token", "cache_dir", "revision", "subfolder", "local_files_only", "dtype", "torch_dtype"}
_SETTINGS |= {"attn_implementation", "add_pooling_layer", "trust_remote_code", "adapter_kwargs", "_from_auto"}
_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def loading(
    kind: str, name: str | Path, source: str | Path | None = None, *, packages: Sequence[str] = ()
) -> Iterator[None]:
    """Turn every error of a library inside the block into a ModelError that names the model.

    Args:
        kind: kind of model, such as "language model".
        name: hub name or folder as the user gave it.
        source: folder or name that is loaded for it, if different.
        packages: names of such models that come as packages.

    Raises:
        ModelError: the model does not exist, is damaged, needs code of its own, or is an adapter for another one.
    """
    try:
        _require_no_adapter(kind, str(name), str(source or name))
        yield
    except MemgptRagError:
        raise
    except Exception as error:  # damaged files make libraries raise nearly everything
        raise ModelError(_sentence(kind, str(name), str(source or name), packages, error)) from error


def saved_setting(source: str, file: str, key: str) -> Any:
    """Return what a JSON file in a model's folder or repository says under a key; None where it says nothing, or there is none."""
    from sentence_transformers.util import load_file_path

    path = load_file_path(source, file)
    config = read_json(path, max_bytes=_MOST_CONFIG) if path is not None else None
    return config.get(key) if isinstance(config, dict) else None


def gguf_file(source: str | Path) -> tuple[str | Path, dict[str, Any]]:
    """Return the folder of a GGUF file, and the setting that names the file there; another source as it is."""
    file = Path(source)
    if file.suffix.lower() != ".gguf" or not file.is_file():
        return source, {}
    return file.parent, {"gguf_file": file.name}


def _require_no_adapter(kind: str, name: str, source: str) -> None:
    """Refuse an adapter: transformers would load the model that it names, and pass all of its settings to peft."""
    from transformers.utils.peft_utils import find_adapter_config_file

    if not Path(source).is_file() and find_adapter_config_file(source) is not None:
        raise ModelError(
            f"The {kind} {name!r} has an adapter of peft in it (adapter_config.json), which would change the model unseen; "
            "merge the two, or name a folder without the adapter."
        )


def _sentence(kind: str, name: str, source: str, packages: Sequence[str], error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return (
            f"The {kind} {name!r} needs Python code of its own, which is never run; name a model that transformers and "
            "sentence-transformers know without it."
        )
    reason = _reason(error, Path(source), kind)
    if isinstance(error, ImportError):
        return (
            f"The {kind} {name!r} needs a package that is not installed ({reason}); install it, or name another model."
        )
    if Path(source).exists():
        place = "" if source == name else f" in {source}"
        return (
            f"The {kind} {name!r}{place} cannot be loaded ({reason}); copy or download it again, or name another one."
        )
    if not isinstance(error, OSError | ValueError | KeyError):
        return f"The {kind} {name!r} cannot be loaded ({reason}); download it again, or name another one."
    known = f" it is none of the models that come as packages ({', '.join(packages)})," if packages else ""
    return f"No {kind} {name!r}: it is no folder here,{known} and the Hugging Face hub did not give it ({reason})."


def _reason(error: Exception, source: Path, kind: str) -> str:
    if source.is_file():
        return (
            first_line(error)
            if kind == "language model" and source.suffix.lower() == ".gguf"
            else "it is a file; name a folder"
        )
    if source.is_dir() and not (source / "config.json").is_file() and not (source / "modules.json").is_file():
        return "it is a folder without config.json"
    raised = type(error).__name__
    if raised == "UnpicklingError":
        return "its weights are a damaged pickle, or one with more in it than weights, which is never opened"
    if raised == "SafetensorError":
        return f"its weights are cut off or damaged: {first_line(error)}"
    if isinstance(error, RecursionError):
        return "one of its files is nested too deeply"
    if raised.startswith("StrictDataclass"):  # of a configuration: first what was checked, then what is wrong
        return first_line(str(error).split("\n", 1)[-1])
    if str(error).startswith("Error(s) in loading state_dict"):
        return first_line(str(error).split("\n", 1)[-1])
    if isinstance(error, KeyError):
        return f"{first_line(error)} is missing"
    return first_line(error)


def require_whole(
    model: PreTrainedModel, found: dict[str, Any], kind: str, name: str | Path, *, unused: Sequence[str] = ()
) -> None:
    """Check that a model has all its weights from its files.

    Args:
        found: the loading information of transformers' `from_pretrained`.
        kind, name: as for `loading`.
        unused: name prefixes of weights that may be missing, since they are not used.

    Raises:
        ModelError: weights are missing, have other shapes than the configuration says, or belong to layers that it does
            not have.
    """
    expected = [_base(model, key) for key in model.state_dict()]
    missing = [key for key in found["missing_keys"] if not _base(model, key).startswith(tuple(unused))]
    shapes = [f"{key}: {_shape(theirs)} instead of {_shape(ours)}" for key, theirs, ours in found["mismatched_keys"]]
    # An unexpected weight is an error if it belongs to a further layer, or to a module that the model has.
    # Heads for other tasks and buffers of older releases, such as position_ids, do not.
    layers, maps = {_LAYER.sub("#", key) for key in expected}, {key.rpartition(".")[0] for key in expected}
    surplus = [
        key
        for key in found["unexpected_keys"]
        if _LAYER.sub("#", _base(model, key)) in layers or _base(model, key).rpartition(".")[0] in maps
    ]
    wrong = [
        f"{len(names):,} {what} ({', '.join(sorted(names)[:_NAMED])}{', …' if len(names) > _NAMED else ''})"
        for what, names in (
            (f"of its {len(expected):,} weights are missing", missing),
            ("weights have another shape than its configuration says", shapes),
            ("weights have no place in its configuration", surplus),
        )
        if names
    ]
    if wrong:
        raise ModelError(
            f"The {kind} {str(name)!r} is not whole: {', and '.join(wrong)}; copy or download all of its files again."
        )


@contextmanager
def require_all_whole(kind: str, name: str | Path, *, unused: Sequence[str] = _POOLER) -> Iterator[None]:
    """Check inside the block that every network that transformers loads has all weights, and pass on safe arguments only.

    For sentence-transformers, which loads networks of transformers without loading information, and passes on the arguments
    in a folder's configuration.

    Raises:
        ModelError: as `require_whole`; or the folder's configuration contains other arguments.
    """
    from transformers import PreTrainedModel

    load: Callable[..., Any] = PreTrainedModel.from_pretrained.__func__
    ours = threading.get_ident()

    def from_pretrained(cls: type, *args: Any, **settings: Any) -> Any:
        if threading.get_ident() != ours:
            return load(cls, *args, **settings)
        strange = (settings.keys() - _SETTINGS) | (
            (settings.get("adapter_kwargs") or {}).keys() - {"token", "revision"}
        )
        if strange:
            raise ModelError(
                f"The {kind} {str(name)!r} asks to be loaded with {', '.join(sorted(strange))}, which can run code or change "
                "other files and is never done; take it out of its configuration, or name another model."
            )
        settings |= {"trust_remote_code": False, "weights_only": True, "output_loading_info": True}
        # Mismatched shapes are accepted here, and reported below.
        model, found = load(cls, *args, **settings, ignore_mismatched_sizes=True)
        require_whole(model, found, kind, name, unused=unused)
        return model

    with _ONE_AT_A_TIME:
        PreTrainedModel.from_pretrained = classmethod(from_pretrained)
        try:
            yield
        finally:
            PreTrainedModel.from_pretrained = classmethod(load)


def _base(model: PreTrainedModel, key: str) -> str:
    """Return a weight's name in the base model, without the prefix that it has in a model with a head."""
    return key.removeprefix(f"{model.base_model_prefix}.")


def _shape(shape: Sequence[int]) -> str:
    return "×".join(str(size) for size in shape) or "one number"
