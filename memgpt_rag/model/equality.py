"""Whether a decoder reads memory as it reads its prompt: one short entry, both ways, on the model itself.

A decoder may do more in its attention than the interface of transformers carries. It would answer, and answer wrongly. So the first
decoder of a class and configuration is compared with itself before it answers anything, and once more before it answers a question
with a picture.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import MethodType
from typing import Any

import torch
import transformers
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from memgpt_rag.errors import ModelError, first_line
from memgpt_rag.io.cache_folder import cache_folder, make_private
from memgpt_rag.io.json_file import read_json, replace_json
from memgpt_rag.model.attended import use_memory
from memgpt_rag.model.config import MemoryAttentionConfig
from memgpt_rag.model.picture_inputs import PictureInputs, Pictures
from memgpt_rag.model.positions import first_position
from memgpt_rag.model.states import batch_memory
from memgpt_rag.model.states_writer import StatesWriter
from memgpt_rag.model.whole_cache import has_recurrent_layers, whole_cache

_PREFIX, _ENTRY, _QUESTION = 5, 7, 4  # tokens
_TOLERANCE = 1e-4  # of probabilities, in fp32
_NOISE = 4  # times what two ways to read the same prompt may differ by in the decoder's own type
_LARGE = 50_000_000  # weights from which on a comparison takes long enough to be remembered
_MAX_BYTES = 2**20
_DRAWS = 3  # of tokens, of which one must agree: a mixture of experts may choose others for a rounding error
# Decoders that were compared, and whether their recurrent layers read one by one.
_equal: dict[str, bool] = {}


def require_equal(
    decoder: PreTrainedModel, windows: dict[int, int | None], heads: int, pictures: Pictures | None = None
) -> None:
    """Compare probabilities after an entry in memory with those after the same entry in the prompt.

    What was found is remembered in this process and, of a large decoder, in the user's cache folder for these releases. A decoder whose
    recurrent layers read several tokens only from their beginning is taught to read them one by one.

    Args:
        decoder: a retrofitted one.
        windows, heads: of its layers, as `retrofit` and its configuration say.
        pictures: some to stand in the question; None for a question of text.

    Raises:
        ModelError: they differ, or the decoder cannot be read in this way.
    """
    known = f"{type(decoder).__name__} {decoder.dtype} {decoder.config.to_json_string(use_diff=False)}"
    known += "" if pictures is None else " with pictures"
    is_large = decoder.num_parameters() >= _LARGE
    steps = _equal.get(known, _kept().get(_key(known)) if is_large else None)
    what = "" if pictures is None else " with a picture in the question"
    if steps is not None:
        if steps:
            _step_through(decoder)
        return
    try:
        differences = _differences(decoder, windows, heads, pictures)
        if not _agree(differences, decoder.dtype) and has_recurrent_layers(whole_cache(decoder)):
            _step_through(decoder)
            steps, differences = True, _differences(decoder, windows, heads, pictures)
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ModelError(
            f"{type(decoder).__name__} cannot read memory{what}: it fails on a short entry with {type(error).__name__} ({first_line(error)}); "
            "use another model."
        ) from error
    if not _agree(differences, decoder.dtype):
        difference, noise = min(differences)
        raise ModelError(
            f"{type(decoder).__name__} reads memory{what} in another way than its prompt: probabilities after a short entry differ by "
            f"{difference:.2g}, where two ways to read the prompt differ by {noise:.2g}; use another model."
        )
    _equal[known] = bool(steps)
    if is_large:
        # A cache folder that cannot be written costs the next process a comparison.
        with contextlib.suppress(OSError):
            make_private(_file().parent)
            replace_json(_file(), {**_kept(), _key(known): bool(steps)})


def _file() -> Path:
    return cache_folder("compared-decoders.json")


def _kept() -> dict[str, bool]:
    """Return what earlier processes found, by key; nothing where the file is none of ours."""
    try:
        content = read_json(_file(), max_bytes=_MAX_BYTES)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and all(type(one) is bool for one in content.values()) else {}


@cache
def _key(known: str) -> str:
    """Return the key of a class and configuration, for these releases of the libraries and this code of the model."""
    digest = hashlib.sha256(f"{known} {torch.__version__} {transformers.__version__}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _agree(differences: Sequence[tuple[float, float]], dtype: torch.dtype) -> bool:
    least = max(_TOLERANCE, 4 * torch.finfo(dtype).eps)
    return any(difference <= max(least, _NOISE * noise) for difference, noise in differences)


@torch.no_grad()
def _differences(
    decoder: PreTrainedModel, windows: dict[int, int | None], heads: int, pictures: Pictures | None
) -> list[tuple[float, float]]:
    """Return the largest difference of probabilities, and that between two ways to read the prompt, for some draws of tokens."""
    words = int(decoder.config.get_text_config(decoder=True).vocab_size)
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(_DRAWS):
        ids = torch.randint(words // 4, words, (_PREFIX + _ENTRY + _QUESTION,), generator=generator).tolist()
        if pictures is not None:
            ids = [0 if token in pictures.ids else token for token in ids]
            ids[-_QUESTION + 1 : -_QUESTION + 1] = pictures.ids  # behind the first token of the question
        prompt = _probabilities(decoder, ids, pictures=pictures)
        again = _probabilities(decoder, ids, ids if pictures else ids[::-1], pictures=pictures)
        memory = _from_memory(decoder, ids, windows, heads, pictures)
        found.append((float((memory - prompt).abs().max()), float((again - prompt).abs().max())))
        if _agree(found, decoder.dtype):
            break
    return found


def _probabilities(
    decoder: PreTrainedModel, *rows: list[int], pictures: Pictures | None
) -> Float[Tensor, "question vocabulary"]:
    """Return the probabilities after the last tokens of the first row; other rows change how numbers are rounded."""
    ids, inputs = torch.tensor(rows, device=decoder.device), {}
    if pictures is not None:
        whole = pictures.inputs(_PREFIX + _ENTRY + 1, len(rows[0]))
        inputs = {name: torch.cat([one] * len(rows)) for name, one in whole.items()}
    logits = decoder(input_ids=ids, use_cache=False, **inputs).logits
    if hasattr(decoder.base_model, "rope_deltas"):
        decoder.base_model.rope_deltas = None  # else it would count later texts as if they followed this picture
    probabilities: Tensor = logits[0, -_QUESTION + (pictures is not None) :].float().softmax(-1)
    return probabilities


def _from_memory(
    decoder: PreTrainedModel,
    ids: list[int],
    windows: dict[int, int | None],
    heads: int,
    pictures: Pictures | None,
) -> Float[Tensor, "question vocabulary"]:
    writer, before = StatesWriter(decoder, 0), _PREFIX + _ENTRY
    writer.prefix_ids, writer.layers = tuple(ids[:_PREFIX]), tuple(windows)
    states, question = writer.entry_states([ids[_PREFIX:before]]), ids[before:]
    memory = batch_memory(
        [states], [[0.0]], prefix_tokens=_PREFIX, layers=list(windows), score_bias=0.0, recurrent_bias=0.0
    )
    memory.pictures = None if pictures is None else PictureInputs.of(decoder, pictures, question, 1)
    cache, position, logits = writer.begin(memory, 1), first_position(decoder), []
    # All tokens of the question but the last one at once, and then that one: what is generated is read in steps.
    for seen, part in ((0, question[:-1]), (len(question) - 1, question[-1:])):
        inputs = memory.place(torch.tensor([part], device=decoder.device), first_position=position, seen=seen)
        with use_memory(memory, MemoryAttentionConfig().resolve(windows, heads), windows):
            logits.append(decoder(**inputs, past_key_values=cache, use_cache=True).logits[0].float())
    return torch.cat(logits)[-_QUESTION + (pictures is not None) :].softmax(-1)


def _step_through(decoder: PreTrainedModel) -> None:
    """Have recurrent layers that begin anew with several tokens read them one by one once they have a state."""
    for module in decoder.modules():
        if hasattr(module, "layer_idx") and "cache_params" in inspect.signature(module.forward).parameters:
            vars(module)["read_together"] = module.forward
            module.forward = MethodType(forward, module)  # a method of the copy, when the decoder is copied


def forward(self: nn.Module, hidden_states: Tensor, *given: Any, **settings: Any) -> Any:
    """The forward pass of a layer that reads one token at a time; its name is that of the method which it replaces, as a decoder
    that was saved whole needs it.
    """
    cache, read = settings.get("cache_params"), vars(self)["read_together"]
    if cache is None or hidden_states.shape[1] == 1 or not cache.has_previous_state(self.layer_idx):
        return read(hidden_states, *given, **settings)
    steps = [read(one, *given, **settings) for one in torch.split(hidden_states, 1, dim=1)]
    return torch.cat(steps, dim=1)
