"""Negative log-likelihood of known answers under a language model, differentiable in the memory attention's parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from memgpt_rag.answering.answer_match import holds_answer
from memgpt_rag.answering.entry_states import ComputedStates, make_memory
from memgpt_rag.model import AttendedMemory
from memgpt_rag.model.config import LayerSettings
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved


@dataclass(frozen=True)
class Example:
    """A question, its known answer, and the entries that a search found for it, best first.

    `gold` contains the positions of the entries that contain the answer, if known.
    """

    question: str
    answer: str
    found: Sequence[Retrieved]
    gold: tuple[int, ...] = ()


def find_examples(rag: RAG, pairs: Sequence[tuple[str, str]], k: int) -> list[Example]:
    """Retrieve k entries for each question; entries that contain its answer are its gold entries."""
    found = rag.retriever.retrieve([question for question, _ in pairs], k)
    return [
        Example(
            question,
            answer,
            entries,
            tuple(place for place, entry in enumerate(entries) if holds_answer(entry.passage.titled_text, answer)),
        )
        for (question, answer), entries in zip(pairs, found, strict=True)
    ]


def hold_out(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Split examples into three quarters to fit on and about a quarter held out, by the document of each question's best entry.

    If they are from fewer than four documents, or nearly all from fewer, every fourth question is held out.
    """
    documents = [example.found[0].passage.document if example.found else ("", "") for example in examples]
    held_out = [fold == 3 for fold in document_folds(documents, 4)]
    return (
        [example for example, held in zip(examples, held_out, strict=True) if not held],
        [example for example, held in zip(examples, held_out, strict=True) if held],
    )


