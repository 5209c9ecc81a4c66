"""Decoding step by step for a batch that changes: rows join it once their question is read, and leave when they end.

A row is generated as `generate` of transformers does it alone, by the same settings: only the forward passes are shared. A step gives
each row its next token, or several where a draft holds (see `memgpt_rag.model.drafts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, LogitsProcessorList, MaxLengthCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.model.attended import use_memory
from memgpt_rag.model.decoder import MemoryDecoder
from memgpt_rag.model.drafts import LookupDrafts, worthwhile_length
from memgpt_rag.model.int8_weights import decoding_step
from memgpt_rag.model.positions import counts_from_cache
from memgpt_rag.model.row_slots import CacheSlots, MemorySlots, side_by_side
from memgpt_rag.model.states import AttendedMemory
from memgpt_rag.model.whole_cache import one_row

# Tokens of questions that are read in one forward pass, padding included: more of them wait for longer and gain little.
READ_TOKENS = 128
# Tokens of their memories, which are copied side by side, padding included: 230 MB with Gemma 3 270M.
READ_MEMORY_TOKENS = 16_384
# Tokens in the caches of rows that share a pass over drafts, padding included, whose keys and values are copied for it.
COPIED_TOKENS = 4_096


class DecodingRow:
    """A sequence that is being generated.

    Attributes:
        ids: tokens of the question and of the answer so far.
        asked: how many of them are the question's.
        length: tokens that are in the cache, the prefix included.
        memory: what it attends to; collects its weights.
        drafts: what its next tokens are drafted from; None for nothing.
        ended: whether the answer is complete, or has failed.
        error: why it failed.
    """

    def __init__(
        self,
        ids: Int[Tensor, "1 tokens"],
        memory: AttendedMemory,
        processors: LogitsProcessorList,
        stopping: StoppingCriteriaList,
        streamer: BaseStreamer,
        drafts: LookupDrafts | None = None,
    ):
        self.ids, self.memory, self.drafts, self.ended = ids, memory, drafts, False
        self.asked = ids.shape[1]
        self.length = 0
        self.error: Exception | None = None
        self._processors, self._stopping, self._streamer = processors, stopping, streamer
        self._cache: DynamicCache | None = None

    def draft(self, drafts: LookupDrafts) -> list[int]:
        """Return tokens that may come next, fewer than the answer still has room for: the last one needs no draft."""
        longest = [one.max_length for one in self._stopping if isinstance(one, MaxLengthCriteria)]
        drafted = drafts.draft(self.ids[0, self.asked :].tolist())
        return drafted[: max(0, min(longest) - self.ids.shape[1] - 1)] if longest else drafted

    def begin(self, cache: DynamicCache, logits: Float[Tensor, "1 vocabulary"]) -> None:
        """Take the first token, from the pass that has read the question."""
        self._cache, self.length = cache, cache.get_seq_length()
        self.take(logits)

    def take(self, logits: Float[Tensor, "1 vocabulary"]) -> None:
        """Choose the next token, and see whether it is the last one."""
        scores = self._processors(self.ids, logits.to(copy=True, dtype=torch.float32))
        token = scores.argmax(-1)
        self.ids = torch.cat([self.ids, token[:, None]], dim=1)
        self._streamer.put(token.cpu())
        self.ended = bool(self._stopping(self.ids, scores).all())

    def take_drafted(self, logits: Float[Tensor, "tokens vocabulary"], draft: Sequence[int]) -> int:
        """Choose tokens one by one while they repeat a draft, and the one behind it; return how many were chosen.

        Args:
            logits: behind the latest token, and behind each token of the draft.
        """
        chosen = 0
        for own, drafted in zip(logits, [*draft, None], strict=True):
            self.take(own[None])
            chosen += 1
            if self.ended or int(self.ids[0, -1]) != drafted:
                break
        self.length += chosen
        return chosen

    def take_cache(self) -> DynamicCache:
        """Return the cache of the question; the batch that the row joins keeps it from now on."""
        assert self._cache is not None, "a row joins one batch, once its question is read"
        cache, self._cache = self._cache, None
        return cache


def start_row(
    model: MemoryDecoder,
    ids: Int[Tensor, "1 tokens"],
    memory: AttendedMemory,
    *,
    streamer: BaseStreamer,
    drafts: LookupDrafts | None = None,
    **settings: Any,
) -> DecodingRow:
    """Return the row of a question, which `read_rows` reads.

    Args:
        memory: of this question alone.
        streamer: receives the question and its answer's tokens.
        drafts: what the next tokens of its answer are drafted from; None for nothing.
        settings: as `generate` of transformers takes them, for the likeliest token at each step.
    """

    def begin(
        decoder: Any,
        input_ids: Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        **inputs: Any,
    ) -> DecodingRow:
        return DecodingRow(input_ids, memory, logits_processor, stopping_criteria, streamer, drafts)

    mask = torch.ones_like(ids)
    row: DecodingRow = model.decoder.generate(
        ids, attention_mask=mask, custom_generate=begin, streamer=streamer, **settings
    )
    return row


@torch.inference_mode()
def read_rows(model: MemoryDecoder, rows: Sequence[DecodingRow]) -> None:
    """Read the questions of rows in one forward pass, and choose the first token of each answer.

    A row whose first token cannot be chosen has ended, with its error.

    Args:
        rows: one alone, or rows that `reads_together` allows.
    """
    logits, caches = _read_alone(model, rows[0]) if len(rows) == 1 else _read_side_by_side(model, rows)
    for number, (row, cache) in enumerate(zip(rows, caches, strict=True)):
        own = logits[number : number + 1]
        try:
            row.begin(cache, own)
        except Exception as error:  # its own settings are at fault, and the others go on
            row.ended, row.error = True, error


def _read_alone(model: MemoryDecoder, row: DecodingRow) -> tuple[Float[Tensor, "1 vocabulary"], list[DynamicCache]]:
    output = model(row.ids, memory=row.memory, use_cache=True, logits_to_keep=1)
    return output.logits[:, -1], [output.past_key_values]


def _read_side_by_side(
    model: MemoryDecoder, rows: Sequence[DecodingRow]
) -> tuple[Float[Tensor, "rows vocabulary"], list[DynamicCache]]:
    memory = side_by_side([row.memory for row in rows])
    ids, mask = model.pad_left([row.ids[0].tolist() for row in rows])
    output = model(ids, mask, memory=memory, use_cache=True, logits_to_keep=1)
    _share_passes(memory, rows)
    cache = output.past_key_values
    own = [one_row(cache, number, model.prefix_tokens, row.asked) for number, row in enumerate(rows)]
    return output.logits[:, -1], own


def read_question(
    model: MemoryDecoder,
    ids: Int[Tensor, "1 tokens"],
    memory: AttendedMemory,
    *,
    streamer: BaseStreamer,
    **settings: Any,
) -> DecodingRow:
    """Read a question alone, and return its row with the first token of its answer; all as `start_row` takes it."""
    row = start_row(model, ids, memory, streamer=streamer, **settings)
    read_rows(model, [row])
    if row.error is not None:
        raise row.error
    return row


def reads_together(model: MemoryDecoder, tokens: Sequence[int], memories: Sequence[AttendedMemory]) -> bool:
    """Return whether questions may be read in one forward pass, and are short enough to gain by it.

    Args:
        tokens: of each question, without the prefix.
    """
    count = len(tokens)
    if count < 2:
        return True
    if model.is_recurrent or any(memory.pictures is not None for memory in memories):
        return False
    widest = max(memory.present.shape[1] for memory in memories)
    return count * max(tokens) <= READ_TOKENS and count * widest <= READ_MEMORY_TOKENS


def _share_passes(memory: AttendedMemory, rows: Sequence[DecodingRow], counts: Sequence[int] | None = None) -> None:
    """Give each row with entries the weights of the forward passes that the rows shared.

    Args:
        counts: how many of the latest passes are each row's own; None for all.
    """
    passes = memory.take_passes()
    for number, row in enumerate(rows):
        own = passes if counts is None else passes[len(passes) - counts[number] :]
        if row.memory.num_entries[0]:
            for weights in own:
                row.memory.add_pass(weights[number : number + 1, : row.memory.present.shape[1]])


@torch.inference_mode()
def exchange_memory(model: MemoryDecoder, row: DecodingRow, memory: AttendedMemory) -> None:
    """Read a row's question and its answer so far with another memory, and choose the next token.

    What is written from now on is what the model would write if it had been asked with this memory and had begun its answer so.
    All is read anew, since the positions of question and answer follow the longest entry.

    Args:
        row: alone, and not ended.
    """
    memory.pictures, row.memory = row.memory.pictures, memory
    read_rows(model, [row])
    if row.error is not None:
        raise row.error


class DecodingBatch:
    """Rows that are decoded together, with different memories, lengths and settings.

    Args:
        model: reads all of them.
    """

    def __init__(self, model: MemoryDecoder):
        self.model = model
        self._rows: list[DecodingRow] = []
        self._cache: CacheSlots | None = None
        self._memory = MemorySlots()
        self._attended: AttendedMemory | None = None  # of the rows as they are
        self._sizes = 0, 0, 0  # rows, tokens and tokens of memory for which there is room

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def num_bytes(self) -> int:
        """Bytes that the caches and memories of the rows take, room for more included."""
        return self._memory.num_bytes + (0 if self._cache is None else self._cache.num_bytes)

    @torch.inference_mode()  # as `step`, whose tensors may not be written to outside of it
    def join(self, row: DecodingRow) -> None:
        """Let a row take part from the next step on.

        Raises:
            ModelError: the decoder keeps something that rows of different lengths cannot share.
        """
        cache = row.take_cache()
        if row.ended:
            return
        self._leave()
        if self._cache is None:
            self._cache = CacheSlots(cache)  # before the row is here: it may be refused
        self._rows.append(row)
        self._resize()
        slot = len(self._rows) - 1
        self._cache.put(slot, cache)
        self._memory.put(slot, row.memory)
        row.memory.keys, row.memory.values = {}, {}  # they lie in the slot now
        self._attended = None

    @torch.inference_mode()
    def step(self) -> None:
        """Give each row its next token, and those of its draft that hold. Rows that end leave."""
        self._leave()
        if not self._rows:
            return
        drafts = self._drafts()
        counts = [1 + len(draft) for draft in drafts]
        self._resize(max(counts))
        assert self._cache is not None
        if self._attended is None:
            self._attended = self._memory.attended([row.memory for row in self._rows])
        memory, most = self._attended, max(counts)
        mask = self._cache.begin_step([row.length for row in self._rows], counts)
        memory.recorded_queries = most
        # Windows go by position here, also where no row has a memory: rows of a batch are padded.
        try:
            settings = {} if memory.is_empty else self.model.layer_settings
            with use_memory(memory, settings, self.model.windows), decoding_step():
                output = self.model.decoder(
                    input_ids=self._next_ids(drafts, most),
                    attention_mask=mask,
                    position_ids=self._shifts(mask) + memory.local_position(mask.bool())[:, -most:],
                    past_key_values=self._cache.cache,
                )
        except Exception as error:  # such as no memory left
            for row in self._rows:
                row.ended, row.error = True, error
            self._leave()
            return
        _share_passes(memory, self._rows, counts)
        for row, logits, draft in zip(self._rows, output.logits, drafts, strict=True):
            try:
                chosen = row.take_drafted(logits[-1 - len(draft) :], draft)
            except Exception as error:  # its own settings are at fault, and the others go on
                row.ended, row.error = True, error
                continue
            if draft and row.drafts is not None:
                row.memory.drop_passes(1 + len(draft) - chosen)
                row.drafts.note(len(draft), chosen - 1)
        self._leave()

    def _next_ids(self, drafts: Sequence[Sequence[int]], most: int) -> Int[Tensor, "rows tokens"]:
        """Return each row's latest token and its draft, with anything before them in a row that has fewer."""
        latest = torch.cat([row.ids[:, -1:] for row in self._rows])
        drafted = latest.repeat(1, most)
        for row, draft in enumerate(drafts):
            if draft:
                drafted[row, -len(draft) :] = drafted.new_tensor(draft)
        return drafted

    def _drafts(self) -> list[list[int]]:
        """Return the tokens that each row may have next, as far as they pay."""
        assert self._cache is not None
        nothing: list[list[int]] = [[] for _ in self._rows]
        if not self._cache.can_take_back:
            return nothing
        drafts = [[] if row.drafts is None else row.draft(row.drafts) for row in self._rows]
        if len(drafts) == 1 or not any(drafts):
            return drafts
        before = max(row.length for row in self._rows)
        if counts_from_cache(self.model.decoder) or len(drafts) * before > COPIED_TOKENS:
            return nothing
        sources = [row.drafts for row in self._rows]
        most = worthwhile_length(
            [(len(draft), 0.0 if one is None else one.held_share) for draft, one in zip(drafts, sources, strict=True)],
            max(one.token_cost for one in sources if one is not None),
        )
        if self.model.context is not None:  # some decoders count the tokens of a pass from those of the longest row
            most = max(0, min(most, self.model.context - before - 1))
        return [draft[:most] for draft in drafts]

    def _shifts(self, like: Tensor) -> Int[Tensor, "rows 1"]:
        """Return what is added to the counted position of each row's next token."""
        pictures = [row.memory.pictures for row in self._rows]
        shifts = [0 if own is None else own.later_shift for own in pictures]
        return self.model.first_position + like.new_tensor(shifts)[:, None]

    def _leave(self) -> None:
        """Remove rows that have ended: the last one moves into their slot."""
        for slot in reversed(range(len(self._rows))):
            if self._rows[slot].ended:
                last = self._rows.pop()
                if slot < len(self._rows):
                    self._rows[slot] = last
                    assert self._cache is not None
                    self._cache.move(len(self._rows), slot)
                    self._memory.move(len(self._rows), slot)
                self._attended = None
        if not self._rows:
            self._cache, self._memory, self._sizes = None, MemorySlots(), (0, 0, 0)

    def _resize(self, next_tokens: int = 1) -> None:
        """Have room for the rows and their next tokens, and give back most of what long ones have left behind."""
        assert self._cache is not None
        rows = _room(self._sizes[0], len(self._rows), step=1)
        tokens = _room(self._sizes[1], next_tokens + max(row.length for row in self._rows))
        memory = _room(self._sizes[2], max(row.memory.present.shape[1] for row in self._rows))
        if (rows, tokens, memory) != self._sizes:
            self._sizes, self._attended = (rows, tokens, memory), None
            self._cache.resize(rows, tokens)
            self._memory.resize(rows, memory)


def _room(present: int, needed: int, step: int = 64) -> int:
    """Return a capacity: the present one while it is enough and at most about twice the need, else the need rounded up."""
    return present if needed <= present <= 2 * (needed + step) else -(-needed // step) * step
