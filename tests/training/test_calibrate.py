"""Calibration with the models that come as packages, on the demo's own knowledge."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.training.answer_likelihood import (
    Example,
    alike_batches,
    answer_losses,
    document_folds,
    hold_out,
    losses_with_gold,
)
from memgpt_rag.training.calibrate import END_WEIGHT, CalibrationOptions, calibrate

pytestmark = pytest.mark.offline_models

KNOWN = [
    ("How much does it cost to rent a rowing boat?", "40 yuan an hour"),
    ("遛狗必须怎么做？", "牵绳"),
    ("Who can borrow a kite?", "children under twelve"),
    ("今天天气怎么样？", "晴"),
]


@pytest.fixture
def examples(rag):
    found = rag.retriever.retrieve([question for question, _ in KNOWN], 2)
    return [Example(question, answer, item) for (question, answer), item in zip(KNOWN, found, strict=True)]


@pytest.fixture
def reader(rag, monkeypatch):
    """The shared decoder, attended to in one layer, so that a step is quick."""
    config = MemoryAttentionConfig("global", score_bias=4.0, top_m=32)
    model = MemoryDecoder(rag.model.decoder, rag.model.tokenizer, config=config, prefix_ids=rag.model.prefix_ids)
    monkeypatch.setattr(rag, "model", model)
    return rag


@torch.no_grad()
def test_the_loss_of_an_answer_is_its_likelihood_token_by_token(reader, examples):
    example = examples[0]
    words, end = answer_losses(reader, examples[:2])
    (said, ending), prompt, model = (
        reader.prompt.answer_ids(example.question, example.answer),
        reader.prompt,
        reader.model,
    )
    entries = [prompt.entry_ids(entry.passage) for entry in example.found]
    scores = [entry.normalized_score for entry in example.found]
    so_far, losses = list(prompt.question_ids(example.question)), []
    for token in (*said, *ending):
        attended = model.make_memory([entries], [scores])
        logits = model(torch.tensor([so_far]), memory=attended).logits[0, -1]
        losses.append(-float(torch.log_softmax(logits, -1)[token]))
        so_far.append(token)
    assert float(words[0]) == pytest.approx(sum(losses[: len(said)]) / len(said), abs=2e-3)
    assert float(end[0]) == pytest.approx(sum(losses[len(said) :]), abs=2e-3)


@pytest.mark.slow
@torch.no_grad()
def test_the_gold_share_is_the_attention_that_citations_count(reader, examples):
    gold = [replace(example, gold=(1,)) for example in examples[:2]]
    _, _, losses = losses_with_gold(reader, [*gold, examples[2]], None, 1.0)
    assert float(losses[2]) == 0  # nobody knows which entry holds its answer
    for example, loss in zip(gold, losses.tolist(), strict=False):
        words, end = reader.prompt.answer_ids(example.question, example.answer)
        entries = [reader.prompt.entry_ids(entry.passage) for entry in example.found]
        so_far, masses = list(reader.prompt.question_ids(example.question)), []
        for token in (*words, *end):
            attended = reader.model.make_memory([entries], [[entry.normalized_score for entry in example.found]])
            reader.model(torch.tensor([so_far]), memory=attended)
            masses.append(attended.entry_mass()[0])
            so_far.append(token)
        first_mass, second_mass = (sum(item) for item in zip(*masses, strict=True))
        assert loss == pytest.approx(-math.log(second_mass / (first_mass + second_mass)), abs=2e-3)


def test_calibration_lowers_the_loss_and_gives_numbers_that_give_it_again(reader, examples):
    before, seen, tried = reader.model.config, [], []
    got = calibrate(
        reader,
        examples,
        examples,
        CalibrationOptions(steps=3, evaluations=1, top_ms=(1, 32)),
        on_step=lambda step, loss: seen.append(step),
        on_candidate=lambda config, loss: tried.append((config, loss)),
    )
    assert seen == [1, 2, 3]
    assert got.after < got.before
    assert tried[0] == (before, got.before)
    assert min(loss for _, loss in tried) == got.after
    assert dict(tried)[got.config] == got.after
    assert {1, 32} == {config.top_m for config, _ in tried}
    assert {True, False} == {config.null_score is None for config, _ in tried}
    assert reader.model.config == before  # left as it is
    assert not any(parameter.grad is not None for parameter in reader.model.parameters())
    reader.model.config = got.config
    with torch.no_grad():
        words, end = answer_losses(reader, examples)
    assert float((words + END_WEIGHT * end).mean()) == pytest.approx(got.after, abs=1e-3)


@pytest.mark.slow
def test_the_null_slot_stays_only_where_answers_are_better_for_it(reader, examples):
    reader.model.config = replace(reader.model.config, offset=4.0)  # memory shouts
    got = calibrate(reader, examples, examples, CalibrationOptions(steps=12, evaluations=3, top_ms=()))
    reader.model.config = replace(got.config, null_score=None)
    with torch.no_grad():
        words, end = answer_losses(reader, examples)
    without = float((words + END_WEIGHT * end).mean())
    assert got.config.null_score is None or without > got.after
    bare = calibrate(reader, examples, examples, CalibrationOptions(steps=2, evaluations=1, top_ms=(), null_slot=False))
    assert bare.config.null_score is None


def test_batches_hold_every_example_once_and_answers_of_like_length(examples):
    many = [replace(examples[0], answer="x" * length) for length in (5, 1, 9, 2, 8, 4, 7)]
    assert [[len(one.answer) for one in batch] for batch in alike_batches(many, 3)] == [[1, 2, 4], [5, 7, 8], [9]]


@pytest.mark.slow
def test_numbers_that_do_not_help_on_what_is_held_out_are_not_kept(reader, examples):
    worse = [Example(example.question, "zebra crossing nine", example.found) for example in examples[:1]]
    got = calibrate(reader, worse, examples[1:], CalibrationOptions(steps=3, evaluations=1))
    assert got.after <= got.before
    assert got.after < got.before or got.config == reader.model.config


def test_calibration_needs_examples(reader, examples):
    with pytest.raises(ValueError, match="There are 4 examples and 0 held out; give at least one of each"):
        calibrate(reader, examples, [])


def test_a_quarter_is_held_out_with_all_questions_of_its_documents(rag):
    found = rag.retriever.retrieve([question for question, _ in KNOWN], 1)
    # The questions of KNOWN rest on one record each of notices.jsonl, on park.md and on weather.txt.
    examples = [Example(f"{number}", "", found[number % 4]) for number in range(20)]
    fitting, held_out = hold_out(examples)
    assert sorted([*fitting, *held_out], key=lambda one: int(one.question)) == examples
    places = [
        {(one.found[0].passage.source, one.found[0].passage.record) for one in part} for part in (fitting, held_out)
    ]
    assert not places[0] & places[1]
    assert len(held_out) == 5
    fitting, held_out = hold_out([Example(f"{number}", "", found[0]) for number in range(8)])
    assert [one.question for one in held_out] == ["3", "7"]
    assert len(fitting) == 6


@pytest.mark.parametrize(
    "counts, largest, smallest",
    [
        ((97, 1, 1, 1), 25, 25),
        ((49, 49, 1, 1), 25, 25),
        ((50, *[1] * 50), 50, 16),
        ((1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 15, 13),
    ],
)
def test_folds_have_about_as_many_questions_each(counts, largest, smallest):
    """Documents are not split, unless a fold would have less than half of its part."""
    documents = [("file", f"{number}") for number, count in enumerate(counts) for _ in range(count)]
    folds = document_folds(documents, 4)
    sizes = sorted(folds.count(fold) for fold in range(4))
    assert (sizes[-1], sizes[0]) == (largest, smallest)
    per_document = {
        document: {fold for one, fold in zip(documents, folds, strict=True) if one == document}
        for document in documents
    }
    assert all(len(own) == 1 for own in per_document.values()) == (smallest != 25)
    assert sizes == sorted(document_folds(documents[::-1], 4).count(fold) for fold in range(4))
