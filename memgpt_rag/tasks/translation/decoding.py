"""Writes translations with a memory, and places prescribed terms in them.

A term that the language model left out is placed where it finds its beginning likeliest: the translation is cut there, the term is
written, and the model goes on. That is prefix-constrained decoding (Wuebker et al. 2016, "Models and Inference for Prefix-Constrained
Machine Translation") with a search over a few prefixes, in place of the whole grid of Hokamp & Liu 2017 (arXiv 1704.07138).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import StoppingCriteria

from memgpt_rag.model import AttendedMemory, MemoryDecoder
from memgpt_rag.model.prompt import detect_language
from memgpt_rag.tasks.translation.glossary import Term

_PLACES = 3  # at which a term is tried


def write(
    model: MemoryDecoder,
    asked: Sequence[Sequence[int]],
    memory: AttendedMemory,
    max_new_tokens: int,
    begun: Sequence[Sequence[int]] | None = None,
) -> list[str]:
    """Return the line that follows each row, its likeliest token at each step.

    Args:
        asked: tokens of each text, up to where its translation begins.
        memory: of each row.
        begun: tokens with which each translation begins; None for none, and then no translation is empty.
    """
    begun = [()] * len(asked) if begun is None else begun
    ids, mask = model.pad_left([[*row, *begin] for row, begin in zip(asked, begun, strict=True)])
    end = _LineEnd(model, ids.shape[1])
    output = model.generate(
        ids, mask, memory=memory, max_new_tokens=max_new_tokens, do_sample=False, stopping_criteria=[end],
        begin_suppress_tokens=None if any(begun) else _ends(model), pad_token_id=model.pad_token_id,
    )  # fmt: skip
    rows = output[:, ids.shape[1] :].tolist()
    return [end.line([*begin, *row]) for begin, row in zip(begun, rows, strict=True)]


def place_terms(
    model: MemoryDecoder,
    asked: Sequence[int],
    translation: str,
    terms: Sequence[Term],
    memory: Callable[[int], AttendedMemory],
    max_new_tokens: int,
) -> str:
    """Return a translation in which as many of the terms stand as can be placed one after the other.

    Args:
        asked: tokens of the text, up to where its translation begins.
        translation: the one without constraints.
        memory: returns that of the text, for so many rows.
    """
    for term in terms:
        if term.respected(translation):
            continue
        begun = _beginnings(model, asked, translation, term.translations[0], memory(1))
        candidates = write(model, [asked] * len(begun), memory(len(begun)), max_new_tokens, begun)
        ranked = [(_respected(one, terms), _mean_likelihood(model, asked, one, memory(1)), one) for one in candidates]
        count, _, best = max(ranked)
        if count > _respected(translation, terms):
            translation = best
    return translation


def _beginnings(
    model: MemoryDecoder, asked: Sequence[int], translation: str, term: str, memory: AttendedMemory
) -> list[list[int]]:
    """Return the tokens of the likeliest beginnings of a translation that end with the term."""
    prompt, is_chinese = model.prompt, detect_language(term) == "zh"
    tokens = prompt.token_ids(f" {translation}")
    # A term of words stands between words; one of characters, anywhere. The first token of a translation has a space before it.
    texts = [str(model.tokenizer.decode([token])) for token in tokens]
    cuts = [place for place, text in enumerate([*texts, " "]) if is_chinese or not text[:1].isalnum()]
    written = {cut: prompt.token_ids(f"{' ' if not (cut and is_chinese) else ''}{term}") for cut in cuts}
    likelihood = _log_probabilities(model, [*asked, *tokens], memory, len(tokens) + 1)
    best = sorted(cuts, key=lambda cut: -float(likelihood[cut, written[cut][0]]))
    return [[*tokens[:cut], *written[cut]] for cut in best[:_PLACES]]


def _mean_likelihood(model: MemoryDecoder, asked: Sequence[int], translation: str, memory: AttendedMemory) -> float:
    """Return the mean log-likelihood of the tokens of a translation, its end included."""
    line = model.prompt.token_ids(f" {translation}\n\n")
    said = _log_probabilities(model, [*asked, *line], memory, len(line) + 1)[:-1]
    return float(said.gather(1, torch.tensor(line, device=said.device)[:, None]).mean())


@torch.inference_mode()
def _log_probabilities(
    model: MemoryDecoder, tokens: Sequence[int], memory: AttendedMemory, latest: int
) -> Float[Tensor, "latest vocabulary"]:
    """Return the log-probability of every token after each of the latest ones."""
    ids, mask = model.pad_left([tokens])
    logits: Tensor = model(ids, mask, memory=memory, logits_to_keep=latest).logits[0]
    return logits.float().log_softmax(-1)


def _respected(translation: str, terms: Sequence[Term]) -> int:
    return sum(term.respected(translation) for term in terms)


def _ends(model: MemoryDecoder) -> list[int]:
    """Return the tokens that would end a line before it has begun."""
    end = model.tokenizer.eos_token_id
    return [model.prompt.token_ids(breaks)[0] for breaks in ("\n", "\n\n")] + ([] if end is None else [end])


class _LineEnd(StoppingCriteria):  # type: ignore[misc]
    """Stops each row where its line ends."""

    def __init__(self, model: MemoryDecoder, begin: int):
        self._tokenizer, self._begin = model.tokenizer, begin

    def __call__(self, input_ids: Int[Tensor, "rows tokens"], scores: Tensor, **kwargs: object) -> Tensor:
        rows = input_ids[:, self._begin :].tolist()
        return torch.tensor(["\n" in self._text(row) for row in rows], device=input_ids.device)

    def line(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens up to the end of the line."""
        return self._text(tokens).partition("\n")[0].strip()

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))
