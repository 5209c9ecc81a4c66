"""Training of delimiters on a tiny decoder: only the vectors change, the loss falls, and the result is a reader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hats import asked, build_hats, open_rag
from tiny import tiny_decoder

from memgpt_rag.errors import ModelError
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.adapter import add_adapter
from memgpt_rag.model.delimiters import Delimiters, new_delimiters
from memgpt_rag.model.reader import load_reader, save_reader
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.training.adapter import AdapterOptions
from memgpt_rag.training.adapter_examples import make_adapter_examples
from memgpt_rag.training.answer_likelihood import answer_logits, answer_losses
from memgpt_rag.training.delimiters import DelimitersTrainer, train_delimiters
from memgpt_rag.training.rows import require_plain_head

SMALL = {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "disable_tqdm": True}
OPTIONS = AdapterOptions(evaluations=2, distillation_weight=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return build_hats(tmp_path_factory.mktemp("delimiters"))


def two_vectors(model: MemoryDecoder) -> Delimiters:
    return new_delimiters(model.embedded(torch.tensor([10]))[0], prefix=2, entry=2)


def test_what_the_trainer_reads_is_what_the_model_reads_with_its_stored_states(folder):
    rag = open_rag(folder)
    rag.model.delimiters = delimiters = two_vectors(rag.model)
    examples = [one.example for one in make_adapter_examples(asked(rag), 3)]
    trainer = DelimitersTrainer.__new__(DelimitersTrainer)
    trainer.rag = rag
    with torch.no_grad():
        mine, answers = trainer.read(examples)
        theirs, same = answer_logits(rag, examples)
    assert answers == same
    for one, other in zip(mine, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert rag.model.delimiters is delimiters


def test_delimiters_are_trained_and_kept_as_a_reader_while_every_weight_stays(folder, tmp_path):
    rag = open_rag(folder)
    weights = {name: one.clone() for name, one in rag.model.writer.state_dict().items()}
    examples = make_adapter_examples(asked(rag), 3)
    tuning = train_delimiters(
        rag, examples, examples, tmp_path, OPTIONS, count=2, learning_rate=0.3, max_steps=12, **SMALL
    )
    assert tuning.after < tuning.before
    assert all(torch.equal(one, weights[name]) for name, one in rag.model.writer.state_dict().items())
    plain = [one.example for one in examples]
    with torch.no_grad():
        trained = answer_losses(rag, plain)[0]
    again = open_rag(folder)
    reader = load_reader(again.model, tmp_path)
    assert reader.adapter is None and reader.worked_examples
    again.model.prefix_ids = again.model.prompt.prefix_ids
    with torch.no_grad():
        assert torch.allclose(answer_losses(again, plain)[0], trained, atol=1e-4)


def test_delimiters_of_a_reader_are_trained_further_and_its_adapter_is_kept(folder, tmp_path):
    rag = open_rag(folder)
    rag.model.delimiters = two_vectors(rag.model)
    adapter = add_adapter(rag.model, rank=2)
    with torch.no_grad():
        for name, one in adapter.named_parameters():
            if "lora_B" in name:
                one.fill_(0.05)
    save_reader(rag.model, tmp_path / "start", adapter=adapter)
    rag = open_rag(folder)
    start = load_reader(rag.model, tmp_path / "start")
    rag.model.prefix_ids = rag.model.prompt.prefix_ids
    examples = make_adapter_examples(asked(rag), 3)
    train_delimiters(rag, examples, examples, tmp_path / "next", OPTIONS, learning_rate=0.3, max_steps=8, **SMALL)
    again = load_reader(open_rag(folder).model, tmp_path / "next")
    assert again.adapter.weights.keys() == start.adapter.weights.keys()
    assert all(torch.equal(one, start.adapter.weights[name]) for name, one in again.adapter.weights.items())
    assert again.delimiters.entry.shape == start.delimiters.entry.shape
    assert not torch.equal(again.delimiters.entry, start.delimiters.entry)


def test_a_decoder_that_changes_the_logits_of_its_head_is_refused():
    decoder = tiny_decoder("gemma3", vocabulary=256)
    decoder.config.final_logit_softcapping = 0.05
    model = MemoryDecoder(decoder, byte_tokenizer())
    with pytest.raises(ModelError, match="changes the logits of its head, and delimiters cannot be trained"):
        require_plain_head(model)
