"""An adapter changes what reads and never what writes: states, the prefix and their fingerprints stay as pretrained."""

from __future__ import annotations

import json
import re
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ARCHITECTURES, random_ids, tiny_decoder

from memgpt_rag.errors import MismatchError, MissingPackageError, ModelError
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.adapter import add_adapter, reading_modules
from memgpt_rag.model.reader import load_reader, save_reader
from memgpt_rag.model.stored import states_fingerprint
from memgpt_rag.model.tokenizer import byte_tokenizer

ENTRIES = [random_ids(7, 1), random_ids(4, 2)]
PREFIX = (1, 5, 9)
QUESTION = torch.tensor([random_ids(6, 3)])


def make_model(architecture: str) -> MemoryDecoder:
    decoder = tiny_decoder(architecture, vocabulary=256)
    return MemoryDecoder(decoder, byte_tokenizer(), config="quality", prefix_ids=PREFIX)


def disturb(adapter) -> None:
    """As training leaves it: B is no longer 0."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3, generator=generator)


def read(model: MemoryDecoder) -> torch.Tensor:
    with torch.no_grad():
        return model(QUESTION, memory=model.make_memory([ENTRIES])).logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_untrained_adapter_changes_nothing_to_the_last_bit(architecture):
    model = make_model(architecture)
    before, written = read(model), model.generate(QUESTION, memory=model.make_memory([ENTRIES]), max_new_tokens=5)
    add_adapter(model)
    assert torch.equal(read(model), before)
    assert torch.equal(model.generate(QUESTION, memory=model.make_memory([ENTRIES]), max_new_tokens=5), written)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_with_a_trained_adapter_are_those_of_the_pretrained_decoder(architecture):
    plain, model = make_model(architecture), make_model(architecture)
    disturb(add_adapter(model))
    for mine, theirs in zip(model.entry_states(ENTRIES), plain.entry_states(ENTRIES), strict=True):
        for layer in plain.layers:
            assert torch.equal(mine.keys[layer], theirs.keys[layer])
            assert torch.equal(mine.values[layer].codes, theirs.values[layer].codes)
    assert states_fingerprint(model) == states_fingerprint(plain)
    mine, theirs = (one._states.prefix_cache(1) for one in (model, plain))
    for layer in range(4):
        assert torch.equal(mine.layers[layer].keys, theirs.layers[layer].keys)
        assert torch.equal(mine.layers[layer].values, theirs.layers[layer].values)
    assert not torch.allclose(read(model), read(plain), atol=1e-2), "the trained adapter reads otherwise"
    with model.reading_with(model.writer):
        assert torch.equal(read(model), read(plain))
    assert not torch.allclose(read(model), read(plain), atol=1e-2), "and does so again behind the block"


def test_an_adapter_trains_no_weight_of_the_decoder_and_shares_all_of_them():
    model = make_model("gemma3")
    adapter = add_adapter(model, rank=2)
    own = {name: parameter for name, parameter in adapter.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name for name in own)
    assert not any(parameter.requires_grad for parameter in model.writer.parameters())
    places = {parameter.data_ptr() for parameter in model.writer.parameters()}
    others = [parameter for name, parameter in adapter.named_parameters() if name not in own]
    assert {parameter.data_ptr() for parameter in others} == places


def test_what_reads_is_named_by_architecture():
    reads = reading_modules(tiny_decoder("gemma3"))
    assert {name.rsplit(".", 1)[1] for name in reads if ".self_attn." in name} == {"q_proj", "o_proj"}
    assert {name.split(".")[2] for name in reads if ".self_attn." in name} == {"0", "1", "2", "3"}
    assert {name.split(".")[2] for name in reads if ".mlp." in name} == {"2", "3"}
    assert len(reads) == 4 * 2 + 2 * 3
    # One map of GPT-2 gives queries, keys and values, so it is left alone.
    assert {name.split(".", 3)[3] for name in reading_modules(tiny_decoder("gpt2"))} == {
        "attn.c_proj", "mlp.c_fc", "mlp.c_proj",
    }  # fmt: skip


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
def test_a_reader_reads_the_same_after_a_journey_through_a_folder(architecture, tmp_path):
    model, other = make_model(architecture), make_model(architecture)
    adapter = add_adapter(model)
    disturb(adapter)
    adapter.eval()
    save_reader(model, tmp_path / "reader", adapter=adapter)
    load_reader(other, tmp_path / "reader")
    # Merged into the weights, and by peft beside them.
    assert torch.allclose(read(other), read(model), atol=1e-5)
    assert not any(parameter.requires_grad for parameter in other.parameters())


def test_without_a_cache_an_adapter_cannot_read_after_the_prefix():
    model = make_model("llama")
    disturb(add_adapter(model))
    with pytest.raises(ValueError, match="leave use_cache on"):
        model.generate(QUESTION, memory=model.make_memory([ENTRIES]), use_cache=False, max_new_tokens=2)


def test_a_wrong_or_missing_reader_is_refused(tmp_path):
    model = make_model("llama")
    adapter = add_adapter(model)
    folder = tmp_path / "reader"
    with pytest.raises(
        ModelError, match="gone holds no reader: it has no reader.json; name a folder that memgpt-rag train wrote"
    ):
        load_reader(model, tmp_path / "gone")
    save_reader(model, folder, adapter=adapter)
    # Other weights of the same shape, and another shape: neither is taken.
    other = make_model("llama")
    with torch.no_grad():
        other.decoder.model.layers[0].mlp.up_proj.weight.neg_()
    with pytest.raises(
        MismatchError, match=r"reads the same text otherwise \(cosine .*\)\. Load the model that it was trained for"
    ):
        load_reader(other, folder)
    with pytest.raises(MismatchError, match="reads the same text otherwise"):
        load_reader(make_model("qwen3"), folder)
    weights = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(weights[:200])
    with pytest.raises(ModelError, match="is damaged .*; train it again"):
        load_reader(model, folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"is damaged \(adapter_model.safetensors is missing\); train it again"):
        load_reader(model, folder)
    (folder / "reader.json").write_text(json.dumps({"model": "x"}))
    with pytest.raises(ModelError, match=r"is damaged \(reader.json: 'probe'\)"):
        load_reader(model, folder)
    for content, why in (("[" * 200_000, "nested more than"), ('{"model": "x", "probe": [NaN]}', "NaN where a number")):
        (folder / "reader.json").write_text(content)
        with pytest.raises(ModelError, match=rf"is damaged \(reader.json: {why}.*; train it again"):
            load_reader(model, folder)
    with (folder / "reader.json").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ModelError, match="is damaged .*more than 4,194,304 bytes"):
        load_reader(model, folder)


def test_weights_of_another_rank_are_refused(tmp_path):
    model = make_model("llama")
    save_reader(model, tmp_path / "four", adapter=add_adapter(model, rank=4))
    save_reader(model, tmp_path / "two", adapter=add_adapter(model, rank=2))
    (tmp_path / "two" / "adapter_model.safetensors").replace(tmp_path / "four" / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"is damaged .*lora_A.weight has 2×\d+ numbers, and by the settings 4×"):
        load_reader(model, tmp_path / "four")


# What a folder may ask of peft, each with what peft 0.18 to 0.21 makes of it.
HOSTILE = {
    "a module is imported": ({"megatron_config": {"a": 1}, "megatron_core": "marker.evil"}, "not read here: 'megatron_con"),
    "shared weights are taken apart": ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', not True"),
    "a regular expression without end": ({"target_modules": "(.*)*(.*)*(.*)*x"}, "not a list of names"),
    "all linear maps": ({"target_modules": "all-linear"}, "target_modules is 'all-linear', not a list of names"),
    "gigabytes of rank": ({"r": 200_000}, "r is 200000, not a number from 1 to 1024"),
    "rank of a part": ({"rank_pattern": {".*": 200_000}}, "not read here: 'rank_pattern'"),
    "no rank": ({"r": 0}, "r is 0, not a number from 1 to 1024"),
    "a rank that is true": ({"r": True}, "r is True, not a number"),
    "alpha beyond numbers": ({"lora_alpha": 1e308}, "lora_alpha is 1e+308, not a number above 0"),
    "alpha of text": ({"lora_alpha": "16"}, "lora_alpha is '16', not a number above 0"),
    "dropout of all": ({"lora_dropout": 1.0}, "lora_dropout is 1.0, not a number from 0 to 1"),
    "another norm": ({"use_dora": True}, "not read here: 'use_dora'"),
    "another scale": ({"use_rslora": True}, "not read here: 'use_rslora'"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, "not read here: 'modules_to_save'"),
    "biases": ({"bias": "all"}, "bias is 'all', not 'none'"),
    "another kind": ({"peft_type": "LOHA"}, "peft_type is 'LOHA', not 'LORA'"),
    "no linear map": ({"target_modules": ["model.norm"]}, "names 'model.norm', which is no linear map of this model"),
    "half a linear map's name": ({"target_modules": ["proj"]}, "names 'proj', which is no linear map of this model"),
    "no name": ({"target_modules": [{}]}, "not a list of names"),
}  # fmt: skip


@pytest.mark.parametrize("asked, why", HOSTILE.values(), ids=HOSTILE)
def test_what_a_folder_asks_of_peft_beyond_numbers_is_refused(asked, why, tmp_path, monkeypatch):
    model = make_model("llama")
    adapter = add_adapter(model)
    disturb(adapter)
    save_reader(model, tmp_path, adapter=adapter)
    (tmp_path / "marker").mkdir()
    (tmp_path / "marker" / "evil.py").write_text(f"open({str(tmp_path / 'MARKER')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | asked))
    model = make_model("llama")
    weights = {name: tensor.clone() for name, tensor in model.writer.state_dict().items()}
    with pytest.raises(ModelError, match=rf"is damaged \(adapter_config.json: .*{re.escape(why)}.*; train it again"):
        load_reader(model, tmp_path)
    assert not (tmp_path / "MARKER").exists()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.writer.state_dict().items())


def test_a_reader_leaves_every_weight_of_the_decoder_as_it_was_to_the_bit(tmp_path):
    model = make_model("llama")
    adapter = add_adapter(model)
    disturb(adapter)
    save_reader(model, tmp_path, adapter=adapter)
    model = make_model("llama")
    weights = {name: tensor.clone() for name, tensor in model.writer.state_dict().items()}
    load_reader(model, tmp_path)
    assert model.decoder is not model.writer
    assert weights.keys() == model.writer.state_dict().keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.writer.state_dict().items())


def test_names_that_peft_has_shortened_are_found(tmp_path):
    """From twenty maps on it keeps the shortest endings that tell them from others."""
    model, other = make_model("llama"), make_model("llama")
    adapter = add_adapter(model)
    disturb(adapter)
    adapter.eval()
    save_reader(model, tmp_path, adapter=adapter)
    file = tmp_path / "adapter_config.json"
    settings = json.loads(file.read_text())
    mlp = [name.removeprefix("model.layers.") for name in settings["target_modules"] if "mlp" in name]
    file.write_text(json.dumps(settings | {"target_modules": ["q_proj", "self_attn.o_proj", *mlp]}))
    load_reader(other, tmp_path)
    assert torch.allclose(read(other), read(model), atol=1e-5)


@pytest.mark.parametrize(
    "spoil, why",
    [
        (lambda weights: weights.popitem(), "1 weights are missing and 0 belong nowhere"),
        (
            lambda weights: weights.update(more=torch.zeros(1)),
            "0 weights are missing and 1 belong nowhere, such as 'more'",
        ),
        (lambda weights: next(iter(weights.values())).fill_(float("nan")), "holds what is no number"),
        (lambda weights: weights.update({name: one.int() for name, one in weights.items()}), "holds what is no number"),
    ],
    ids=["missing", "surplus", "NaN", "whole numbers"],
)
def test_weights_that_are_none_are_refused(spoil, why, tmp_path):
    model = make_model("llama")
    save_reader(model, tmp_path, adapter=add_adapter(model))
    weights = load_file(tmp_path / "adapter_model.safetensors")
    spoil(weights)
    save_file(weights, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=rf"is damaged \(adapter_model.safetensors: .*{why}"):
        load_reader(make_model("llama"), tmp_path)


def test_without_peft_the_sentence_is_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackageError, match=r"run: pip install 'memgpt_rag\[train\]'"):
        add_adapter(make_model("llama"))
