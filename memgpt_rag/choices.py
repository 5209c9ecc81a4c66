"""Closed sets of options and their defaults, each once. Imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

from typing import Literal

Backend = Literal["torch", "openvino", "onnx"]
Precision = Literal["fp32", "bf16", "int8"]
BACKEND_PACKAGES: dict[Backend, tuple[str, ...]] = {
    "torch": (),
    "openvino": ("openvino", "nncf"),
    "onnx": ("onnxruntime", "onnx"),
}
