"""An adapter changes what reads and never what writes: states, the prefix and their fingerprints stay as pretrained."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from tiny import ARCHITECTURES, random_ids, tiny_decoder

from memgpt_rag.errors import MismatchError, MissingPackageError, ModelError
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.adapter import add_adapter, load_adapter, reading_modules, save_adapter
from memgpt_rag.model.stored import states_fingerprint
from memgpt_rag.tokenizer import byte_tokenizer

ENTRIES = [random_ids(7, 1), random_ids(4, 2)]
PREFIX = (1, 5, 9)
QUESTION = torch.tensor([random_ids(6, 3)])


def model_of(architecture: str) -> MemoryDecoder:
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
        return model(QUESTION, memory=model.attend([ENTRIES])).logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_untrained_adapter_changes_nothing_to_the_last_bit(architecture):
    model = model_of(architecture)
    before, written = read(model), model.generate(QUESTION, memory=model.attend([ENTRIES]), max_new_tokens=5)
    add_adapter(model)
    assert torch.equal(read(model), before)
    assert torch.equal(model.generate(QUESTION, memory=model.attend([ENTRIES]), max_new_tokens=5), written)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_with_a_trained_adapter_are_those_of_the_pretrained_decoder(architecture):
    plain, model = model_of(architecture), model_of(architecture)
    disturb(add_adapter(model))
    for mine, theirs in zip(model.states_of(ENTRIES), plain.states_of(ENTRIES), strict=True):
        for layer in plain.layers:
            assert torch.equal(mine.keys[layer], theirs.keys[layer])
            assert torch.equal(mine.values[layer].codes, theirs.values[layer].codes)
    assert states_fingerprint(model) == states_fingerprint(plain)
    mine, theirs = (one._prefix_cache(1) for one in (model, plain))
    for layer in range(4):
        assert torch.equal(mine.layers[layer].keys, theirs.layers[layer].keys)
        assert torch.equal(mine.layers[layer].values, theirs.layers[layer].values)
    assert not torch.allclose(read(model), read(plain), atol=1e-2), "the trained adapter reads otherwise"
    with model.as_pretrained():
        assert torch.equal(read(model), read(plain))
    assert not torch.allclose(read(model), read(plain), atol=1e-2), "and does so again behind the block"


def test_an_adapter_trains_no_weight_of_the_decoder_and_shares_all_of_them():
    model = model_of("gemma3")
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
    model, other = model_of(architecture), model_of(architecture)
    adapter = add_adapter(model)
    disturb(adapter)
    adapter.eval()
    save_adapter(model, adapter, tmp_path / "reader")
    load_adapter(other, tmp_path / "reader")
    assert torch.equal(read(other), read(model))
    assert not any(parameter.requires_grad for parameter in other.parameters())


def test_without_a_cache_an_adapter_cannot_read_after_the_prefix():
    model = model_of("llama")
    disturb(add_adapter(model))
    with pytest.raises(ValueError, match="leave use_cache on"):
        model.generate(QUESTION, memory=model.attend([ENTRIES]), use_cache=False, max_new_tokens=2)


def test_a_wrong_or_missing_reader_is_refused(tmp_path):
    model = model_of("llama")
    adapter = add_adapter(model)
    folder = tmp_path / "reader"
    with pytest.raises(
        ModelError, match="gone holds no reader: it has no reader.json; name a folder that memgpt-rag train wrote"
    ):
        load_adapter(model, tmp_path / "gone")
    save_adapter(model, adapter, folder)
    # Other weights of the same shape, and another shape: neither is taken.
    other = model_of("llama")
    with torch.no_grad():
        other.decoder.model.layers[0].mlp.up_proj.weight.neg_()
    with pytest.raises(
        MismatchError, match=r"reads the same text otherwise \(cosine .*\)\. Load the model that it was trained on"
    ):
        load_adapter(other, folder)
    with pytest.raises(MismatchError, match="reads the same text otherwise"):
        load_adapter(model_of("qwen3"), folder)
    weights = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(weights[:200])
    with pytest.raises(ModelError, match="is damaged .*; train it again"):
        load_adapter(model, folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"is damaged \(adapter_model.safetensors is missing\); train it again"):
        load_adapter(model, folder)
    (folder / "reader.json").write_text(json.dumps({"model": "x"}))
    with pytest.raises(ModelError, match=r"is damaged \(reader.json: 'probe'\)"):
        load_adapter(model, folder)


def test_weights_of_another_rank_are_refused(tmp_path):
    model = model_of("llama")
    save_adapter(model, add_adapter(model, rank=4), tmp_path / "four")
    save_adapter(model, add_adapter(model, rank=2), tmp_path / "two")
    (tmp_path / "two" / "adapter_model.safetensors").replace(tmp_path / "four" / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="is damaged .*size mismatch"):
        load_adapter(model, tmp_path / "four")


def test_without_peft_the_sentence_is_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackageError, match=r"run: pip install 'memgpt_rag\[train\]'"):
        add_adapter(model_of("llama"))
