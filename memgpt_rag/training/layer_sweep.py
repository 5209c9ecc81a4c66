"""Which layers are to read memory: the smallest set that a sweep finds to be nearly as good as all of them.

Where a model mixes sliding and global attention, the global layers are a good set. Where all layers are alike, what each one
is worth has to be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from memgpt_rag.rag import RAG
from memgpt_rag.training.answer_likelihood import Example, alike_batches, answer_losses
from memgpt_rag.training.calibrate import END_WEIGHT


@dataclass(frozen=True)
class LayerSweep:
    """What a sweep found.

    Attributes:
        layers: the layers that are to read memory, in ascending order.
        losses: mean loss by number of layers, along the way from all of them to these.
    """

    layers: tuple[int, ...]
    losses: dict[int, float]


@torch.no_grad()
def sweep_layers(
    rag: RAG,
    examples: Sequence[Example],
    *,
    tolerance: float = 0.03,
    batch_size: int = 8,
    on_loss: Callable[[int, float], None] = lambda layers, loss: None,
) -> LayerSweep:
    """Take layers away while the answers' loss stays within a tolerance of that of all attended layers.

    In each round every layer is hidden once; the quarter whose absence costs least goes, or half of that quarter where all
    of it would cost too much, down to one layer.

    Args:
        tolerance: share by which the loss may rise.
        on_loss: is told of each set measured how many layers it has, and its loss.

    Raises:
        ValueError: no examples.
    """
    if not examples:
        raise ValueError("There are no examples; give at least one.")
    layer_settings = rag.model.layer_settings
    parts = alike_batches(examples, batch_size)

    def loss_in(layers: Sequence[int]) -> float:
        of_parts = [
            answer_losses(rag, part, layer_settings={layer: layer_settings[layer] for layer in layers})
            for part in parts
        ]
        loss = float(torch.cat([words + END_WEIGHT * end for words, end in of_parts]).mean())
        on_loss(len(layers), loss)
        return loss

    kept = sorted(layer_settings)
    losses = {len(kept): loss_in(kept)}
    allowed = losses[len(kept)] * (1 + tolerance)
    while len(kept) > 1:
        without = {layer: loss_in([other for other in kept if other != layer]) for layer in kept}
        cheapest = sorted(kept, key=without.__getitem__)
        going = max(1, len(kept) // 4)
        while going:
            fewer = sorted(cheapest[going:])
            loss = without[cheapest[0]] if going == 1 else loss_in(fewer)
            if loss <= allowed:
                kept, losses[len(fewer)] = fewer, loss
                break
            going //= 2
        if not going:
            break
    return LayerSweep(tuple(kept), losses)
