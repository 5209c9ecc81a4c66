"""Reader tuning on a tiny decoder: what it learns from, its loss, and that training goes, stops, and goes on exactly."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hashing import HashEncoder
from hats import NAMES, asked, build_hats, open_rag
from safetensors.torch import load_file

from indexing.jobs.compute_states import compute_states
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.errors import ModelError
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.adapter import add_adapter
from memgpt_rag.model.presets import general_preset
from memgpt_rag.model.prompt import NOT_IN_MEMORY
from memgpt_rag.model.reader import load_reader
from memgpt_rag.rag import RAG
from memgpt_rag.training import adapter as training
from memgpt_rag.training.adapter import (
    AdapterOptions,
    AdapterTrainer,
    distillation_loss,
    last_checkpoint,
    make_teacher,
    require_new,
    train_adapter,
)
from memgpt_rag.training.adapter_examples import holds, make_adapter_examples
from memgpt_rag.training.answer_likelihood import answer_logits, answer_losses

SMALL = {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 3, "disable_tqdm": True, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return build_hats(tmp_path_factory.mktemp("reader"))


@pytest.fixture
def rag(folder) -> RAG:
    return open_rag(folder)


def test_every_question_has_its_passage_or_is_to_say_that_it_is_not_in_memory(rag):
    many = [replace(example, question=f"{example.question} {turn}") for turn in range(25) for example in asked(rag)]
    examples = make_adapter_examples(many, 3)
    without = [one for one in examples if one.gold is None]
    assert len(examples) == 200
    assert 0.15 <= len(without) / len(examples) <= 0.20
    for one, before in zip(examples, many, strict=True):
        assert one.example.question == before.question
        assert [entry.row for entry in one.example.found] == sorted(
            (entry.row for entry in one.example.found), key=[entry.row for entry in before.found].index
        )
        assert len(one.example.found) == 3
        holding = [entry for entry in one.example.found if holds(entry, before.answer)]
        if one.gold is None:
            assert holding == []
            assert one.example.answer == NOT_IN_MEMORY["en"]
        else:
            assert holding == [one.gold]
            assert one.example.answer == before.answer
    assert make_adapter_examples(many, 3) == examples
    assert make_adapter_examples(many, 3, seed=1) != examples


def test_the_language_of_the_question_says_how_it_is_worded_and_what_no_entry_holds_is_left_out(rag):
    first, second, *_ = asked(rag)
    chinese = replace(first, question="安的帽子是什么颜色？")
    (one,) = make_adapter_examples([chinese, replace(second, answer="plaid")], 3, unanswerable=0.9)
    assert (one.example.question, one.example.answer, one.gold) == (chinese.question, NOT_IN_MEMORY["zh"], None)
    with pytest.raises(ValueError, match="unanswerable is 1; expected a share from 0 up to"):
        make_adapter_examples([first], 3, unanswerable=1)


def test_distillation_equals_the_divergence_by_hand():
    generator = torch.Generator().manual_seed(0)
    mine, theirs = ([torch.randn(tokens, 7, generator=generator) for tokens in (3, 5)] for _ in range(2))
    for got, reading, prompted in zip(distillation_loss(mine, theirs), mine, theirs, strict=True):
        by_hand = 0.0
        for reading_values, prompted_values in zip(reading.double(), prompted.double(), strict=True):
            p, q = (
                prompted_values.exp() / prompted_values.exp().sum(),
                reading_values.exp() / reading_values.exp().sum(),
            )
            by_hand += sum(float(p[i] * (p[i] / q[i]).log()) for i in range(7)) / len(reading)
        assert float(got) == pytest.approx(by_hand, rel=1e-5)
    assert distillation_loss(mine, mine).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_unanswerable_questions_come_spread_over_the_training_not_all_at_once(rag, tmp_path):
    many = [replace(example, question=f"{example.question} {turn}") for turn in range(25) for example in asked(rag)]
    settings = training.Arguments(str(tmp_path), use_cpu=True, report_to=[], seed=0, **SMALL)
    trainer = AdapterTrainer(
        rag,
        add_adapter(rag.model),
        settings,
        teacher=make_teacher(rag),
        train_dataset=make_adapter_examples(many, 3, seed=0),
    )
    order = [one.gold is None for batch in trainer.get_train_dataloader() for one in batch["examples"]]
    assert sum(order) == 36
    assert all(3 <= sum(order[start : start + 50]) <= 18 for start in range(0, 200, 50))


@pytest.mark.parametrize("preset", ["quality", "compact"])
def test_the_loss_of_a_batch_is_answers_and_distance_question_by_question(rag, tmp_path, preset):
    rag.model.config = general_preset(preset)
    examples = make_adapter_examples(asked(rag), 3)
    adapter = add_adapter(rag.model)
    settings = training.Arguments(str(tmp_path), use_cpu=True, report_to=[], remove_unused_columns=False)
    trainer = AdapterTrainer(
        rag, adapter, settings, teacher=make_teacher(rag), distillation_weight=0.5, answer_weight=2.0, end_weight=0.25
    )
    expected = []
    with torch.no_grad():
        for one in examples:
            words, end = answer_losses(rag, [one.example])
            loss = 2.0 * (float(words) + 0.25 * float(end))
            if one.gold is not None:
                said, ending = rag.prompt.answer_ids(one.example.question, one.example.answer)
                # The passage as tokens of the prompt, behind the prefix; the same decoder, which has no adapter here.
                prompt = [*rag.prompt.prefix_ids, *rag.prompt.question_row(one.example.question, [one.gold.passage])]
                shown = rag.model.writer(torch.tensor([[*prompt, *said, *ending]])).logits[0, len(prompt) - 1 : -1]
                loss += 0.5 * float(distillation_loss(answer_logits(rag, [one.example])[0], [shown]))
            expected.append(loss)
        batch = {"examples": examples}
        got, outputs = trainer.compute_loss(adapter, batch, return_outputs=True)
    assert any(one.gold is None for one in examples)
    assert outputs["losses"].tolist() == pytest.approx(expected, rel=1e-3)
    assert float(got) == pytest.approx(sum(expected) / len(expected), rel=1e-3)


def test_training_lowers_the_loss_and_what_is_kept_reads_like_what_was_trained(folder, tmp_path):
    rag = open_rag(folder)
    rag.answer("What is the hat of Ann like?", AskOptions(max_new_tokens=2))  # states read before training serve it
    examples = make_adapter_examples(asked(rag), 3)
    tuning = train_adapter(
        rag, examples, examples, tmp_path, AdapterOptions(evaluations=4), num_train_epochs=12, **SMALL
    )
    assert tuning.after < 0.7 * tuning.before
    assert tuning.steps == 24
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in curve if "loss" in line]
    assert len(losses) == 24
    assert losses[-1] < losses[0]
    assert min(line["eval_loss"] for line in curve if "eval_loss" in line) == tuning.after
    rates = [line["learning_rate"] for line in curve if "learning_rate" in line]
    assert max(rates) == pytest.approx(1e-2, rel=0.05)
    assert rates[-1] < 1e-3, "the schedule is a cosine"
    again = open_rag(folder)
    load_reader(again.model, tmp_path)
    with torch.no_grad():
        parts = [answer_losses(one, [item.example for item in examples]) for one in (rag, again)]
        with again.model.reading_with(again.model.writer):
            untrained = answer_losses(again, [item.example for item in examples])
    assert torch.allclose(parts[0][0], parts[1][0], atol=1e-4)  # states of other batches round otherwise
    assert parts[1][0].mean() < untrained[0].mean()


def test_the_loss_held_out_is_the_mean_over_questions_though_batches_differ_in_size(rag, tmp_path):
    examples = make_adapter_examples(asked(rag), 3)
    tuning = train_adapter(rag, examples, examples, tmp_path, AdapterOptions(evaluations=1), max_steps=1, **SMALL)
    trainer = AdapterTrainer(
        rag,
        add_adapter(rag.model),
        training.Arguments(str(tmp_path), use_cpu=True, report_to=[]),
        teacher=make_teacher(rag),
    )
    with torch.no_grad():
        losses = [float(trainer.compute_loss(None, {"examples": [one]})) for one in examples]
    assert tuning.before == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_states_on_disk_are_taken_and_would_be_written_again_byte_by_byte_after_training(folder, tmp_path):
    before, after = (Path(shutil.copytree(folder, tmp_path / name)) for name in ("before", "after"))
    compute_states(before, open_rag(folder).model, dtype="fp32")
    rag = open_rag(before)
    examples = make_adapter_examples(asked(rag), 3)
    assert (
        train_adapter(
            rag, examples, examples, tmp_path / "reader", AdapterOptions(evaluations=1), max_steps=6, **SMALL
        ).steps
        == 6
    )
    trained = open_rag(before)
    load_reader(trained.model, tmp_path / "reader")
    compute_states(after, trained.model, dtype="fp32")
    again = RAG(Memory.open(before), HashEncoder(), trained.model)  # the states in the memory are accepted
    assert Memory.open(after).manifest.states == again.retriever.memory.manifest.states
    for row in range(len(NAMES)):
        (mine, _), (theirs, _) = (Memory.open(one).states(row) for one in (before, after))
        assert np.array_equal(mine, theirs)
    question = "What is the hat of Bob like?"
    assert (
        again.answer(question, AskOptions(max_new_tokens=6)).text
        == trained.answer(question, AskOptions(max_new_tokens=6)).text
    )


def test_training_stops_when_what_is_held_out_gets_no_better(rag, tmp_path):
    examples = make_adapter_examples(asked(rag), 3)
    # Held-out answers are other than those trained on, so that they get worse.
    held_out = [replace(one, example=replace(one.example, answer="QZX~^|")) for one in examples]
    tuning = train_adapter(rag, examples, held_out, tmp_path, AdapterOptions(evaluations=20,patience=2,distillation_weight=0.0,end_weight=0.0), num_train_epochs=20, **SMALL)  # fmt: skip
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    held = [line["eval_loss"] for line in curve if "eval_loss" in line]
    assert tuning.steps < 40
    assert held.index(min(held)) == len(held) - 3, "two evaluations behind the best one"
    assert (tmp_path / "reader.json").exists() == (tuning.after < tuning.before)


class InterruptedCurve(training.Curve):
    """The curve, and an interruption behind the second checkpoint."""

    def on_save(self, args, state, control, **kwargs):
        if state.global_step == 6:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_training_goes_on_to_the_same_end(folder, tmp_path, monkeypatch):
    settings = {**SMALL, "num_train_epochs": 6, "gradient_accumulation_steps": 1}
    options = AdapterOptions(evaluations=4, dropout=0.2)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    rag = open_rag(folder)
    examples = make_adapter_examples(asked(rag), 3)
    through = train_adapter(rag, examples, examples, whole, options, **settings)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "Curve", InterruptedCurve)
        train_adapter(open_rag(folder), examples, examples, broken, options, **settings)
    assert not (broken / "reader.json").exists()
    torch.manual_seed(123)  # another process would have other random numbers
    resumed = train_adapter(open_rag(folder), examples, examples, broken, options, resume=True, **settings)
    assert resumed == through
    mine, theirs = (load_file(one / "adapter_model.safetensors") for one in (broken, whole))
    assert mine.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(mine[name], tensor), name
    assert (broken / "curve.jsonl").read_text() == (whole / "curve.jsonl").read_text()


def test_accumulated_gradients_are_those_of_a_large_batch(folder, tmp_path):
    adapters = []
    for batch, accumulated in ((4, 1), (2, 2)):
        rag = open_rag(folder)
        examples = make_adapter_examples(asked(rag), 3)
        # Adam and clipping forgive a gradient that is twice as large; plain descent does not.
        settings = {**SMALL, "optim": "sgd", "max_grad_norm": 0.0, "gradient_accumulation_steps": accumulated}
        settings["per_device_train_batch_size"] = batch
        target = tmp_path / str(batch)
        train_adapter(
            rag, examples, examples, target, AdapterOptions(evaluations=1, dropout=0.0), max_steps=2, **settings
        )
        adapters.append(load_file(target / "adapter_model.safetensors"))
    for name, tensor in adapters[0].items():
        if "lora_B" in name:
            assert tensor.norm() > 0
            assert (tensor - adapters[1][name]).norm() < 1e-2 * tensor.norm(), name


@pytest.mark.slow
def test_a_decoder_in_bf16_learns_with_an_adapter_in_fp32(folder, tmp_path):
    rag = open_rag(folder)
    rag.model.decoder.to(torch.bfloat16)
    rag = RAG(rag.retriever.memory, HashEncoder(), MemoryDecoder(rag.model.decoder, rag.model.tokenizer))
    examples = make_adapter_examples(asked(rag), 3)
    tuning = train_adapter(rag, examples, examples, tmp_path, AdapterOptions(evaluations=2), max_steps=8, **SMALL)
    assert tuning.after < tuning.before
    assert {tensor.dtype for tensor in load_file(tmp_path / "adapter_model.safetensors").values()} == {torch.float32}
    assert {parameter.dtype for parameter in rag.model.writer.parameters()} == {torch.bfloat16}


def test_nothing_to_learn_from_or_to_go_on_from_is_reported(rag, tmp_path):
    examples = make_adapter_examples(asked(rag), 3)
    with pytest.raises(ValueError, match="There are 8 examples and 0 held out; give at least one of each"):
        train_adapter(rag, examples, [], tmp_path)
    with pytest.raises(ModelError, match="holds no checkpoint to go on from; train without --resume"):
        train_adapter(rag, examples, examples, tmp_path, resume=True)
    (tmp_path / "checkpoints").mkdir()  # as a training leaves it that was stopped before the first one
    require_new(tmp_path)
    (tmp_path / "checkpoints/checkpoint-3").mkdir()
    with pytest.raises(ModelError, match="already holds a reader, .*; name another folder, or go on with --resume"):
        require_new(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "reader.json").touch()
    with pytest.raises(ModelError, match="already holds a reader, .*; name another folder, or go on with --resume"):
        train_adapter(rag, examples, examples, tmp_path)


@pytest.mark.parametrize("check", [last_checkpoint, require_new])
def test_training_writes_through_no_link(check, tmp_path):
    """A reader that somebody sent, and that is to be trained further."""
    (tmp_path / ".bashrc").write_text("export EDITOR=vi")
    reader = tmp_path / "reader"
    (reader / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (reader / "checkpoints" / "checkpoint-1" / "trainer_state.json").symlink_to(tmp_path / ".bashrc")
    with pytest.raises(ModelError, match=r"trainer_state\.json is a link, so that training would write elsewhere"):
        check(reader)