def document_folds(documents: Sequence[tuple[str, str]], folds: int, *, alike: int = 1) -> list[int]:
    """Assign each example a fold, from 0, of about as many examples each; examples about one document are in the same fold.

    Args:
        documents: document of each example. If there are too few, so that a fold would have less than half of its part, folds are
            assigned in turn.
        alike: number of consecutive examples about one question, which stay in the same fold.
    """
    counts = Counter(documents)
    fold_of, sizes = dict[tuple[str, str], int](), [0] * folds
    for document in sorted(counts, key=lambda one: (-counts[one], one)):
        fold_of[document] = min(range(folds), key=lambda fold: sizes[fold])
        sizes[fold_of[document]] += counts[document]
    if min(sizes) < len(documents) / (2 * folds):
        return [place // alike % folds for place in range(len(documents))]
    return [fold_of[document] for document in documents]


def alike_batches(examples: Sequence[Example], batch_size: int) -> list[list[Example]]:
    """Group examples into batches of similar answer length, since every row computes logits for as many tokens as the longest."""
    by_length = sorted(examples, key=lambda example: len(example.answer.encode()))
    return [by_length[start : start + batch_size] for start in range(0, len(by_length), batch_size)]


Answers = list[tuple[tuple[int, ...], tuple[int, ...]]]


def answer_logits(
    rag: RAG,
    examples: Sequence[Example],
    *,
    pasted: Sequence[Sequence[Retrieved]] | None = None,
    layer_settings: dict[int, LayerSettings] | None = None,
    score_bias_factor: Tensor | float = 1.0,
) -> tuple[list[Float[Tensor, "tokens vocabulary"]], Answers]:
    """Compute the model's logits at each token of the known answers, in one batch.

    Args:
        pasted: entries in the prompt of each question; None for none.
        layer_settings: parameters of all or some attended layers; the others do not attend to memory. None for the model's.
        score_bias_factor: factor of the bias by retrieval score.

    Returns:
        Logits of each answer's tokens, in fp32, and the tokens: those of the words, and those that end the answer.
    """
    return _read(rag, examples, pasted, layer_settings, score_bias_factor)[:2]


def answer_losses(
    rag: RAG,
    examples: Sequence[Example],
    *,
    pasted: Sequence[Sequence[Retrieved]] | None = None,
    layer_settings: dict[int, LayerSettings] | None = None,
    score_bias_factor: Tensor | float = 1.0,
) -> tuple[Float[Tensor, " examples"], Float[Tensor, " examples"]]:
    """Compute the negative log-likelihood of each known answer, in one batch; the arguments are those of `answer_logits`.

    Returns:
        The mean over the tokens of an answer's words, and the sum over the tokens that end it.
    """
    return token_losses(*_read(rag, examples, pasted, layer_settings, score_bias_factor)[:2])


def token_losses(
    logits: Sequence[Float[Tensor, "tokens vocabulary"]], answers: Answers
) -> tuple[Float[Tensor, " examples"], Float[Tensor, " examples"]]:
    """Compute the losses of `answer_losses` from the results of `answer_logits`."""
    word_losses, end_losses = [], []
    for answer_scores, (words, end) in zip(logits, answers, strict=True):
        targets = torch.tensor([*words, *end], device=answer_scores.device)
        loss = torch.nn.functional.cross_entropy(answer_scores, targets, reduction="none")
        word_losses.append(loss[: len(words)].mean())
        end_losses.append(loss[len(words) :].sum())
    return torch.stack(word_losses), torch.stack(end_losses)


def losses_with_gold(
    rag: RAG,
    examples: Sequence[Example],
    layer_settings: dict[int, LayerSettings] | None,
    score_bias_factor: Tensor | float,
) -> tuple[Float[Tensor, " examples"], Float[Tensor, " examples"], Float[Tensor, " examples"]]:
    """Compute `answer_losses`, and −log of the gold entries' share of the attention mass on memory while answering."""
    layer_weights: list[Tensor] = []
    logits, answers, memory = _read(
        rag,
        examples,
        None,
        layer_settings,
        score_bias_factor,
        on_weights=lambda weights: layer_weights.append(weights.mean(1)),
    )
    mass, gold_losses = torch.stack(layer_weights).mean(0)[:, :-1], []
    for row, (example, (words, end)) in enumerate(zip(examples, answers, strict=True)):
        if not example.gold:
            gold_losses.append(mass.new_zeros(()))
            continue
        row_mass, present = mass[row, -len(words) - len(end) :].sum(0), memory.present[row]
        gold = present & torch.isin(memory.entry_of_token[row], torch.tensor(example.gold, device=mass.device))
        gold_losses.append((row_mass[present].sum() + 1e-9).log() - (row_mass[gold].sum() + 1e-9).log())
    return *token_losses(logits, answers), torch.stack(gold_losses)


def _read(
    rag: RAG,
    examples: Sequence[Example],
    pasted: Sequence[Sequence[Retrieved]] | None,
    layer_settings: dict[int, LayerSettings] | None,
    score_bias_factor: Tensor | float,
    on_weights: Callable[[Tensor], object] | None = None,
) -> tuple[list[Tensor], Answers, AttendedMemory]:
    model, prompt = rag.model, rag.prompt
    answers = [prompt.answer_ids(example.question, example.answer) for example in examples]
    rows = [
        [*prompt.question_row(example.question, [entry.passage for entry in prompted]), *words, *end]
        for example, prompted, (words, end) in zip(examples, pasted or [()] * len(examples), answers, strict=True)
    ]
    ids, mask = model.pad_left(rows)
    width, device = ids.shape[1], ids.device
    memory = make_memory(model, ComputedStates(model, prompt), [example.found for example in examples])
    layer_settings = model.layer_settings if layer_settings is None else layer_settings
    memory = replace(
        memory,
        keys={layer: memory.keys[layer] for layer in layer_settings},
        values={layer: memory.values[layer] for layer in layer_settings},
        bias=memory.bias * score_bias_factor,
        on_weights=on_weights,
    )
    # A tensor of positions: for an integer, transformers slices a view, and torch then copies the logits of the vocabulary.
    first = width - 1 - max(len(words) + len(end) for words, end in answers)
    kept = torch.arange(first, width, device=device)
    with model.temporary_settings(layer_settings):
        logits = model(ids, mask, memory=memory, logits_to_keep=kept).logits
    sliced_logits = [
        row_logits[-len(words) - len(end) - 1 : -1].float()
        for row_logits, (words, end) in zip(logits, answers, strict=True)
    ]
    return sliced_logits, answers, memory
