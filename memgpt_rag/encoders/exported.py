"""Networks for OpenVINO or ONNX Runtime: exported from torch once, and stored in the user's cache folder.

sentence-transformers supports these backends through optimum, which lags behind transformers by months; only the export of one
network is needed here. The cache key is a digest of the weights, the backend and the quantization, so that another model's
files are never used; a changed file is exported again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from memgpt_rag.choices import BACKEND_PACKAGES, Backend, Precision
from memgpt_rag.encoders.probe_texts import CALIBRATION
from memgpt_rag.errors import MissingPackageError
from memgpt_rag.io.cache_folder import cache_folder, made_once
from memgpt_rag.io.json_file import read_json, replace_json

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OPSET = 17
_DIGESTS = "digests.json"


class ExportedNetwork(nn.Module):
    """Replaces the network of a sentence-transformers model by an exported one."""

    def __init__(self, network: nn.Module, inputs: tuple[str, ...], run: Callable[[list[Any]], Any]):
        super().__init__()
        self.config, self._inputs, self._run = network.config, inputs, run
        self.register_buffer("place", torch.zeros(()), persistent=False)  # a model's device is that of its first tensor

    def forward(
        self, input_ids: Int[Tensor, "texts tokens"], **features: Any
    ) -> dict[str, Float[Tensor, "texts tokens width"]]:
        given = {"input_ids": input_ids, **features}
        return {"last_hidden_state": torch.from_numpy(self._run([given[name].numpy() for name in self._inputs]))}


class _Output(nn.Module):
    """A network as a function of tensors by position."""

    def __init__(self, network: nn.Module, inputs: tuple[str, ...]):
        super().__init__()
        self.network, self.inputs = network, inputs

    def forward(self, *tensors: Tensor) -> Tensor:
        output: Tensor = self.network(**dict(zip(self.inputs, tensors, strict=True)))["last_hidden_state"]
        return output


def exported(module: Any, tokenizer: Any, backend: Backend, precision: Precision, key: str) -> ExportedNetwork:
    """Export the network of a Transformer module to another backend, or load it from the cache.

    Args:
        module: the first module of a SentenceTransformer.
        tokenizer: the model's tokenizer, for the texts that int8 is calibrated on.
        key: name of the folder in the cache.

    Raises:
        MissingPackageError: a package is not installed.
    """
    _require(backend)
    network: nn.Module = module.model
    batches = [_tokens(tokenizer, texts, module.max_seq_length) for texts in CALIBRATION]
    inputs = tuple(name for name in _INPUTS if name in batches[0])
    write, load, name = (
        (_write_openvino, _load_openvino, "network.xml")
        if backend == "openvino"
        else (_write_onnx, _load_onnx, "network.onnx")
    )

    def make(folder: Path) -> None:
        with _quiet():
            write(_Output(network, inputs), batches, inputs, folder / name, precision == "int8")
        replace_json(folder / _DIGESTS, {file.name: _digest(file) for file in folder.iterdir()})

    folder = made_once(cache_folder("networks", key), make, _is_as_written)
    return ExportedNetwork(network, inputs, load(folder / name, precision))


def _is_as_written(folder: Path) -> bool:
    """Return whether every file has its original checksum; a network with changed weights would load, and give other vectors."""
    try:
        digests = read_json(folder / _DIGESTS, max_bytes=100_000).items()
        return bool(digests) and all(_digest(folder / name) == digest for name, digest in digests)
    except (OSError, ValueError, AttributeError):
        return False


def _digest(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=32)
    with file.open("rb") as opened:
        while block := opened.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _write_openvino(
    network: _Output, batches: list[dict[str, Tensor]], inputs: tuple[str, ...], file: Path, int8: bool
) -> None:
    import openvino

    model = openvino.convert_model(network, example_input=tuple(batches[0][name] for name in inputs))
    for place, name in zip(model.inputs, inputs, strict=True):
        place.get_tensor().set_names({name})
        place.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
    model.validate_nodes_and_infer_types()
    if int8:
        import nncf

        samples = nncf.Dataset(batches, lambda batch: [batch[name].numpy() for name in inputs])
        # Scales are moved from inputs to weights first (Xiao et al. 2022, "SmoothQuant"); attention is not quantized.
        model = nncf.quantize(
            model,
            samples,
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(batches),
        )
    openvino.save_model(model, file, compress_to_fp16=False)


def _load_openvino(file: Path, precision: Precision) -> Callable[[list[Any]], Any]:
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # Operations that are not quantized to int8 run in bf16.
        "INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "bf16",
    }
    compiled = openvino.Core().compile_model(file, "CPU", settings)
    return lambda arrays: compiled(arrays)[0].copy()  # the next call overwrites the buffer


def _write_onnx(
    network: _Output, batches: list[dict[str, Tensor]], inputs: tuple[str, ...], file: Path, int8: bool
) -> None:
    plain = file.with_name("plain.onnx") if int8 else file
    torch.onnx.export(
        network,
        tuple(batches[0][name] for name in inputs),
        str(plain),
        input_names=list(inputs),
        output_names=["last_hidden_state"],
        dynamic_axes={name: {0: "texts", 1: "tokens"} for name in (*inputs, "last_hidden_state")},
        opset_version=_OPSET,
        dynamo=False,
    )
    if int8:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        # Unsigned weights: with signed ones, processors without VNNI add two products in 16 bits, which overflows.
        quantize_dynamic(plain, file, weight_type=QuantType.QUInt8, per_channel=True)
        plain.unlink()


def _load_onnx(file: Path, precision: Precision) -> Callable[[list[Any]], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]


def _tokens(tokenizer: Any, texts: list[str], max_tokens: int | None) -> dict[str, Tensor]:
    return dict(tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"))


def _require(backend: Backend) -> None:
    for package in BACKEND_PACKAGES[backend]:
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(package, f"The backend {backend}", f"pip install 'memgpt_rag[{backend}]'")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporters' progress bars and warnings inside the block."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
