"""Weights in int8 for decoding on a CPU, where reading them from memory takes most of the time.

Each linear layer keeps its weights and gets int8 codes beside them, with one scale per output. A few rows at once, and all rows of a
decoding step, are multiplied with the codes, which are a half or a quarter of the bytes; more rows, as of a question or a prompt, are
bound by arithmetic and go to the weights themselves. The output layer, which in a small model is most of what a step reads, ranks
the vocabulary in 4 bits and computes the logits of the first words with the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from jaxtyping import Float, Int, Int8, UInt8
from torch import Tensor, nn
from transformers import PreTrainedModel

from memgpt_rag.model.short_norm import shorten_norms

# Measured on an AVX2 core for 640 × 2,048: with 8 rows codes take .7 of the time of weights in fp32, with 16 as long.
MAX_ROWS = 8
# Rows of a decoding step that are multiplied with codes: more are so much faster with the weights that a batch may round otherwise.
MAX_STEP_ROWS = 32
_max_rows: ContextVar[int] = ContextVar("max_rows", default=MAX_ROWS)
# Words whose logits are exact.
RANKED = 64
# The product with int8 reads inputs in steps of this many, and that with int4 has a scale for as many; neither checks that they fit.
_STEP = 32
# The product with int4 takes outputs in blocks of this many.
_OUTPUTS = 16
# Outputs whose codes of 4 bits lie interleaved: 64 with AVX-512, 32 with AVX2. Codes made in parts fit only at multiples of it.
_PACKED = 64
# Words of a block in the search for the largest logits.
_RANKED_BLOCK = 256
# Weights that get codes at once: few enough for the processor's cache, in which they are widened; with 2²⁴ it takes three times as long.
_BLOCK = 2**18


class Int8Linear(nn.Module):
    """A linear layer with codes beside its weights.

    Inputs and outputs of the product are bf16, whatever the weights are: in fp32 it has no fast form, and takes four times as long
    as the weights.

    Args:
        linear: the layer; its weights are shared, not copied.
    """

    codes: Tensor
    scales: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.linear = linear
        self._has_bias = linear.bias is not None
        codes, scales = _int8(linear.weight.detach())
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
        if len(rows) > _max_rows.get() or torch.is_grad_enabled():
            output: Tensor = self.linear(x)
            return output
        output = torch._weight_int8pack_mm(_product_input(rows), self.codes, self.scales)
        if output.dtype != x.dtype:
            output = output.to(x.dtype)
        if self._has_bias:
            output = output + self.linear.bias
        return output.view(*x.shape[:-1], -1)


class RankingHead(nn.Module):
    """An output layer that ranks the vocabulary in 4 bits, and computes the logits of the first words with its weights.

    The likeliest word is that of the weights unless it ranks below the first `RANKED` in 4 bits. All other logits are those of
    4 bits.

    Args:
        linear: the output layer, without a bias; its weights are shared, not copied.
    """

    codes: Tensor
    scales: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.linear = linear
        codes, scales = _int4(linear.weight.detach())
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("scales", scales, persistent=False)

    @staticmethod
    def fits(layer: nn.Module | None) -> bool:
        """Return whether a layer can be ranked: the sizes that the product with int4 takes, and words enough to rank."""
        return (
            type(layer) is nn.Linear
            and layer.bias is None
            and layer.in_features % _STEP == 0
            and layer.out_features % _OUTPUTS == 0
            and layer.out_features > RANKED
        )

    @property
    def weight(self) -> Tensor:
        """The weight as the wrapped layer holds it."""
        return self.linear.weight

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch vocabulary"]:
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) > _max_rows.get() or torch.is_grad_enabled():
            output: Tensor = self.linear(x)
            return output
        product = torch.ops.aten._weight_int4pack_mm_for_cpu(_product_input(rows), self.codes, _STEP, self.scales)
        logits = product.to(x.dtype)
        first = _first(logits, RANKED)
        weights = self.weight.index_select(0, first.flatten()).view(*first.shape, -1)
        logits.scatter_(1, first, (weights @ rows[:, :, None])[:, :, 0])
        ranked: Tensor = logits.view(*x.shape[:-1], -1)
        return ranked


@contextmanager
def decoding_step() -> Iterator[None]:
    """Have a forward pass use codes for up to `MAX_STEP_ROWS` rows, so that what a token is decoded with does not depend on how many
    others there are in the pass.
    """
    token = _max_rows.set(MAX_STEP_ROWS)
    try:
        yield
    finally:
        _max_rows.reset(token)


def add_int8_weights(decoder: nn.Module) -> int:
    """Give the linear layers of a decoder codes, and its norms a short form; returns how many layers got codes.

    Layers whose inputs are no multiple of 32 get none.
    """
    head = decoder.get_output_embeddings() if isinstance(decoder, PreTrainedModel) else None
    layers = [
        (parent, name, child)
        for parent in decoder.modules()
        if not isinstance(parent, Int8Linear | RankingHead)
        for name, child in parent.named_children()
        if type(child) is nn.Linear and child.in_features % _STEP == 0
    ]
    for parent, name, child in layers:
        setattr(parent, name, RankingHead(child) if child is head and RankingHead.fits(child) else Int8Linear(child))
    shorten_norms(decoder)
    return len(layers)


def _product_input(rows: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows inputs"]:
    """Return inputs in bf16 and contiguous, as the products with codes take them; a slice of the last tokens of a batch is not."""
    return (rows if rows.dtype == torch.bfloat16 else rows.bfloat16()).contiguous()


def _first(logits: Float[Tensor, "rows words"], count: int) -> Int[Tensor, "rows count"]:
    """Return the places of the largest logits, in no order.

    They lie in the blocks with the largest maxima, as many blocks as places: these alone hold as many logits that are at least as large
    as any of another block. With logits in fp32 it takes a quarter of the time of a search among the whole vocabulary.
    """
    words = logits.shape[1]
    if words % _RANKED_BLOCK or words // _RANKED_BLOCK <= count:
        return logits.topk(count, dim=-1, sorted=False).indices
    blocks = logits.view(len(logits), -1, _RANKED_BLOCK)
    best = blocks.amax(-1).topk(count, dim=-1, sorted=False).indices
    among = blocks.gather(1, best[:, :, None].expand(-1, -1, _RANKED_BLOCK)).flatten(1)
    found = among.topk(count, dim=-1, sorted=False).indices
    return best.gather(1, found // _RANKED_BLOCK) * _RANKED_BLOCK + found % _RANKED_BLOCK


def _int8(weight: Float[Tensor, "outputs inputs"]) -> tuple[Int8[Tensor, "outputs inputs"], Float[Tensor, " outputs"]]:
    """Codes and scales, some rows at a time, so that no second copy in fp32 is needed."""
    codes = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scales = torch.empty(len(weight), dtype=torch.bfloat16, device=weight.device)
    for start, block in _blocks(weight):
        # The scale as it is stored, so that codes fit it, and the largest magnitude never needs a 128.
        scale = (block.abs().amax(1) / 127).clamp(min=1e-30).bfloat16()
        scales[start : start + len(block)] = scale
        codes[start : start + len(block)] = (block / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
    return codes, scales


def _int4(
    weight: Float[Tensor, "outputs inputs"],
) -> tuple[UInt8[Tensor, "outputs bytes"], Float[Tensor, "groups outputs 2"]]:
    """Codes of 4 bits as the product takes them, and for each 32 inputs of an output a scale and what code 8 stands for."""
    groups = weight.shape[1] // _STEP
    codes = torch.empty(len(weight), weight.shape[1] // 2, dtype=torch.uint8)
    scales = torch.empty(groups, len(weight), 2, dtype=torch.bfloat16)
    for start, block in _blocks(weight):
        grouped = block.view(len(block), groups, _STEP)
        least, most = grouped.aminmax(dim=-1)
        scale = ((most - least) / 15).clamp(min=1e-30).bfloat16().float()
        middle = (least + 8 * scale).bfloat16().float()
        numbers = ((grouped - middle[..., None]) / scale[..., None]).round().add_(8).clamp_(0, 15).to(torch.int32)
        codes[start : start + len(block)] = torch._convert_weight_to_int4pack_for_cpu(numbers.view(block.shape), 1)
        scales[:, start : start + len(block)] = torch.stack([scale, middle], dim=-1).transpose(0, 1)
    return codes, scales


def _blocks(weight: Float[Tensor, "outputs inputs"]) -> Iterator[tuple[int, Float[Tensor, "some inputs"]]]:
    """Yield the weights in fp32 some outputs at a time, each with the place of its first output."""
    step = max(1, _BLOCK // weight.shape[1] // _PACKED) * _PACKED
    for start in range(0, len(weight), step):
        yield start, weight[start : start + step].float()
