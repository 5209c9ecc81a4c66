"""int8 linear layers in pure torch, for CPUs with VNNI instructions.

Weights have one scale per output. Each token's inputs have a scale of their own, computed dynamically (as in Yao et al. 2022,
"ZeroQuant", section 4.1), so that a text's vector does not depend on the other texts of its batch.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Offset of the unsigned codes of inputs: the product of signed codes has no fast kernel on such CPUs.
_ZERO = 128
_LARGEST = 127


class Int8Product(nn.Module):
    """A linear layer with int8 weights and int8 inputs."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scales = (weight.abs().amax(1) / _LARGEST).clamp(min=1e-30)
        codes = (weight / scales[:, None]).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._packed = torch.ops.onednn.qlinear_prepack(codes, None)
        self._scales, self._zeros = scales, torch.zeros(len(codes), dtype=torch.int64)
        self._bias = torch.zeros(len(codes)) if linear.bias is None else linear.bias.detach().float().clone()

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        rows = x.reshape(-1, self.in_features)
        # Two passes with fast kernels; torch.aminmax over rows takes twenty times as long.
        largest = torch.maximum(rows.amax(1, keepdim=True), rows.amin(1, keepdim=True).neg_())
        scale = largest.div_(_LARGEST).clamp_(min=1e-30)
        codes = (rows * scale.reciprocal()).add_(_ZERO + 0.5).to(torch.uint8)  # adding a half and truncating rounds
        product = torch.ops.onednn.qlinear_pointwise(
            codes, 1.0, _ZERO, self._packed, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return torch.addcmul(self._bias, product, scale).view(*x.shape[:-1], self.out_features)


def to_int8(network: nn.Module) -> int:
    """Replace the linear layers of a network by int8 ones, and return their number."""
    found = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear
    ]
    for parent, name, child in found:
        setattr(parent, name, Int8Product(child))
    return len(found)
