"""Generation that attends to passages side by side, for `model.generate(custom_generate=…)`: needs torch and transformers only.

Every passage is read right after the prefix, apart from the others, and all stand at the same positions, so that their order means
nothing. The tokens given follow behind the longest one, and attend to prefix, passages and each other in one softmax:

    score of a memory token = τ · ⟨q, K⟩ · scaling + β · (score of its passage − the best score) + b

τ becomes a factor on the keys, the rest a mask, so that any decoder with an attention mask and a cache of keys and values can do it.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from .settings import SETTINGS  # type: ignore[import-not-found]  # save_generation writes it


def generate(
    model: PreTrainedModel,
    input_ids: Tensor | None = None,
    inputs: Tensor | None = None,
    passages: Sequence[str | Sequence[int]] | None = None,
    scores: Sequence[float] | None = None,
    tokenizer: Any = None,
    **arguments: Any,
) -> Any:
    """Generate tokens behind a question that attends to passages.

    Args:
        input_ids: of one question, without a prefix; [1, tokens].
        passages: texts, or lists of token ids.
        scores: one number per passage, such as the cosine with the question; None for equal scores.
        tokenizer: reads passages that are texts.
        arguments: as of `generate`: sampling, lengths, streamers, stopping criteria, processors of scores.

    Returns:
        What `generate` returns for one sequence: the question's tokens and those that were generated.
    """
    ids = inputs if input_ids is None else input_ids
    if ids is None or ids.shape[0] != 1:
        raise ValueError("Memory generation answers one question at a time; give input_ids of shape [1, tokens].")
    for name in ("attention_mask", "past_key_values", "use_cache"):
        arguments.pop(name, None)
    memory = _Memory(model, _token_ids(passages or [], tokenizer), scores)

    def decode(
        model: PreTrainedModel,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        streamer: Any = None,
        **_: Any,
    ) -> Tensor:
        if generation_config.num_beams > 1 or generation_config.return_dict_in_generate:
            raise ValueError("Memory generation has neither beams nor dictionaries; leave both settings out.")
        fresh, done = input_ids, False
        while not done:
            logits = memory.read(model, fresh, input_ids.shape[1])
            logits = logits_processor(input_ids, logits.float())
            best = logits.argmax(-1, keepdim=True)
            fresh = torch.multinomial(logits.softmax(-1), 1) if generation_config.do_sample else best
            input_ids = torch.cat([input_ids, fresh], dim=-1)
            if streamer is not None:
                streamer.put(fresh[0].cpu())
            done = bool(stopping_criteria(input_ids, None).all())
        if streamer is not None:
            streamer.end()
        return input_ids

    return model.generate(ids, custom_generate=decode, **arguments)


def _token_ids(passages: Sequence[str | Sequence[int]], tokenizer: Any) -> list[list[int]]:
    rows = []
    for passage in passages:
        if isinstance(passage, str):
            if tokenizer is None:
                raise ValueError("Passages that are texts need a tokenizer; give tokenizer=, or lists of token ids.")
            passage = tokenizer(passage, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if not len(passage):
            raise ValueError("A passage has no tokens; leave it out.")
        rows.append([int(token) for token in passage])
    return rows


class _Memory:
    """Prefix and passages in a cache, and what later tokens may see of them."""

    def __init__(self, model: PreTrainedModel, passages: list[list[int]], scores: Sequence[float] | None):
        config = model.config.get_text_config(decoder=True)
        self.kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        if unknown := self.kinds - {"full_attention", "sliding_attention"}:
            raise ValueError(
                f"Memory generation reads full and sliding attention; this model has {', '.join(unknown)}."
            )
        if getattr(config, "attn_logit_softcapping", None) and SETTINGS["inverse_temperature"] != 1:
            raise ValueError("This model caps its scores, so that a factor on keys is no temperature; set τ to 1.")
        window = getattr(config, "sliding_window", None)
        # Without kinds of layers, a window holds for all of them, if the configuration turns it on.
        whole = not getattr(config, "layer_types", None) and getattr(config, "use_sliding_window", True)
        self.windows = {kind: window if whole or kind == "sliding_attention" else None for kind in self.kinds}
        if scores is not None and len(scores) != len(passages):
            raise ValueError(f"There are {len(passages)} passages and {len(scores)} scores; give one per passage.")
        scores = [0.0] * len(passages) if scores is None else list(scores)
        self.prefix, self.gap = len(SETTINGS["prefix_ids"]), max(map(len, passages), default=0)
        self.cache = _read(model, SETTINGS["prefix_ids"])
        bias, place = [torch.zeros(self.prefix)], [torch.arange(self.prefix)]
        for passage, score in zip(passages, scores):
            self._append(_read(model, [*SETTINGS["prefix_ids"], *passage]))
            weight = SETTINGS["score_bias"] * (score - max(scores)) + SETTINGS["offset"]
            bias.append(torch.full((len(passage),), weight))
            place.append(self.prefix + torch.arange(len(passage)))
        self.bias = torch.cat(bias).to(model.device)
        self.place = torch.cat(place).to(model.device)

    def read(self, model: PreTrainedModel, fresh: Tensor, seen: int) -> Tensor:
        """Return the logits behind the last of the tokens given; `seen` counts them and those before, without the memory."""
        device, start = fresh.device, self.prefix + self.gap
        positions = torch.arange(start + seen - fresh.shape[1], start + seen, device=device)
        local = torch.arange(start, start + seen, device=device)
        key_place = torch.cat([self.place, local])
        bias = torch.cat([self.bias, torch.zeros(seen, device=device)])
        is_local = torch.arange(len(key_place), device=device) >= len(self.place)
        before = ~is_local | (key_place <= positions[:, None])
        lowest = torch.finfo(model.dtype).min
        masks = {}
        for kind, window in self.windows.items():
            visible = before if window is None else before & (positions[:, None] - key_place < window)
            masks[kind] = torch.where(visible, bias, lowest)[None, None].to(model.dtype)
        few = "logits_to_keep" in inspect.signature(model.forward).parameters
        output = model(
            input_ids=fresh,
            attention_mask=masks if len(masks) > 1 else next(iter(masks.values())),
            position_ids=positions[None],
            past_key_values=self.cache,
            use_cache=True,
            **({"logits_to_keep": 1} if few else {}),
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _append(self, read: DynamicCache) -> None:
        for layer, states in enumerate(read.layers):
            keys = states.keys[:, :, self.prefix :] * SETTINGS["inverse_temperature"]
            self.cache.update(keys, states.values[:, :, self.prefix :], layer)


@torch.no_grad()
def _read(model: PreTrainedModel, ids: list[int]) -> DynamicCache:
    """Return a cache that has read these tokens, and keeps all of them, whatever the window of a layer."""
    cache = DynamicCache()
    if ids:
        model.base_model(input_ids=torch.tensor([ids], device=model.device), past_key_values=cache, use_cache=True)
    return cache
