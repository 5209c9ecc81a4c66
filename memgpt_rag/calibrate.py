"""Calibration: the handful of numbers with which a language model reads memory, fitted on questions with known answers.

No weight of the model changes. τ, b and the null slot of each attended layer and head, and β, move along the gradient of
the answers' negative log-likelihood; m is chosen among a few. Questions held out say which numbers were best. Knows
questions, answers and entries found; knows no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from memgpt_rag.answer import RAG
from memgpt_rag.model.config import LayerFusion, MemoryAttentionConfig
from memgpt_rag.retrieve import Retrieved, attend

# What the end of an answer counts beside its words: a reader is to stop after the answer, too.
END_WEIGHT = 0.3
TOP_MS = (8, 16, 32, None)
# Where the null slot begins: far below the scores that win, so that it takes next to nothing at first.
_LOW = -4.0


@dataclass(frozen=True)
class Example:
    """A question, its known answer, and the entries that a search found for it, best first.

    `gold` names the places among them of the entries that hold the answer, where they are known.
    """

    question: str
    answer: str
    found: Sequence[Retrieved]
    gold: tuple[int, ...] = ()


def hold_out(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Three quarters to fit on and one to judge by, apart by the document that each question's best entry is from.

    Where all are from fewer than four documents, every fourth question is held out.
    """
    documents = [(of.found[0].passage.source, of.found[0].passage.record) if of.found else ("", "") for of in examples]
    numbers = {document: number for number, document in enumerate(sorted(set(documents)))}
    turns = [numbers[document] for document in documents] if len(numbers) >= 4 else range(len(examples))
    held_out = [turn % 4 == 3 for turn in turns]
    return (
        [example for example, held in zip(examples, held_out, strict=True) if not held],
        [example for example, held in zip(examples, held_out, strict=True) if held],
    )


@dataclass(frozen=True)
class Calibration:
    """What a calibration found.

    Attributes:
        config: the numbers with the lowest loss on the questions held out, never worse there than those it began with.
        before: mean loss on the questions held out with the numbers that it began with.
        after: the same with `config`.
    """

    config: MemoryAttentionConfig
    before: float
    after: float


def answer_losses(
    rag: RAG,
    examples: Sequence[Example],
    *,
    pasted: Sequence[Sequence[Retrieved]] | None = None,
    fusion: dict[int, LayerFusion] | None = None,
    score_bias_factor: Tensor | float = 1.0,
) -> tuple[Float[Tensor, " examples"], Float[Tensor, " examples"]]:
    """Negative log-likelihood of each known answer, in one batch.

    Args:
        pasted: entries that stand in the prompt of each question; None for none.
        fusion: numbers of the attended layers, or of some of them; memory is hidden from the others. None for the model's.
        score_bias_factor: what to multiply the bias by retrieval score with.

    Returns:
        The mean over the answer's tokens, and the sum over the tokens that end it.
    """
    return _losses(rag, examples, pasted, fusion, score_bias_factor, watch=False)[:2]


def _losses(
    rag: RAG,
    examples: Sequence[Example],
    pasted: Sequence[Sequence[Retrieved]] | None,
    fusion: dict[int, LayerFusion] | None,
    score_bias_factor: Tensor | float,
    watch: bool,
) -> tuple[Float[Tensor, " examples"], Float[Tensor, " examples"], Float[Tensor, " examples"]]:
    """As `answer_losses`, and −log of the gold entries' share of the attention mass on memory while answering."""
    model, prompt = rag.model, rag.prompt
    answers = [prompt.answer_ids(example.question, example.answer) for example in examples]
    rows = [
        [*rag.question_row(example.question, of_row), *words, *end]
        for example, of_row, (words, end) in zip(examples, pasted or [()] * len(examples), answers, strict=True)
    ]
    width, device = max(map(len, rows)), model.decoder.device
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    memory = attend(model, prompt, [example.found for example in examples])
    of_tokens: list[Tensor] = []  # of each layer
    first = width - 1 - max(len(words) + len(end) for words, end in answers)

    def note(weights: Tensor) -> None:
        of_tokens.append(weights[:, :, first:-1].mean(1))

    fusion = model.fusion if fusion is None else fusion
    memory = replace(
        memory,
        keys={layer: memory.keys[layer] for layer in fusion},
        values={layer: memory.values[layer] for layer in fusion},
        bias=memory.bias * score_bias_factor,
        on_weights=note if watch else None,
    )
    # Positions by number: a count would make transformers cut a view, over which torch copies the whole vocabulary.
    kept = torch.arange(first, width, device=device)
    with model.fused(fusion):
        logits = model(ids, mask, memory=memory, logits_to_keep=kept).logits
    of_words, of_end = [], []
    for of_row, (words, end) in zip(logits, answers, strict=True):
        said = torch.tensor([*words, *end], device=device)
        loss = torch.nn.functional.cross_entropy(of_row[-len(said) - 1 : -1].float(), said, reduction="none")
        of_words.append(loss[: len(words)].mean())
        of_end.append(loss[len(words) :].sum())
    of_gold = []
    mass = torch.stack(of_tokens).mean(0) if watch else torch.zeros(len(rows), 1, 1, device=device)
    for row, (example, (words, end)) in enumerate(zip(examples, answers, strict=True)):
        if not watch or not example.gold:
            of_gold.append(mass.new_zeros(()))
            continue
        of_row = mass[row, -len(words) - len(end) :].sum(0)
        gold = torch.isin(memory.entry_of_token[row], torch.tensor(example.gold, device=device)) & memory.present[row]
        of_gold.append((of_row[memory.present[row]].sum() + 1e-9).log() - (of_row[gold].sum() + 1e-9).log())
    return torch.stack(of_words), torch.stack(of_end), torch.stack(of_gold)


