"""How well a language model gives a known answer: its negative log-likelihood, with gradients where numbers carry them."""

from __future__ import annotations

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

    `gold` names the places among them of the entries that hold the answer, where they are known.
    """

    question: str
    answer: str
    found: Sequence[Retrieved]
    gold: tuple[int, ...] = ()


def examples_of(rag: RAG, pairs: Sequence[tuple[str, str]], k: int) -> list[Example]:
    """Retrieve k entries for each question; those that hold its answer are its gold entries."""
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
    """Three quarters to fit on and one to judge by, apart by the document that each question's best entry is from.

    Where all are from fewer than four documents, every fourth question is held out.
    """
    documents = [example.found[0].passage.document if example.found else ("", "") for example in examples]
    held_out = [fold == 3 for fold in document_folds(documents, 4)]
    return (
        [example for example, held in zip(examples, held_out, strict=True) if not held],
        [example for example, held in zip(examples, held_out, strict=True) if held],
    )


def document_folds(documents: Sequence[tuple[str, str]], folds: int, *, alike: int = 1) -> list[int]:
    """Return a fold, from 0, for each example; examples about one document are in one fold.

    Args:
        documents: of each example. Where they are fewer than the folds, the examples take turns.
        alike: how many neighboring examples are about one question, and stay together.
    """
    numbers = {document: number for number, document in enumerate(sorted(set(documents)))}
    if len(numbers) < folds:
        return [place // alike % folds for place in range(len(documents))]
    return [numbers[document] % folds for document in documents]


def alike_batches(examples: Sequence[Example], batch_size: int) -> list[list[Example]]:
    """Batches of answers of like length: every row computes the next token at as many places as the longest one needs."""
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
    """What the model expects at each token of the known answers, in one batch.

    Args:
        pasted: entries that stand in the prompt of each question; None for none.
        layer_settings: numbers of the attended layers, or of some of them; memory is hidden from the others. None for the model's.
        score_bias_factor: what to multiply the bias by retrieval score with.

    Returns:
        Logits of each answer's tokens, in fp32, and the tokens: those of the answer, and those that end it.
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
    """Negative log-likelihood of each known answer, in one batch; the arguments are those of `answer_logits`.

    Returns:
        The mean over the answer's tokens, and the sum over the tokens that end it.
    """
    return losses_of(*_read(rag, examples, pasted, layer_settings, score_bias_factor)[:2])


def losses_of(
    logits: Sequence[Float[Tensor, "tokens vocabulary"]], answers: Answers
) -> tuple[Float[Tensor, " examples"], Float[Tensor, " examples"]]:
    """As `answer_losses`, from what `answer_logits` gave."""
    of_words, of_end = [], []
    for of_answer, (words, end) in zip(logits, answers, strict=True):
        said = torch.tensor([*words, *end], device=of_answer.device)
        loss = torch.nn.functional.cross_entropy(of_answer, said, reduction="none")
        of_words.append(loss[: len(words)].mean())
        of_end.append(loss[len(words) :].sum())
    return torch.stack(of_words), torch.stack(of_end)


def losses_with_gold(
    rag: RAG,
    examples: Sequence[Example],
    layer_settings: dict[int, LayerSettings] | None,
    score_bias_factor: Tensor | float,
) -> tuple[Float[Tensor, " examples"], Float[Tensor, " examples"], Float[Tensor, " examples"]]:
    """As `answer_losses`, and −log of the gold entries' share of the attention mass on memory while answering."""
    of_layers: list[Tensor] = []
    logits, answers, memory = _read(
        rag,
        examples,
        None,
        layer_settings,
        score_bias_factor,
        on_weights=lambda weights: of_layers.append(weights.mean(1)),
    )
    mass, of_gold = torch.stack(of_layers).mean(0)[:, :-1], []
    for row, (example, (words, end)) in enumerate(zip(examples, answers, strict=True)):
        if not example.gold:
            of_gold.append(mass.new_zeros(()))
            continue
        of_row, present = mass[row, -len(words) - len(end) :].sum(0), memory.present[row]
        gold = present & torch.isin(memory.entry_of_token[row], torch.tensor(example.gold, device=mass.device))
        of_gold.append((of_row[present].sum() + 1e-9).log() - (of_row[gold].sum() + 1e-9).log())
    return *losses_of(logits, answers), torch.stack(of_gold)


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
        [*prompt.question_row(example.question, [entry.passage for entry in of_row]), *words, *end]
        for example, of_row, (words, end) in zip(examples, pasted or [()] * len(examples), answers, strict=True)
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
    # Positions by number: a count would make transformers cut a view, over which torch copies the whole vocabulary.
    first = width - 1 - max(len(words) + len(end) for words, end in answers)
    kept = torch.arange(first, width, device=device)
    with model.temporary_settings(layer_settings):
        logits = model(ids, mask, memory=memory, logits_to_keep=kept).logits
    of_answers = [
        of_row[-len(words) - len(end) - 1 : -1].float() for of_row, (words, end) in zip(logits, answers, strict=True)
    ]
    return of_answers, answers, memory
