"""Between states as a model computes and reads them and states as they are stored: arrays of all layers, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Shaped

from memgpt_rag.errors import ModelError
from memgpt_rag.fingerprint import PROBE_PASSAGE, StatesFingerprint, encode_probe
from memgpt_rag.model.attention import MemoryValues
from memgpt_rag.model.decoder import MemoryDecoder
from memgpt_rag.model.states import EntryStates


class Stored(Protocol):
    """What gives the codes and scales of an entry by its row, as a memory does; None where it has none."""

    def states(self, row: int) -> tuple[np.ndarray, np.ndarray | None] | None: ...


def states_fingerprint(
    model: MemoryDecoder, *, dtype: str = "int8", probe_layer: int | None = None
) -> StatesFingerprint:
    """What tells states of this model, in the layers that attend to memory, from those of others.

    Args:
        dtype: how they are, or will be, stored.
        probe_layer: layer to take the probe from; None for the last one that attends to memory.
    """
    probe_layer = min(model.layers[-1] if probe_layer is None else probe_layer, len(model.windows) - 1)
    probe_ids = tuple(model.tokenizer(PROBE_PASSAGE, add_special_tokens=False)["input_ids"])
    keys, values = model.read_after_prefix([probe_ids])[probe_layer]
    last = torch.cat([keys[0, :, -1].flatten(), values[0, :, -1].flatten()]).float()
    return StatesFingerprint(
        model=model.name,
        layers=model.layers,
        kv_heads=keys.shape[1],
        head_dim=keys.shape[3],
        dtype=dtype,
        prefix_ids=model.prefix_ids,
        probe_ids=probe_ids,
        probe=encode_probe(last.cpu().numpy()),
        delimiters="" if model.delimiters is None else model.delimiters.digest(),
    )


def load_states(
    model: MemoryDecoder, stored: Stored, fingerprint: StatesFingerprint, rows: Sequence[int]
) -> list[EntryStates]:
    """States of the entries in these rows, for a model that the fingerprint's `require_match` has accepted."""
    places = [fingerprint.layers.index(layer) for layer in model.layers]
    every = places == list(range(len(fingerprint.layers)))
    loaded = []
    for row in rows:
        of_row = stored.states(row)
        if of_row is None:
            raise ModelError(f"There are no states of row {row}; compute them with: memgpt-index states")
        codes, scales = of_row
        if not every:
            codes, scales = codes[:, places], None if scales is None else scales[:, places]
        loaded.append(from_array(codes, scales, model.layers, model.decoder.dtype, model.decoder.device))
    return loaded


def to_array(states: EntryStates) -> Float[np.ndarray, "tokens layers 2 kv_heads head_dim"]:
    """All layers in ascending order, keys before values, in fp32.

    Raises:
        ModelError: keys and values, or layers, differ in size.
    """
    tensors = [(states.keys[layer], states.values[layer].widened(torch.float32)) for layer in sorted(states.keys)]
    if len({tensor.shape for pair in tensors for tensor in pair}) != 1:
        raise ModelError("Keys and values of this model differ in size, or its layers do; its states cannot be stored.")
    stacked = torch.stack([torch.stack([keys.float(), values]) for keys, values in tensors])
    array: np.ndarray = stacked.permute(3, 0, 1, 2, 4).cpu().numpy()  # from [layers, 2, kv_heads, tokens, head_dim]
    return array


def from_array(
    codes: Shaped[np.ndarray, "tokens layers 2 kv_heads head_dim"],
    scales: Float[np.ndarray, "tokens layers 2 kv_heads"] | None,
    layers: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
) -> EntryStates:
    """Codes as states: keys, and values that have no scales, as `dtype`. Codes of 16 bits without a sign are bf16."""
    tensor = torch.from_numpy(np.array(codes)).to(device)  # copied: what is mapped stays as it is
    tensor = (tensor.view(torch.bfloat16) if codes.dtype == np.uint16 else tensor).permute(2, 1, 3, 0, 4)
    scale = None if scales is None else torch.from_numpy(np.array(scales)).to(device).permute(2, 1, 3, 0)
    keys = tensor[0].to(dtype) if scale is None else tensor[0].to(dtype) * scale[0].to(dtype).unsqueeze(-1)
    values = tensor[1].to(dtype) if scale is None else tensor[1]
    return EntryStates(
        {layer: keys[place] for place, layer in enumerate(layers)},
        {
            layer: MemoryValues(values[place], None if scale is None else scale[1, place])
            for place, layer in enumerate(layers)
        },
    )
