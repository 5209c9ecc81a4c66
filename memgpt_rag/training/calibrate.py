"""Calibration: fits the few parameters of memory attention to questions with known answers.

No weight of the language model changes. τ, b and the null slot of each attended layer and head, and β, are fitted by gradient
descent on the answers' negative log-likelihood; m is chosen among a few. Held-out questions select the best configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.config import LayerSettings, MemoryAttentionConfig
from memgpt_rag.rag import RAG
from memgpt_rag.training.answer_likelihood import (
    Example,
    alike_batches,
    answer_losses,
    losses_with_gold,
)

# Weight of the tokens that end an answer, relative to its words: the model must learn to stop after the answer, too.
END_WEIGHT = 0.3
TOP_MS = (8, 16, 32, None)
# Initial score of the null slot: far below the highest scores, so that it gets almost no attention at first.
_LOW = -4.0


@dataclass(frozen=True)
class Calibration:
    """Result of a calibration.

    Attributes:
        config: the configuration with the lowest held-out loss, which is never above that of the first one.
        before: mean held-out loss with the first configuration.
        after: mean held-out loss with `config`.
    """

    config: MemoryAttentionConfig
    before: float
    after: float


@dataclass(frozen=True)
class CalibrationOptions:
    """How to calibrate.

    Attributes:
        end_weight: weight of the tokens that end an answer, relative to its words.
        gold_weight: weight of −log of the gold entries' share of the attention mass, relative to the words: small, since
            an answer may occur in several entries.
        null_slot: whether to fit a null slot for each head; it is dropped if it does not lower the held-out loss.
        top_ms: values of m to try, before the fit and after it.
        steps: number of Adam steps, over batches of `batch_size`.
        evaluations: number of evaluations on the held-out questions during the fit.
        seed: seed of the order of the examples.
    """

    end_weight: float = END_WEIGHT
    gold_weight: float = 0.03
    null_slot: bool = True
    top_ms: tuple[int | None, ...] = TOP_MS
    steps: int = 400
    batch_size: int = 8
    evaluations: int = 8
    seed: int = 0


def calibrate(
    rag: RAG,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    options: CalibrationOptions = CalibrationOptions(),
    *,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    on_candidate: Callable[[MemoryAttentionConfig, float], None] = lambda config, loss: None,
) -> Calibration:
    """Fit the memory attention of a model, starting from its present configuration, which is not changed.

    Args:
        held_out: questions that select the configuration; from other documents than `examples`, if possible.
        on_step: called with the number of each step and its loss.
        on_candidate: called with every configuration evaluated on the held-out questions, and its loss.

    Raises:
        ValueError: no examples, or no held-out ones.
    """
    if not examples or not held_out:
        raise ValueError(f"There are {len(examples)} examples and {len(held_out)} held out; give at least one of each.")
    model, config = rag.model, rag.model.config
    options = replace(options, batch_size=model.rows_at_once(options.batch_size))
    best = _Best(rag, held_out, options, on_candidate)
    before = best.loss
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        best.consider_top_ms()
        parameters = LayerParameters(best.config, model, options.null_slot)
        optimizer, schedule = parameters.optimizer(options.steps)
        batches = _random_batches(examples, options.batch_size, options.seed)
        for step, batch in zip(range(1, options.steps + 1), batches, strict=False):
            loss = _loss(rag, batch, parameters, options)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            on_step(step, float(loss.detach()))
            if step % max(1, options.steps // options.evaluations) == 0:
                best.consider(parameters.config())
        best.consider(replace(best.config, null_score=config.null_score))
        best.consider_top_ms()
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    return Calibration(best.config, before, best.loss)


class _Best:
    """The best configuration so far on the held-out questions, and its loss."""

    def __init__(
        self,
        rag: RAG,
        held_out: Sequence[Example],
        options: CalibrationOptions,
        on_candidate: Callable[[MemoryAttentionConfig, float], None],
    ):
        self._rag, self._held_out, self._options, self._on_candidate = rag, held_out, options, on_candidate
        self._first = self.config = rag.model.config
        self.loss = self._held_out_loss(self.config)

    def consider(self, candidate: MemoryAttentionConfig) -> None:
        if candidate != self.config and (loss := self._held_out_loss(candidate)) < self.loss:
            self.loss, self.config = loss, candidate

    def consider_top_ms(self) -> None:
        for top_m in self._options.top_ms:
            self.consider(replace(self.config, top_m=top_m))

    @torch.no_grad()
    def _held_out_loss(self, candidate: MemoryAttentionConfig) -> float:
        model, first = self._rag.model, self._first
        settings = candidate.resolve(model.windows, model.num_heads)
        factor = candidate.score_bias / first.score_bias if first.score_bias else 1.0
        parts = [
            answer_losses(self._rag, part, layer_settings=settings, score_bias_factor=factor)
            for part in alike_batches(self._held_out, self._options.batch_size)
        ]
        loss = float(torch.cat([words + self._options.end_weight * end for words, end in parts]).mean())
        self._on_candidate(candidate, loss)
        return loss


def _loss(rag: RAG, batch: Sequence[Example], parameters: LayerParameters, options: CalibrationOptions) -> Tensor:
    settings, factor = parameters.layer_settings(), parameters.score_bias_factor()
    if not options.gold_weight:
        words, end = answer_losses(rag, batch, layer_settings=settings, score_bias_factor=factor)
        return (words + options.end_weight * end).mean()
    words, end, gold = losses_with_gold(rag, batch, settings, factor)
    return (words + options.end_weight * end + options.gold_weight * gold).mean()


def _random_batches(examples: Sequence[Example], batch_size: int, seed: int) -> Iterator[list[Example]]:
    """Yield batches endlessly in random order; examples for eight batches are drawn at once, and grouped by length."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(examples), generator=generator).tolist()
        for start in range(0, len(order), 8 * batch_size):
            drawn = alike_batches([examples[place] for place in order[start : start + 8 * batch_size]], batch_size)
            for place in torch.randperm(len(drawn), generator=generator).tolist():
                yield drawn[place]


