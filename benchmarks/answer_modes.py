"""Modes of answering that a benchmark compares, and the figures of each answer.

Memory modes answer as `RAG.answer` does: a reader says "not in memory" only where the confidence allows it. Prompt modes read
the passages as text. The negative log-likelihood (NLL) is that of the first gold answer per token; a prompt is read once, for
the answer and for the NLL.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LogitsProcessor

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_figures import PASTED
from benchmarks.question_sets import Question, is_gold
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.judge import declines
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.evaluation.metrics.answer_measures import exact_match, f1, holds_any
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.decoding import DecodingBatch
from memgpt_rag.model.presets import preset
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.training.answer_likelihood import Example, answer_losses, token_losses

ALWAYS = ("prompt-1", "prompt-4")
MODES = ("closed", *PASTED, "quality", "quality, no bias", "compact", "compact, no bias")
READER_MODES = ("reader, quality", "reader, compact", "reader, prompt-4", "trained, prompt-4")
# By name of the model: adapters that were trained with the passages in the prompt.
PROMPT_READERS = Path(__file__).parent / "readers"
K = 4
STATES_BYTES = 2 * 2**30
Row = dict[str, Any]


def with_config(model: MemoryDecoder, mode: str) -> MemoryDecoder:
    """Return the same decoder with the configuration of a mode, and states of its own."""
    config = preset("compact" if mode.startswith("compact") else "quality", model.decoder.config)
    if mode.endswith("no bias"):
        config = replace(config, score_bias=0.0)
    return MemoryDecoder(model.decoder, model.tokenizer, config=config, states_cache_bytes=STATES_BYTES)


def with_reader(name: str, mode: str) -> MemoryDecoder:
    """Return the model with the reader of a mode."""
    return MemoryDecoder.from_pretrained(
        name,
        config="compact" if mode.endswith("compact") else "quality",
        reader=PROMPT_READERS / name if mode.startswith("trained") else "auto",
        states_cache_bytes=STATES_BYTES,
    )


def attends(mode: str) -> bool:
    """Whether a mode reads its entries from memory."""
    return mode.removeprefix("reader, ").startswith(("quality", "compact"))


def measure(
    rag: RAG, asked: Sequence[Question], drafts: Sequence[Draft], mode: str, k: int, language: str
) -> list[Row]:
    """Return the figures of each question.

    Args:
        drafts: of the questions, with their entries; each is answered once.
        k: entries per question, of which a prompt mode may read fewer.
    """
    found = [draft.retrieved[:k] for draft in drafts]
    if attends(mode):
        return measure_memory(rag, asked, drafts, k, language)
    count = PASTED.get(mode.rpartition(", ")[2], 0)
    return [
        measure_prompt(rag, *one, language) for one in zip(asked, (entries[:count] for entries in found), strict=True)
    ]


def measure_memory(rag: RAG, asked: Sequence[Question], drafts: Sequence[Draft], k: int, language: str) -> list[Row]:
    """Return the figures of questions that are answered from memory; the time to the first token is that of the batch."""
    found = [draft.retrieved[:k] for draft in drafts]
    answers = rag.answer_from(drafts, AskOptions(k=k))
    with torch.no_grad():
        losses, _ = answer_losses(rag, make_examples(asked, found))
    rows = []
    for question, draft, answer, loss, entries in zip(asked, drafts, answers, losses.tolist(), found, strict=True):
        row = _row(question, answer.text, loss, answer.timings.first_token - answer.timings.states_ready, language)
        if gold := gold_places(question, entries):
            row["cites"] = float(draft.mass.index(max(draft.mass)) in gold)
        rows.append(row)
    return rows


def measure_prompt(rag: RAG, question: Question, pasted: Sequence[Retrieved], language: str) -> Row:
    """Return the figures of a question whose entries stand in its prompt."""
    text, logits, first_token = answer_from_prompt(rag, question, pasted)
    losses, _ = token_losses([logits], [rag.prompt.answer_ids(question.text, question.answers[0])])
    return _row(question, text, float(losses[0]), first_token, language)


@torch.inference_mode()
def answer_from_prompt(
    rag: RAG, question: Question, pasted: Sequence[Retrieved]
) -> tuple[str, Float[Tensor, "tokens vocabulary"], float]:
    """Return the answer, the logits at each token of the first gold answer and of its end, and the seconds to the first token."""
    generator, first = rag.generator, _FirstScores()
    prepared = generator.prepare([question.text], [pasted], [[]], logits_processor=[first])
    row = generator.read(prepared)
    assert first.scores is not None, "the first token is chosen when the question is read"
    batch, cache = DecodingBatch(rag.model), copy.deepcopy(row._cache)
    words, end = rag.prompt.answer_ids(question.text, question.answers[0])
    batch.join(row)
    while len(batch):
        batch.step()
    if row.error is not None:
        raise row.error
    text = rag.prompt.answer_text(generator.generated(prepared, row).tokens[0])
    read = [*words, *end][:-1]
    logits = first.scores
    if read:
        ids = torch.tensor([read], device=prepared.ids.device)
        with torch.no_grad():
            after = rag.model(ids, memory=prepared.memory, past_key_values=cache).logits[0]
        logits = torch.cat([logits, after.float()])
    return text, logits, prepared.clock.first_token


class _FirstScores(LogitsProcessor):  # type: ignore[misc]
    """Keeps the scores of the first token, before anything rules tokens out."""

    def __init__(self) -> None:
        self.scores: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.scores is None:
            self.scores = scores.clone()
        return scores


def _row(question: Question, text: str, loss: float, first_token: float, language: str) -> Row:
    return {
        "nll": loss,
        "em": exact_match(text, question.answers, language),
        "f1": f1(text, question.answers, language),
        "contains": holds_any(text, question.answers),
        "declines": float(declines(text)),
        "first_token": first_token,
        "text": text,
    }


def make_examples(questions: Sequence[Question], found: Sequence[Sequence[Retrieved]]) -> list[Example]:
    """Return questions as examples with their first gold answer."""
    return [
        Example(question.text, question.answers[0], item, gold_places(question, item))
        for question, item in zip(questions, found, strict=True)
    ]


def gold_places(question: Question, found: Sequence[Retrieved]) -> tuple[int, ...]:
    """Return the positions of the entries that contain an answer."""
    return tuple(place for place, entry in enumerate(found) if is_gold(question, entry.passage))
