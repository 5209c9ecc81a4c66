"""Questions about a memory that the language model makes itself, so that a reader can be trained without any.

The pretrained decoder continues the worked examples behind an entry with a question; the reader answers it from that entry alone.
A pair is kept where the entry holds the answer. So what is learned is to find among several entries what is found in one.

Such answers are short. Therefore a share of the questions asks how something is done: the decoder continues their beginning behind one
sentence, or the lines of one step, which is the answer. A pair is kept where no other sentence or step of the entry makes the question
likelier.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from transformers.generation.logits_process import MinNewTokensLengthLogitsProcessor

from memgpt_rag.answering.answer_match import holds_answer, normalize_answer
from memgpt_rag.answering.text_units import completed, is_item, text_units
from memgpt_rag.errors import ModelError
from memgpt_rag.io.printable import counted
from memgpt_rag.limits import MOST_ENTRY_TOKENS
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.prompt import NOT_IN_MEMORY, Prompt, detect_language
from memgpt_rag.model.tokenizer import line_end_ids
from memgpt_rag.passage import Passage
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.rerankers import LikelihoodReranker
from memgpt_rag.retrieval.retriever import Retrieved

_ASK = {"en": "Question:", "zh": "问题："}
_HOW = {"en": (" How do I", " How can I", " What do I need to", " Which command"), "zh": ("怎么", "如何", "用什么命令")}
_LINE = re.compile(r"[^\n]*")
_ENDS = tuple(".!?;。！？；")  # of a sentence
_QUESTION_TOKENS, _ANSWER_TOKENS = 40, 48
_LEAST_TOKENS = 3  # of a question, before its line may end; a model often begins with a line break
_LEAST_WORDS = 3  # of a question, or pairs of Chinese characters; shorter ones ask for nothing in particular
_LEAST_PAIRS = 8
_MOST_STEP_TOKENS = 64  # of a sentence, or lines, that answer a question how something is done


def self_study(
    rag: RAG,
    count: int,
    *,
    how: float = 0.5,
    seed: int = 0,
    batch_size: int = 8,
    known: Sequence[tuple[str, str]] = (),
    on_entries: Callable[[int], object] = lambda count: None,
    on_pairs: Callable[[list[tuple[str, str]]], object] = lambda pairs: None,
) -> list[tuple[str, str]]:
    """Return questions and answers about entries drawn from a memory.

    Args:
        count: number of pairs to stop at; a memory may give fewer.
        how: share of the entries that are asked how something is done, 0 to 1.
        seed: of the choice of entries, and of the questions, which are sampled.
        batch_size: number of entries read at once.
        known: pairs that were made before, which count; entries are drawn anew, and a question that is made again keeps its answer.
        on_entries: called with the number of entries of each batch.
        on_pairs: called with all pairs so far, after each batch that added some.

    Raises:
        ModelError: fewer than eight pairs are kept.
    """
    pairs = dict(known)
    generator, pretrained = np.random.default_rng([seed, len(pairs)]), Prompt(rag.model.tokenizer)
    rows = generator.permutation(rag.retriever.memory.rows()).tolist()  # without those deleted
    with torch.random.fork_rng():
        torch.manual_seed(seed + len(pairs))
        for entries in _batches(rag, rows[: 4 * count], rag.model.rows_at_once(batch_size)):
            if len(pairs) >= count:
                break
            before = len(pairs)
            asked_how = generator.random(len(entries)) < how
            facts = [entry for entry, is_how in zip(entries, asked_how, strict=True) if not is_how]
            made = _pairs(rag, pretrained, facts)
            steps = [entry.passage for entry, is_how in zip(entries, asked_how, strict=True) if is_how]
            made |= _how_pairs(rag, pretrained, steps, generator)
            pairs |= {question: answer for question, answer in made.items() if question not in pairs}
            on_entries(len(entries))
            if len(pairs) > before:
                on_pairs(list(pairs.items()))
    if len(pairs) < _LEAST_PAIRS:
        raise ModelError(
            f"The language model made {counted(len(pairs), 'question')} about the memory that an entry answers; expected at least "
            f"{_LEAST_PAIRS}. Give questions with answers (--questions), or a memory with more entries."
        )
    return list(pairs.items())[:count]


def _batches(rag: RAG, rows: Sequence[int], batch_size: int) -> Iterator[list[Retrieved]]:
    memory = rag.retriever.memory
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        yield [Retrieved(row, one, 1.0, 1.0) for row, one in zip(part, memory.passages(part), strict=True)]


def _pairs(rag: RAG, pretrained: Prompt, entries: Sequence[Retrieved]) -> dict[str, str]:
    """Questions about these entries with the answers that they hold."""
    passages = [entry.passage for entry in entries]
    questions = _questions(rag.model, pretrained, passages, [""] * len(passages))
    asked = [(question, entry) for question, entry in zip(questions, entries, strict=True) if _is_question(question)]
    if not asked:
        return {}
    generated = rag.generator.generate_batch(
        [question for question, _ in asked],
        [()] * len(asked),
        [[entry] for _, entry in asked],
        max_new_tokens=_ANSWER_TOKENS,
    )
    answers = [rag.prompt.answer_text(tokens) for tokens in generated.tokens]
    return {
        question: answer
        for (question, entry), answer in zip(asked, answers, strict=True)
        if _is_answer(question, answer, entry.passage)
    }


def _how_pairs(
    rag: RAG, pretrained: Prompt, passages: Sequence[Passage], generator: np.random.Generator
) -> dict[str, str]:
    """Questions how something is done, each with the sentence or lines of a passage that say it."""
    chosen: list[tuple[list[Passage], int]] = []
    for passage in passages:
        steps = [replace(passage, text=text) for text in _steps(passage.text)]
        places = [place for place, step in enumerate(steps) if _may_answer(rag.prompt, step.text, first=place == 0)]
        if places:
            chosen.append((steps, int(generator.choice(places))))
    asked = [steps[place] for steps, place in chosen]
    openings = [_HOW[detect_language(step.text)] for step in asked]
    begun = [some[int(generator.integers(len(some)))] for some in openings]
    reranker = LikelihoodReranker(rag.model, rag.prompt)
    return {
        question: steps[place].text
        for question, (steps, place) in zip(_questions(rag.model, pretrained, asked, begun), chosen, strict=True)
        if _is_question(question) and int(reranker.rate(question, steps).argmax()) == place
    }


def _steps(text: str) -> list[str]:
    """The sentences and lines of a text, each with what it introduces or is introduced by."""
    units = text_units(text)
    return list(dict.fromkeys(text[slice(*completed(text, units, place))] for place in range(len(units))))


def _may_answer(prompt: Prompt, text: str, *, first: bool = False) -> bool:
    """Whether a sentence or lines may answer a question: neither a heading nor very short nor very long.

    Args:
        first: whether they begin the passage, where a line with a number is a heading.
    """
    says = text.endswith(_ENDS) or (is_item(text) and not first) or "\n" in text
    return says and _num_words(text) > _LEAST_WORDS and len(prompt.token_ids(text)) <= _MOST_STEP_TOKENS


def _questions(model: MemoryDecoder, prompt: Prompt, passages: Sequence[Passage], openings: Sequence[str]) -> list[str]:
    """A question about each passage, sampled from the pretrained decoder behind the worked examples and the question's first words.

    Args:
        prompt: that of the pretrained decoder.
    """
    if not passages:
        return []
    rows = [
        [
            *prompt.example_ids,
            *prompt.first_entry_ids(passage, MOST_ENTRY_TOKENS // 4),
            *prompt.token_ids(_ASK[detect_language(passage.text)] + opening),
        ]
        for passage, opening in zip(passages, openings, strict=True)
    ]
    ids, mask = model.pad_left(rows)
    with model.reading_with(model.writer):
        ends = [*line_end_ids(model.tokenizer), *_end_ids(model)]  # a question is a line
        sequences = model.generate(
            ids,
            mask,
            logits_processor=[MinNewTokensLengthLogitsProcessor(ids.shape[1], _LEAST_TOKENS, ends)],
            max_new_tokens=_QUESTION_TOKENS,
            do_sample=True,
            temperature=0.7,
            top_p=0.9,
            pad_token_id=model.pad_token_id,
            eos_token_id=ends,
        )
    texts = model.tokenizer.batch_decode(sequences[:, ids.shape[1] :], skip_special_tokens=True)
    return [
        (opening + first_line.group() if opening else first_line.group()).strip()
        for opening, text in zip(openings, texts, strict=True)
        if (first_line := _LINE.match(text if opening else text.strip()))
    ]


def _end_ids(model: MemoryDecoder) -> list[int]:
    """The tokens that end a text or a turn, as the model names them."""
    ends = model.decoder.generation_config.eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def _is_question(text: str) -> bool:
    return text.endswith(("?", "？")) and _num_words(text) >= _LEAST_WORDS


def _num_words(text: str) -> int:
    """The words of a text, or its pairs of Chinese characters."""
    return (len(text) - 1) // 2 if detect_language(text) == "zh" else len(text.split())


def _is_answer(question: str, answer: str, passage: Passage) -> bool:
    """Whether an answer stands in the passage and is no part of the question."""
    if not normalize_answer(answer) or answer in NOT_IN_MEMORY.values():
        return False
    return holds_answer(passage.titled_text, answer) and not holds_answer(question, answer)
