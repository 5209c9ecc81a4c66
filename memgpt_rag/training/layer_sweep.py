"""Selects the layers that attend to memory: the smallest set in a sweep that is nearly as good as all of them.

In a model that mixes sliding and global attention, the global layers are a good set. If all layers are of one kind, the
contribution of each has to be measured.
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
    """Result of a layer sweep.

    Attributes:
        layers: the selected layers, in ascending order.
        losses: number of layers → mean loss, from all layers to the selected ones.
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
    """Remove layers while the answers' loss stays within a tolerance of that of all attended layers.

    In each round every layer is left out once; the quarter with the smallest increase of the loss is removed, or half of
    that quarter if all of it exceeds the tolerance, down to one layer.

    Args:
        tolerance: relative increase of the loss that is allowed.
        on_loss: called with the number of layers and the loss of each set measured.

    Raises:
        ValueError: no examples.
    """
    if not examples:
        raise ValueError("There are no examples; give at least one.")
    layer_settings = rag.model.layer_settings
    parts = alike_batches(examples, rag.model.rows_at_once(batch_size))

    def loss_in(layers: Sequence[int]) -> float:
        batch_losses = [
            answer_losses(rag, part, layer_settings={layer: layer_settings[layer] for layer in layers})
            for part in parts
        ]
        loss = float(torch.cat([words + END_WEIGHT * end for words, end in batch_losses]).mean())
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
