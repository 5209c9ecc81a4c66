"""Drafts of the next tokens of an answer, looked up in the passages that it is read from, and decoding with them.

An answer from memory often repeats its passage word for word. What follows the latest tokens there is a draft that costs nothing,
and one forward pass checks all of it: speculative decoding (Leviathan et al. 2023, arXiv 2211.17192), drafted as by Yang et al.
(2023, arXiv 2304.04487, §3) from a reference, which here stands in attention and in no prompt. Each token is chosen by the decoder
itself, by the same rules and, but for rounding, from the same scores as without drafts. Where tokens are sampled, one is drawn for each
place and kept whether it is the drafted one or not, which is the rule of speculative sampling for a draft without probabilities.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache, DynamicLayer, PreTrainedModel

from memgpt_rag.model.decoder import MemoryDecoder
from memgpt_rag.model.int8_weights import MAX_ROWS, MAX_STEP_ROWS, Int8Linear
from memgpt_rag.model.positions import rotates_by_pass
from memgpt_rag.model.whole_cache import has_recurrent_layers

if TYPE_CHECKING:
    from memgpt_rag.model.decoding import DecodingRow

# Tokens of a draft; of one within a copy of a passage, where nearly all hold, as many as weights in int8 take rows at once.
DRAFT_TOKENS, COPY_TOKENS = 3, MAX_ROWS - 1
# Latest tokens that are compared: of places that repeat the latest one, that which repeats most of those before it is taken. With all of
# them repeated, an answer is a copy.
_COMPARED = 8
# Drafts are given up below this share of accepted tokens, once so many were checked.
_LEAST_ACCEPTED, _TRIAL = 0.3, 12
_END = -1  # stands between two passages
# Shares of a draft that hold on average: of one within a copy of a passage, and of others, which a row's own record changes.
_HELD_IN_COPY, _HELD = 0.9, 0.5
# Drafts of several rows that promise less than this many times the tokens a second are left out: they would slow down as many answers.
_LEAST_GAIN = 1.1
# What each further token of a forward pass adds to the time of a pass over one token: on a GPU, and on a CPU with weights in bf16, with
# these and codes in int8, with codes beside fp32, with fp32. Measured with Gemma 3 270M, bf16 on a core with AVX-512, fp32 on one with AVX2.
_GPU_COST, _BF16_COST, _INT8_BF16_COST, _INT8_FP32_COST, _FP32_COST = 0.01, 0.04, 0.18, 0.43, 0.6


class LookupDrafts:
    """Drafts for one answer.

    Args:
        passages: token ids of each, the likeliest source first.
        least_repeated: how many of the latest tokens a passage must repeat, at most 8.
        token_cost: what each further token of a forward pass adds to the time of a pass over one.
    """

    def __init__(self, passages: Sequence[Sequence[int]], least_repeated: int = 1, token_cost: float = 0.0):
        self._least_repeated, self.token_cost = least_repeated, token_cost
        self._tokens = [token for passage in passages for token in (*passage, _END)]
        self._checked = self._accepted = 0
        self._in_copy = False

    def draft(self, written: Sequence[int]) -> list[int]:
        """Return tokens that may follow those of an answer so far: up to `DRAFT_TOKENS`, or `COPY_TOKENS` within a copy; none where no
        passage repeats its end.
        """
        if not written or (self._checked >= _TRIAL and self._accepted < _LEAST_ACCEPTED * self._checked):
            return []
        place, most = 0, self._least_repeated - 1
        for at in self._places(written[-1]):
            repeated = self._repeated(written, at)
            if repeated > most:
                place, most = at + 1, repeated
        self._in_copy = most >= _COMPARED
        count = COPY_TOKENS if self._in_copy else DRAFT_TOKENS
        found = self._tokens[place : place + count] if place else []
        return found[: found.index(_END)] if _END in found else found

    @property
    def held_share(self) -> float:
        """The share of the latest draft that is expected to hold."""
        if self._in_copy:
            return _HELD_IN_COPY
        return (_HELD * _TRIAL + self._accepted) / (_TRIAL + self._checked)

    def note(self, checked: int, accepted: int) -> None:
        """Note how many tokens of a draft were checked, and how many of them the decoder chose itself."""
        self._checked += checked
        self._accepted += accepted

    def _places(self, token: int) -> list[int]:
        places, start = [], 0
        for _ in range(self._tokens.count(token)):
            start = self._tokens.index(token, start) + 1
            places.append(start - 1)
        return places

    def _repeated(self, written: Sequence[int], at: int) -> int:
        """Return how many of the latest tokens a passage repeats up to a place."""
        most = min(_COMPARED, len(written), at + 1)
        return next((n for n in range(1, most) if self._tokens[at - n] != written[-1 - n]), most)


def drafts_for(decoder: PreTrainedModel, passages: Sequence[Sequence[int]]) -> LookupDrafts:
    """Return drafts as they pay for a decoder.

    On a CPU a pass over a draft takes about three times as long as one over a single token with weights in fp32, about twice as long
    with weights in int8, and hardly longer in bf16. After the first token of an answer, 1.5 tokens of a draft hold on average; within a
    long copy, nearly all.

    Nothing is drafted where the rotation of a token depends on those that are read in the same pass.

    Args:
        passages: token ids of each, the likeliest source first.
    """
    if rotates_by_pass(decoder):
        return LookupDrafts([])
    if decoder.device.type != "cpu":
        return LookupDrafts(passages, token_cost=_GPU_COST)
    in_bf16 = decoder.dtype == torch.bfloat16
    if any(isinstance(module, Int8Linear) for module in decoder.modules()):
        return LookupDrafts(passages, token_cost=_INT8_BF16_COST if in_bf16 else _INT8_FP32_COST)
    if in_bf16:
        return LookupDrafts(passages, token_cost=_BF16_COST)
    return LookupDrafts(passages, _COMPARED, _FP32_COST)


def worthwhile_length(drafts: Sequence[tuple[int, float]], token_cost: float) -> int:
    """Return how many tokens of drafts rows that share a forward pass should check at most, for the most tokens a second; 0 where
    they would gain less than a tenth.

    All rows of a pass are as long as the longest one, so that a draft of one row costs time for the others.

    Args:
        drafts: of each row, the tokens of its draft and the share of them that is expected to hold.
        token_cost: as for `LookupDrafts`.
    """
    rows = len(drafts)

    def speed(most: int) -> float:
        held = sum(min(length, most) * share for length, share in drafts)
        return (rows + held) / (1 + token_cost * (rows * (1 + most) - 1))

    lengths = {0, *(length for length, _ in drafts)}
    best = max(sorted(most for most in lengths if most == 0 or rows * (1 + most) <= MAX_STEP_ROWS), key=speed)
    return best if speed(best) > _LEAST_GAIN * speed(0) else 0


def can_draft(cache: DynamicCache) -> bool:
    """Return whether tokens can be taken back from a cache, as those of a draft that the decoder did not choose."""
    return not has_recurrent_layers(cache) and all(type(layer) is DynamicLayer for layer in cache.layers)


@torch.inference_mode()
def decode(model: MemoryDecoder, row: DecodingRow, drafts: LookupDrafts, most: int | None = None) -> None:
    """Decode a row to its end, several tokens a forward pass where a draft holds.

    Args:
        row: alone, its question read just now.
        most: tokens of the answer with which to leave off; None for none.
    """
    cache, memory = row.take_cache(), row.memory
    drafting, end = can_draft(cache), sys.maxsize if most is None else row.asked + most
    while not row.ended and row.ids.shape[1] < end:
        draft = row.draft(drafts) if drafting else []
        draft = draft[: end - row.ids.shape[1] - 1]
        memory.recorded_queries = 1 + len(draft)
        latest = row.ids[:, -1:]
        ids = torch.cat([latest, latest.new_tensor([draft])], dim=1) if draft else latest
        output = model(ids, memory=memory, past_key_values=cache)
        chosen = row.take_drafted(output.logits[0], draft)
        if unused := 1 + len(draft) - chosen:
            cache.crop(-unused)
            memory.drop_passes(unused)
        drafts.note(len(draft), chosen - 1)
    memory.recorded_queries = 1