def calibrate(
    rag: RAG,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    *,
    end_weight: float = END_WEIGHT,
    gold_weight: float = 0.0,
    null_slot: bool = True,
    steps: int = 400,
    batch_size: int = 8,
    evaluations: int = 8,
    seed: int = 0,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    report: Callable[[str], None] = lambda line: None,
) -> Calibration:
    """Fit how a model reads memory, starting from its present configuration, which is left as it is.

    Args:
        held_out: questions that decide which numbers are kept; of other documents than `examples`, if possible.
        end_weight: what the end of an answer counts beside its words. A reader is to stop after the answer, too.
        steps: steps of Adam, over batches of `batch_size`.
        evaluations: how often the questions held out are looked at.
        seed: of the order of the examples.
        on_step: is told the number of each step done and its loss.

    Raises:
        ValueError: no examples, or none held out.
    """
    if not examples or not held_out:
        raise ValueError(f"There are {len(examples)} examples and {len(held_out)} held out; give at least one of each.")
    model, config = rag.model, rag.model.config
    numbers = _Numbers(config, model.fusion, model.num_heads, null_slot)
    optimiser = torch.optim.Adam(
        [
            {"params": [numbers.log_temperature], "lr": 0.03},
            {"params": [numbers.offset], "lr": 0.12},
            {"params": [numbers.null_score], "lr": 0.12},
            {"params": [numbers.log_score_bias], "lr": 0.05},
        ],
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / 10) * max(0.02, 1 - step / steps)
    )
    generator = torch.Generator().manual_seed(seed)

    def loss_of(part: Sequence[Example], weight: float) -> Tensor:
        words, end, gold = _losses(rag, part, None, numbers.fusion(), numbers.score_bias_factor(), watch=weight > 0)
        return torch.stack([words + end_weight * end + weight * gold, words, end, gold])

    @torch.no_grad()
    def held_out_loss(weight: float = 1e-9) -> float:
        parts = [held_out[start : start + batch_size] for start in range(0, len(held_out), batch_size)]
        of = torch.cat([loss_of(part, weight) for part in parts], dim=1).mean(1)
        report(f"held out: loss {of[0]:.4f} words {of[1]:.4f} end {of[2]:.4f} gold {of[3]:.4f}")
        return float(of[0])

    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        before = best = held_out_loss()
        kept = config
        waiting: list[int] = []
        for step in range(1, steps + 1):
            if len(waiting) < min(batch_size, len(examples)):
                waiting = torch.randperm(len(examples), generator=generator).tolist()
            batch, waiting = waiting[:batch_size], waiting[batch_size:]
            loss = loss_of([examples[place] for place in batch], gold_weight)[0].mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            on_step(step, float(loss.detach()))
            if step % max(1, steps // evaluations) == 0 and (now := held_out_loss()) < best:
                best, kept = now, numbers.config()
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    return Calibration(kept, before, best)


class _Numbers:
    """τ, b, null slot and β as parameters. τ and β are fitted as logarithms, so that they stay above 0."""

    def __init__(self, config: MemoryAttentionConfig, fusion: dict[int, LayerFusion], heads: int, null_slot: bool):
        def per_head(of_layers: list[Tensor | float]) -> Tensor:
            return torch.stack([torch.as_tensor(one).float().expand(heads) for one in of_layers])

        self._config, self._fusion, self._null_slot = config, fusion, null_slot
        of_layers = list(fusion.values())
        self.log_temperature = per_head([one.inverse_temperature for one in of_layers]).log().requires_grad_()
        self.offset = per_head([one.offset for one in of_layers]).clone().requires_grad_()
        nulls = [_LOW if one.null_score is None else one.null_score for one in of_layers]
        self.null_score = per_head(nulls).clone().requires_grad_(null_slot)
        self.log_score_bias = torch.tensor(config.score_bias).log().requires_grad_(config.score_bias > 0)

    def score_bias_factor(self) -> Tensor | float:
        return self.log_score_bias.exp() / self._config.score_bias if self._config.score_bias else 1.0

    def fusion(self) -> dict[int, LayerFusion]:
        return {
            layer: replace(
                one,
                inverse_temperature=self.log_temperature[place].exp(),
                offset=self.offset[place],
                null_score=self.null_score[place] if self._null_slot else None,
            )
            for place, (layer, one) in enumerate(self._fusion.items())
        }

    def config(self) -> MemoryAttentionConfig:
        """The numbers as they are now, rounded to what can matter."""

        def rounded(of_layers: Tensor) -> tuple[tuple[float, ...], ...]:
            return tuple(tuple(round(one, 3) for one in of_heads) for of_heads in of_layers.tolist())

        return replace(
            self._config,
            inverse_temperature=rounded(self.log_temperature.exp()),
            offset=rounded(self.offset),
            null_score=rounded(self.null_score) if self._null_slot else None,
            score_bias=round(float(self.log_score_bias.detach().exp()), 2),
        )
