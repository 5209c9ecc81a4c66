"""Between states as a model computes and reads them and states as they are stored: arrays of all layers, token by token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from memgpt_rag.errors import ModelError
from memgpt_rag.fingerprint import PROBE_PASSAGE, StatesFingerprint, encode_probe
from memgpt_rag.model.attention import MemoryValues
from memgpt_rag.model.decoder import MemoryDecoder
from memgpt_rag.model.states import EntryStates, StateShapes
from memgpt_rag.model.whole_cache import StateKey
from memgpt_rag.state_codes import Rounding, decode, stored_rounding

# From which the mean and the spread of states are taken: text of several kinds in two languages.
_PASSAGES = (
    "The old harbour lies where the river meets the sea. Since 1874 a ferry has crossed it every twenty minutes, and fishing boats land "
    "their catch on the northern quay before dawn. Visitors reach the lighthouse on foot; the climb has 214 steps and takes a quarter "
    "of an hour. On clear days one sees the islands, about 38 km to the west.",
    'To reset the pump, hold the button for five seconds, then turn the valve to "closed":\n1. Switch off the power.\n2. Run `pumpctl '
    "--reset /dev/p20`.\n3. Wait until the light is green.\nIf the error E-17 appears again, replace the filter (part no. 55-0312) and call "
    "the service.",
    "河流在旧港口入海。自1874年以来，渡轮每二十分钟横渡一次，渔船在黎明前把渔获卸在北码头。游客步行前往灯塔，共有214级台阶，大约需要一刻钟。天气晴朗时，"
    "可以望见西边约38公里外的岛屿。博物馆由市政府于二〇〇五年建立，门票三十元。",
    "Dr. Elena Ruiz, who led the study at the University of Graz, measured how quickly cells repair their DNA after radiation. Of 1,206 "
    "patients, 43% recovered within a month; the others needed a second treatment, which the authors attribute to a mutation of one gene.",
)


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

    Raises:
        ModelError: states of this model are not stored in this type.
    """
    if dtype == "int4" and (model.state_shapes.recurrent or model.state_shapes.width % 2):
        what = "recurrent layers" if model.state_shapes.recurrent else f"keys of {model.state_shapes.width} numbers"
        raise ModelError(
            f"States of a model with {what} are not stored in int4; choose another type, such as --dtype int8."
        )
    shapes, layer = model.state_shapes, model.layers[-1] if probe_layer is None else probe_layer
    probe_ids = tuple(model.tokenizer(PROBE_PASSAGE, add_special_tokens=False)["input_ids"])
    center, spread = _center_and_spread(model) if dtype == "int4" else ("", "")
    return StatesFingerprint(
        model=model.name,
        layers=model.layers,
        kv_heads=shapes.heads,
        head_dim=shapes.width,
        dtype=dtype,
        prefix_ids=model.prefix_ids,
        probe_ids=probe_ids,
        probe=encode_probe(_probe(model, probe_ids, min(layer, max(model.windows))).float().cpu().numpy()),
        delimiters="" if model.delimiters is None else model.delimiters.digest(),
        center=center,
        spread=spread,
    )


