"""Inference backends and precisions of an encoder's network, each named by one word."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from memgpt_rag.choices import BACKEND_PACKAGES, BACKEND_PRECISIONS, Backend, Precision
from memgpt_rag.errors import ModelError

# Version of the export and quantization, increased when they change, so that older files in the cache are not used.
_RECIPE = 2


class Bf16Network(nn.Module):
    """A network in bf16 whose output is fp32 again, so that pooling does not round."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.config = network.bfloat16(), network.config

    def forward(
        self, input_ids: Int[Tensor, "texts tokens"], **features: Any
    ) -> dict[str, Float[Tensor, "texts tokens width"]]:
        return {"last_hidden_state": self.network(input_ids=input_ids, **features)["last_hidden_state"].float()}


def require_known(backend: str, precision: str) -> tuple[Backend, Precision]:
    """Check the names of a backend and a precision; raises ValueError if unknown, or not available together."""
    if backend not in BACKEND_PRECISIONS:
        raise ValueError(f"backend is {backend!r}; expected one of {', '.join(BACKEND_PRECISIONS)}.")
    if precision not in BACKEND_PRECISIONS[backend]:
        raise ValueError(
            f"precision is {precision!r}; the backend {backend} computes in {', '.join(BACKEND_PRECISIONS[backend])}."
        )
    return backend, precision


def put_on(model: Any, name: str, backend: Backend, precision: Precision, key: str) -> None:
    """Replace the network of a sentence-transformers model by one in a backend; the other modules are kept.

    Args:
        model: a SentenceTransformer, loaded in fp32.
        name: name of the model, for errors.
        key: digest of the network, which names its files in the cache.

    Raises:
        ModelError: the model has no Transformer as first module, or is on a GPU, which the other backends do not support.
        MissingPackageError: the backend is not installed.
    """
    first = model[0]
    network = getattr(first, "model", None)
    if not isinstance(network, nn.Module) or getattr(network, "config", None) is None:
        raise ModelError(
            f"{name!r} begins with {type(first).__name__}, not with a Transformer, so that there is nothing to run in "
            f"{precision} on {backend}; load it with backend 'torch' and precision 'fp32'."
        )
    if precision == "bf16" and backend == "torch":
        first.model = Bf16Network(network)
        return
    if model.device.type != "cpu":
        raise ModelError(
            f"{name!r} is on {model.device}; {precision} on {backend} is for CPUs, and precision 'bf16' on backend 'torch' "
            "is what is fast there."
        )
    if backend == "torch":
        from memgpt_rag.encoders.int8_torch import to_int8

        to_int8(network)
        return
    from memgpt_rag.encoders.exported import exported

    with torch.inference_mode():
        first.model = exported(first, model.tokenizer, backend, precision, key)


def network_digest(model: Any, backend: Backend, precision: Precision) -> str:
    """Return the cache key of a network at a precision: a digest of its weights, quantization and backend."""
    packages = ("torch", "transformers", *BACKEND_PACKAGES[backend])
    versions = " ".join(f"{package} {_version(package)}" for package in packages)
    kept_as = "fp32" if backend == "openvino" and precision == "bf16" else precision
    digest = hashlib.sha256(f"{_RECIPE} {backend} {kept_as} {versions}".encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return f"{backend}-{kept_as}-{digest.hexdigest()[:24]}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