class LayerParameters:
    """τ, b, null slot and β as torch parameters. τ and β are fitted as logarithms, so that they stay above 0."""

    def __init__(self, config: MemoryAttentionConfig, model: MemoryDecoder, null_slot: bool):
        self._config, self._null_slot = config, null_slot or config.null_score is not None
        self._layer_settings = config.resolve(model.windows, model.num_heads)
        self._present_score_bias = model.config.score_bias
        settings = list(self._layer_settings.values())

        def per_head(numbers: list[Tensor | float]) -> Tensor:
            return torch.stack([torch.as_tensor(one).float().expand(model.num_heads) for one in numbers]).clone()

        self.log_temperature = per_head([one.inverse_temperature for one in settings]).log().requires_grad_()
        self.offset = per_head([one.offset for one in settings]).requires_grad_()
        nulls = [_LOW if one.null_score is None else one.null_score for one in settings]
        self.null_score = per_head(nulls).requires_grad_(self._null_slot)
        self.log_score_bias = torch.tensor(config.score_bias).log().requires_grad_(config.score_bias > 0)

    def to(self, device: torch.device) -> LayerParameters:
        """Move the parameters to a device; call it before `optimizer`."""
        for name in ("log_temperature", "offset", "null_score", "log_score_bias"):
            number: Tensor = getattr(self, name)
            setattr(self, name, number.detach().to(device).requires_grad_(number.requires_grad))
        return self

    def score_bias(self) -> Tensor:
        """Return β."""
        return self.log_score_bias.exp()

    def optimizer(self, steps: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """Return Adam, and a schedule of the learning rate with ten steps of warm-up and a decay to almost zero."""
        adam = torch.optim.Adam(
            [
                {"params": [self.log_temperature], "lr": 0.03},
                {"params": [self.offset, self.null_score], "lr": 0.12},
                {"params": [self.log_score_bias], "lr": 0.05},
            ],
            betas=(0.9, 0.98),
        )
        return adam, torch.optim.lr_scheduler.LambdaLR(
            adam, lambda step: min(1.0, (step + 1) / 10) * max(0.02, 1 - step / steps)
        )

    def score_bias_factor(self) -> Tensor | float:
        """Return β relative to the model's present β; 1 where that is 0."""
        return self.log_score_bias.exp() / self._present_score_bias if self._present_score_bias else 1.0

    def layer_settings(self) -> dict[int, LayerSettings]:
        """Return the settings of each attended layer, with gradients."""
        return {
            layer: replace(
                one,
                inverse_temperature=self.log_temperature[place].exp(),
                offset=self.offset[place],
                null_score=self.null_score[place] if self._null_slot else None,
            )
            for place, (layer, one) in enumerate(self._layer_settings.items())
        }

    def config(self) -> MemoryAttentionConfig:
        """Return the present parameters as a configuration, rounded to three decimals."""

        def rounded(numbers: Tensor) -> tuple[tuple[float, ...], ...]:
            return tuple(tuple(round(one, 3) for one in layer) for layer in numbers.tolist())

        return replace(
            self._config,
            inverse_temperature=rounded(self.log_temperature.exp()),
            offset=rounded(self.offset),
            null_score=rounded(self.null_score) if self._null_slot else None,
            score_bias=round(float(self.log_score_bias.detach().exp()), 2),
        )