def _probe(model: MemoryDecoder, token_ids: tuple[int, ...], layer: int) -> Float[Tensor, " numbers"]:
    """Return keys and values of an entry's last token; where there are none but zeros, some numbers of its last state."""
    keys, values = model.read_after_prefix([token_ids])[layer]
    last = torch.cat([keys[0, :, -1].flatten(), values[0, :, -1].flatten()])
    if bool(last.any()):
        return last
    states = model.entry_states([token_ids])[0].recurrent
    state = states[max(states)].flatten()
    return state[:: -(-len(state) // len(last))]


def _center_and_spread(model: MemoryDecoder) -> tuple[str, str]:
    """Return the mean of some passages' states in all layers, and the standard deviation of their keys, as a fingerprint holds them."""
    room = None if model.context is None else model.context - model.prefix_tokens
    texts = [*_PASSAGES, "\n\n".join(_PASSAGES)]  # all as one, too: keys change with their position
    token_ids = [tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"][:room]) for text in texts]
    states = np.concatenate([to_array(one, model) for one in model.entry_states(token_ids)])
    return encode_probe(states.mean(axis=0).ravel()), encode_probe(states[:, :, 0].std(axis=0).ravel())


def load_states(
    model: MemoryDecoder, stored: Stored, fingerprint: StatesFingerprint, rows: Sequence[int]
) -> list[EntryStates]:
    """States of the entries in these rows, for a model that the fingerprint's `require_match` has accepted."""
    places = [fingerprint.layers.index(layer) for layer in model.layers]
    every, rounding = places == list(range(len(fingerprint.layers))), stored_rounding(fingerprint)
    loaded = []
    for row in rows:
        entry_codes = stored.states(row)
        if entry_codes is None:
            raise ModelError(f"There are no states of row {row}; compute them with: memgpt-index states")
        loaded.append(from_array(*entry_codes, model, None if every else places, rounding))
    return loaded


def to_array(states: EntryStates, model: MemoryDecoder) -> Float[np.ndarray, "tokens layers 2 kv_heads head_dim"]:
    """Return all layers in ascending order, keys before values, in fp32.

    Where layers differ in heads or widths, zeros fill up the smaller ones. States of recurrent layers, which have no tokens, follow
    the tokens in as many rows as they fill.

    Args:
        model: that computed them.
    """
    shapes = model.state_shapes
    heads, width = shapes.heads, shapes.width

    def filled(tensor: Tensor) -> Tensor:
        return torch.nn.functional.pad(tensor.float(), (0, width - tensor.shape[2], 0, 0, 0, heads - tensor.shape[0]))

    stacked = torch.stack(
        [
            torch.stack([filled(states.keys[layer]), filled(states.values[layer].widened(torch.float32))])
            for layer in sorted(states.keys)
        ]
    )
    array: np.ndarray = stacked.permute(3, 0, 1, 2, 4).cpu().numpy()  # from [layers, 2, kv_heads, tokens, head_dim]
    if not states.recurrent:
        return array
    flat = torch.cat([states.recurrent[key].float().flatten() for key in sorted(states.recurrent)]).cpu().numpy()
    rows = np.zeros((shapes.extra_rows(array.shape[1]), *array.shape[1:]), np.float32)
    rows.reshape(-1)[: flat.size] = flat
    return np.concatenate([array, rows])


def from_array(
    codes: Shaped[np.ndarray, "rows layers 2 kv_heads code_dim"],
    scales: Float[np.ndarray, "rows layers 2 kv_heads"] | None,
    model: MemoryDecoder,
    places: Sequence[int] | None = None,
    rounding: Rounding | None = None,
) -> EntryStates:
    """Return codes as states for a model: keys, and values that have no scales, in its type.

    Args:
        codes, scales: as `memgpt_rag.state_codes.encode` returns them; those of int4 are decoded here, the values of int8 when they
            are attended to.
        places: positions of the model's layers among those of the codes; None where they are the same.
        rounding: with which they were encoded.
    """
    shapes, dtype, device = model.state_shapes, model.decoder.dtype, model.decoder.device
    if codes.dtype == np.uint8:
        codes, scales = decode(codes, scales, rounding), None
    tensor = torch.from_numpy(np.array(codes)).to(device)  # copied: what is mapped stays as it is
    tensor = tensor.view(torch.bfloat16) if codes.dtype == np.uint16 else tensor
    scale = None if scales is None else torch.from_numpy(np.array(scales)).to(device)
    tokens = len(codes) - shapes.extra_rows(codes.shape[1])
    recurrent = _recurrent(tensor[tokens:], None if scale is None else scale[tokens:], shapes)
    tensor, scale = tensor[:tokens], None if scale is None else scale[:tokens]
    if places is not None:
        tensor, scale = tensor[:, places], None if scale is None else scale[:, places]
    tensor = tensor.permute(2, 1, 3, 0, 4)
    scale = None if scale is None else scale.permute(2, 1, 3, 0)
    keys, values = {}, {}
    for place, layer in enumerate(model.layers):
        heads, key_width, value_width = shapes.layers[layer]
        key, value = tensor[0, place, :heads, :, :key_width], tensor[1, place, :heads, :, :value_width]
        if scale is None:
            keys[layer], values[layer] = key.to(dtype), MemoryValues(value.to(dtype))
        else:
            keys[layer] = key.to(dtype) * scale[0, place, :heads].to(dtype).unsqueeze(-1)
            values[layer] = MemoryValues(value, scale[1, place, :heads])
    return EntryStates(keys, values, {key: state.to(dtype) for key, state in recurrent.items()})


def _recurrent(rows: Tensor, scales: Tensor | None, shapes: StateShapes) -> dict[StateKey, Tensor]:
    if not shapes.recurrent:
        return {}
    numbers = rows.float() if scales is None else rows.float() * scales.float().unsqueeze(-1)
    sizes = [math.prod(shapes.recurrent[key]) for key in sorted(shapes.recurrent)]
    pieces = torch.split(numbers.flatten()[: sum(sizes)], sizes)
    return {key: piece.view(shapes.recurrent[key]) for key, piece in zip(sorted(shapes.recurrent), pieces, strict=True)}
