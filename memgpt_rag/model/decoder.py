"""A pretrained decoder with memory in its attention.

Owns the decoder, its tokenizer, the reader that was trained for it, and the settings of each attended layer. Turns token ids into
states and answers; knows no files of a memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from memgpt_rag.hub.bundled import GEMMA
from memgpt_rag.model.attended import use_memory
from memgpt_rag.model.config import LayerSettings, MemoryAttentionConfig
from memgpt_rag.model.delimiters import Delimiters
from memgpt_rag.model.entry_reading import LayerStates
from memgpt_rag.model.equality import require_equal
from memgpt_rag.model.int8_weights import add_int8_weights
from memgpt_rag.model.layer_kinds import query_heads
from memgpt_rag.model.loading import load_decoder
from memgpt_rag.model.picture_reader import PictureReader
from memgpt_rag.model.positions import first_position
from memgpt_rag.model.presets import calibrated_preset, preset
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.reader import AUTO, load_reader, reader_folder
from memgpt_rag.model.reader_files import Reader
from memgpt_rag.model.recurrent_decoder import entry_bias
from memgpt_rag.model.retrofit import retrofit
from memgpt_rag.model.states import AttendedMemory, EntryStates, StateShapes, batch_memory
from memgpt_rag.model.states_writer import StatesWriter
from memgpt_rag.model.tokenizer import load_tokenizer
from memgpt_rag.model.whole_cache import as_argument

DEFAULT_GENERATOR = GEMMA


class MemoryDecoder(nn.Module):
    """A decoder that attends to memory.

    Without `memory`, `forward` and `generate` are those of the decoder. With it, the tokens given follow the shared
    prefix and the memory: [prefix | entries, all at the same positions | tokens].

    Args:
        decoder: a causal language model of transformers; its attention is rerouted, its weights are not touched.
        tokenizer: its tokenizer.
        config: how memory and local context share attention, or the name of a preset, "quality" or "compact".
        prefix_ids: tokens that stand before every entry and every question; the first one is the attention sink.
        states_cache_bytes: how many bytes of entry states to keep between questions.
        check: compare memory with the prompt on a short entry, once for each class and configuration of decoders.

    Raises:
        ModelError: the decoder's architecture cannot take memory, or reads it in another way than its prompt.
    """

    def __init__(
        self,
        decoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        config: MemoryAttentionConfig | str = "quality",
        prefix_ids: Sequence[int] = (),
        states_cache_bytes: int = 2**30,
        check: bool = True,
    ):
        super().__init__()
        self.decoder, self.tokenizer = decoder, tokenizer
        self.name = str(decoder.name_or_path)
        self.windows = retrofit(decoder)
        if check:
            require_equal(decoder, self.windows, self.num_heads)
        self.first_position = first_position(decoder)
        self._states = StatesWriter(decoder, states_cache_bytes)
        self._writer: PreTrainedModel | None = None
        self._reader: Reader | None = None
        self._prompt: Prompt | None = None
        self.think = False
        self._layer_settings: dict[int, LayerSettings] = {}
        self.config = preset(config, decoder.config) if isinstance(config, str) else config
        self.prefix_ids = tuple(prefix_ids)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT_GENERATOR,
        *,
        config: MemoryAttentionConfig | str = "quality",
        prefix_ids: Sequence[int] | None = None,
        reader: str | Path | None = AUTO,
        dtype: torch.dtype | str = "auto",
        device: str | torch.device | None = None,
        states_cache_bytes: int = 2**30,
        int8_weights: bool = False,
        **settings: Any,
    ) -> MemoryDecoder:
        """Give memory to a pretrained decoder.

        Args:
            name: hub name, folder or GGUF file of a decoder, or a model that comes as a package.
            config: a preset is taken as `memgpt-rag calibrate` left it for this model and reader, if it did; else as it was
                trained with the reader.
            prefix_ids: None for the tokenizer's own beginning-of-text token, where it has one.
            reader: folder of a reader that `memgpt-rag train` wrote for this model, or its name on a hub; "auto" for the
                reader that ships for it, if one does; None or "none" for the model as it was pretrained.
            dtype: "auto" for bf16 where the processor computes in it, else fp32.
            int8_weights: decode with weights in int8, for a CPU: about twice the tokens per second for a second more of
                loading and half as much memory again.
            settings: `think=True` lets a model whose chat template has a thinking mode think before it answers. All others go to
                `from_pretrained` of transformers, such as device_map or quantization_config. Code of a model's own never runs:
                whoever trusts it loads the model with transformers and passes it to `MemoryDecoder`.

        Raises:
            ModelError: no such model, one with weights missing, or whose architecture cannot take memory; no such reader.
            MismatchError: the reader was trained for another model.
            MissingPackageError: it comes as a package that is not installed.
        """
        think = bool(settings.pop("think", False))
        tokenizer, decoder = load_tokenizer(name), load_decoder(name, dtype, device, settings)
        if prefix_ids is None:
            prefix_ids = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
        # A preset is known once the reader is: it may have been trained with another one than this model has otherwise.
        known = MemoryAttentionConfig() if isinstance(config, str) else config
        model = cls(decoder, tokenizer, config=known, prefix_ids=prefix_ids, states_cache_bytes=states_cache_bytes)
        model.name = str(name)
        if (folder := reader_folder(reader, name)) is not None:
            load_reader(model, folder)
        model.think = think
        if isinstance(config, str):
            model.config = calibrated_preset(config, name, decoder.config, model.reader)
        if int8_weights and decoder.device.type == "cpu":
            add_int8_weights(model.decoder)
        return model

    @property
    def writer(self) -> PreTrainedModel:
        """The decoder as it was pretrained, which computes states and the prefix, whatever adapter reads them."""
        return self._states.decoder

    def read_with(self, decoder: PreTrainedModel) -> None:
        """Read memory, questions and answers with a decoder that shares this one's weights and has an adapter on top.

        States stay those that the pretrained decoder computes, so stored ones hold before and after training.
        """
        self.decoder = decoder
        self._writer = (
            None if decoder is self.writer else self.writer
        )  # a module of this one, so that `to` moves it, too

    @property
    def reader(self) -> Reader | None:
        """What was trained so that this model reads memory; see `load_reader`. Setting it sets the delimiters, too."""
        return self._reader

    @reader.setter
    def reader(self, reader: Reader | None) -> None:
        self._reader, self._prompt = reader, None
        self.read_with(self.writer)
        self.delimiters = None if reader is None else reader.delimiters

    def without_reader(self) -> MemoryDecoder:
        """Return the model as it was pretrained, behind its own prefix; all weights are shared."""
        plain = MemoryDecoder(self.writer, self.tokenizer, config=self.config)
        plain.think = self.think
        plain.name, plain.prefix_ids = self.name, plain.prompt.prefix_ids
        return plain

    @property
    def prompt(self) -> Prompt:
        """How passages and questions are put into words for this model and its reader; may be set."""
        if self._prompt is None:
            self._prompt = Prompt(self.tokenizer, self.reader is None or self.reader.worked_examples, self.think)
        return self._prompt

    @prompt.setter
    def prompt(self, prompt: Prompt) -> None:
        self._prompt = prompt

    @contextmanager
    def reading_with(self, decoder: PreTrainedModel) -> Iterator[None]:
        """Inside the block, read with another decoder, as `read_with` takes it; with `writer`, as pretrained."""
        before, self.decoder = self.decoder, decoder
        try:
            yield
        finally:
            self.decoder = before

    @property
    def config(self) -> MemoryAttentionConfig:
        """How memory and local context share attention; may be set at any time."""
        return self._config

    @config.setter
    def config(self, config: MemoryAttentionConfig) -> None:
        self._config, self._layer_settings = config, config.resolve(self.windows, self.num_heads)
        self._states.layers = tuple(self._layer_settings)

    @property
    def layer_settings(self) -> dict[int, LayerSettings]:
        """The configuration as it holds in each attended layer."""
        return self._layer_settings

    @contextmanager
    def temporary_settings(self, layer_settings: dict[int, LayerSettings]) -> Iterator[None]:
        """Inside the block, read memory with these numbers, which may carry gradients, in the same layers."""
        before, self._layer_settings = self._layer_settings, layer_settings
        try:
            yield
        finally:
            self._layer_settings = before

    @property
    def num_heads(self) -> int:
        """Query heads of each layer."""
        return query_heads(self.decoder.config)

    @property
    def context(self) -> int | None:
        """How many tokens the decoder was made to read, prefix and answer included; None where it does not say."""
        found = getattr(self.decoder.config.get_text_config(decoder=True), "max_position_embeddings", None)
        return int(found) if found else None

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that attend to memory, in ascending order."""
        return tuple(sorted(self._layer_settings))

    @property
    def prefix_ids(self) -> tuple[int, ...]:
        """Tokens before every entry and question. Setting them forgets all states, which were read after the old ones."""
        return self._states.prefix_ids

    @prefix_ids.setter
    def prefix_ids(self, prefix_ids: Sequence[int]) -> None:
        self._states.prefix_ids = tuple(prefix_ids)

    @cached_property
    def state_shapes(self) -> StateShapes:
        """Sizes of the states of an entry, in all layers that attend."""
        return StatesWriter(self.writer, 0).state_shapes(tuple(self.windows))

    @cached_property
    def picture_reader(self) -> PictureReader:
        """What reads the pictures of questions; loaded with the first one."""
        return PictureReader(self)

    @property
    def is_recurrent(self) -> bool:
        """Whether any layer keeps a state in place of its tokens, so that rows of different lengths are read one by one."""
        return self._states.is_recurrent

    def rows_at_once(self, wanted: int) -> int:
        """Return how many rows of different lengths may be read together: one where padding would change a state."""
        return 1 if self.is_recurrent else wanted

    @property
    def delimiters(self) -> Delimiters | None:
        """Trained vectors behind the prefix and behind every entry. Setting them forgets all states."""
        return self._states.delimiters

    @delimiters.setter
    def delimiters(self, delimiters: Delimiters | None) -> None:
        self._states.delimiters = delimiters

    @property
    def prefix_tokens(self) -> int:
        """Positions of the prefix: its tokens, and the vectors behind them."""
        return self._states.prefix_tokens

    def entry_tokens(self, token_ids: Sequence[int]) -> int:
        """Positions that an entry takes in memory: its tokens, and the vectors behind them."""
        return len(token_ids) + (0 if self.delimiters is None else len(self.delimiters.entry))

    def stored_rows(self, token_ids: Sequence[int]) -> int:
        """Rows that the states of an entry take where they are stored: one for each position, and those of recurrent layers."""
        return self.entry_tokens(token_ids) + self.state_shapes.extra_rows(len(self.layers))

    @torch.no_grad()
    def entry_states(self, entries: Sequence[Sequence[int]], *, batch_size: int = 16) -> list[EntryStates]:
        """States of each entry, read right after the prefix; those computed before come from the cache.

        Args:
            entries: token ids of each entry.
            batch_size: entries per forward pass.

        Raises:
            ValueError: an entry without tokens.
        """
        return self._states.entry_states(entries, batch_size=batch_size)

    def make_memory(
        self, rows: Sequence[Sequence[Sequence[int]]], scores: Sequence[Sequence[float]] | None = None
    ) -> AttendedMemory:
        """Return the memory of a batch of questions, to pass to `forward` or `generate` once.

        Args:
            rows: for each question, the token ids of each of its entries.
            scores: for each question, the normalized retrieval score of each entry; None for equal scores.
        """
        if scores is None:
            scores = [[0.0] * len(entries) for entries in rows]
        states = iter(self.entry_states([token_ids for entries in rows for token_ids in entries]))
        return self.memory_from_states([[next(states) for _ in entries] for entries in rows], scores)

    def memory_from_states(
        self, rows: Sequence[Sequence[EntryStates]], scores: Sequence[Sequence[float]]
    ) -> AttendedMemory:
        """As `make_memory`, for entries whose states are at hand."""
        return batch_memory(
            rows,
            scores,
            prefix_tokens=self.prefix_tokens,
            layers=list(self._layer_settings),
            score_bias=entry_bias(self.decoder, self.config),
            recurrent_bias=self.config.weight_bias,
        )

    @property
    def pad_token_id(self) -> int:
        """The token that fills rows; masked wherever it stands."""
        return int(self.tokenizer.pad_token_id or 0)

    def pad_left(self, rows: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "rows tokens"], Int[Tensor, "rows tokens"]]:
        """Return rows of token ids as one tensor, filled on the left, and its attention mask."""
        width, device = max(map(len, rows)), self.decoder.device
        ids = [[self.pad_token_id] * (width - len(row)) + list(row) for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def forward(
        self,
        input_ids: Int[Tensor, "rows tokens"],
        attention_mask: Int[Tensor, "rows seen"] | None = None,
        *,
        memory: AttendedMemory | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> Any:
        """Next-token logits of the tokens given, as the decoder returns them.

        Args:
            attention_mask: 0 for padding, which stands on the left; without the prefix, with the tokens in the cache.
            memory: what each row attends to, from `make_memory`.
            past_key_values: cache of an earlier call with the same memory; None to start after the prefix.
            kwargs: passed on to the decoder.
        """
        if memory is None:
            return self.decoder(
                input_ids=input_ids, attention_mask=attention_mask, past_key_values=past_key_values, **kwargs
            )
        cache = self._states.begin(memory, input_ids.shape[0]) if past_key_values is None else past_key_values
        inputs = self.place(input_ids, attention_mask, memory, seen=cache.get_seq_length() - self.prefix_tokens)
        with self._use_memory(memory, inputs["attention_mask"]):
            return self.decoder(**inputs, past_key_values=cache, **kwargs)

    @torch.inference_mode()
    def generate(
        self,
        input_ids: Int[Tensor, "rows tokens"],
        attention_mask: Int[Tensor, "rows tokens"] | None = None,
        *,
        memory: AttendedMemory | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `generate` of transformers: greedy, sampling, beams, streamers, batches.

        Args:
            attention_mask: 0 for padding, which stands on the left.
            memory: what each row attends to, from `make_memory`; rows may have different memories.
            kwargs: passed on to the decoder's `generate`.
        """
        if memory is None:
            return self.decoder.generate(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        settings = kwargs.get("generation_config") or self.decoder.generation_config
        beams, samples = (
            kwargs.get(key) or getattr(settings, key) or 1 for key in ("num_beams", "num_return_sequences")
        )
        cached = kwargs.get("use_cache", settings.use_cache) is not False
        if not cached and (self.is_recurrent or self.decoder is not self.writer or self.delimiters is not None):
            raise ValueError("Recurrent layers and trained readers read after a prefix; leave use_cache on.")
        if memory.pictures is not None and (not cached or max(beams, samples) > 1):
            raise ValueError("Pictures are read once, for one answer; leave use_cache on and num_beams at 1.")
        prefix = input_ids.new_tensor(self.prefix_ids).expand(input_ids.shape[0], -1)
        inputs = self.place(input_ids, attention_mask, memory)
        if cached:
            kwargs |= as_argument(self._states.begin(memory, input_ids.shape[0] * max(beams, samples)))
        else:
            # Every pass reads the whole sequence, so the prefix becomes part of it, and is cut off again below.
            positions = self.first_position + torch.arange(len(self.prefix_ids), device=prefix.device).expand_as(prefix)
            inputs["position_ids"] = torch.cat([positions, inputs["position_ids"]], dim=1)
            inputs["input_ids"] = torch.cat([prefix, input_ids], dim=1)
        with self._use_memory(memory, inputs["attention_mask"]):
            output = self.decoder.generate(**inputs, **kwargs)
        if not cached:
            if isinstance(output, Tensor):
                return output[:, len(self.prefix_ids) :]
            output.sequences = output.sequences[:, len(self.prefix_ids) :]
        return output

    def place(
        self, input_ids: Tensor, attention_mask: Tensor | None, memory: AttendedMemory, seen: int = 0
    ) -> dict[str, Tensor]:
        """As `AttendedMemory.place`; raises ValueError for padding that would change a state."""
        if self.is_recurrent and attention_mask is not None and not bool(attention_mask.all()):
            raise ValueError("Padding would change this model's recurrent layers; give rows of one length at a time.")
        return memory.place(input_ids, attention_mask, first_position=self.first_position, seen=seen)

    def _use_memory(self, memory: AttendedMemory, mask: Tensor) -> Any:
        # Behind the prefix, padding would take places in sliding windows, which go by position with a memory, if an empty one.
        if memory.is_empty and memory.pictures is None and bool(mask.all()):
            return nullcontext()
        return use_memory(memory, {} if memory.is_empty else self._layer_settings, self.windows)

    def embedded(self, ids: Int[Tensor, "*rows tokens"]) -> Float[Tensor, "*rows tokens hidden"]:
        """Embeddings of tokens, as the decoder takes them in place of ids; delimiters stand beside them."""
        return self.writer.get_input_embeddings()(ids)  # type: ignore[no-any-return]

    def read_prefix(self) -> DynamicCache:
        """Return a cache of one row that has seen the prefix and the vectors behind it; gradients flow through it."""
        return self._states.read_prefix()

    def read_after_prefix(self, batch: Sequence[tuple[int, ...]]) -> dict[int, LayerStates]:
        """Layer → keys and values that it computes for prefix and entry, as `read_entries` gives them, without gradients."""
        return self._states.read_after_prefix(batch)
