"""Weights in int8 for decoding on a CPU, where reading them from memory takes most of the time.

Each linear layer keeps its weights and gets int8 codes beside them, with one scale per output. A few rows at once, as in
decoding, are multiplied with the codes, which are half as many bytes as bf16; more rows, as of a question or a prompt,
are bound by arithmetic and go to the weights themselves. Activations are never rounded.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Measured for 640 × 2,048 in bf16 on two cores: with 4 rows codes are a little faster, with 24 half as fast.
MAX_ROWS = 4
# The product reads inputs in steps of this many and does not check that they fit.
_STEP = 32
_BLOCK = 2**24


class Int8Linear(nn.Module):
    """A linear layer with codes beside its weights.

    Args:
        linear: the layer; its weights are shared, not copied.
    """

    codes: Tensor
    scales: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.linear = linear
        codes, scales = _encode(linear.weight.detach())
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("scales", scales, persistent=False)

    @property
    def weight(self) -> Tensor:
        """The weight as the wrapped layer holds it."""
        return self.linear.weight

    @property
    def bias(self) -> Tensor | None:
        """The bias as the wrapped layer holds it."""
        return self.linear.bias

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) > MAX_ROWS or torch.is_grad_enabled():
            output: Tensor = self.linear(x)
            return output
        output = torch._weight_int8pack_mm(rows, self.codes, self.scales)
        return (output if self.bias is None else output + self.bias).view(*x.shape[:-1], -1)


def add_int8_weights(decoder: nn.Module) -> int:
    """Give the linear layers of a decoder codes; returns how many got them. Inputs that are no multiple of 32 get none."""
    layers = [
        (parent, name, child)
        for parent in decoder.modules()
        if not isinstance(parent, Int8Linear)
        for name, child in parent.named_children()
        if type(child) is nn.Linear and child.in_features % _STEP == 0
    ]
    for parent, name, child in layers:
        setattr(parent, name, Int8Linear(child))
    return len(layers)


def _encode(weight: Float[Tensor, "outputs inputs"]) -> tuple[Tensor, Tensor]:
    """Codes and scales, some rows at a time, so that no second copy in fp32 is needed."""
    codes = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scales = torch.empty(len(weight), dtype=weight.dtype, device=weight.device)
    step = max(1, _BLOCK // weight.shape[1])
    for start in range(0, len(weight), step):
        block = weight[start : start + step].float()
        # The scale as it is stored, so that codes fit it, and the largest magnitude never needs a 128.
        scale = (block.abs().amax(1) / 127).clamp(min=1e-30).to(weight.dtype)
        scales[start : start + step] = scale
        codes[start : start + step] = (block / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
    return codes, scales
