"""A reader is one folder: what was trained comes back as it was, is the model's default where one ships, and is refused where it
does not fit.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import random_ids, tiny_decoder

from memgpt_rag.errors import MismatchError, ModelError
from memgpt_rag.fingerprint import StatesFingerprint
from memgpt_rag.hub.bundled import GENERATORS
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.adapter import add_adapter
from memgpt_rag.model.delimiters import Delimiters, new_delimiters
from memgpt_rag.model.presets import calibrated_file, calibrated_preset, general_preset, save_calibrated
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.reader import SHIPPED, load_reader, reader_folder, save_reader
from memgpt_rag.model.reader_files import reader_model
from memgpt_rag.model.stored import states_fingerprint, to_array
from memgpt_rag.model.tokenizer import byte_tokenizer

ENTRIES = [random_ids(7, 1), random_ids(4, 2)]
QUESTION = torch.tensor([random_ids(6, 3)])
TRAINED = {"compact": MemoryAttentionConfig(layers=(1, 3), score_bias=2.5)}


def make_model(architecture: str = "gemma3") -> MemoryDecoder:
    decoder = tiny_decoder(architecture, vocabulary=256)
    return MemoryDecoder(decoder, byte_tokenizer(), config="quality", prefix_ids=(1, 5, 9))


def random_delimiters(model: MemoryDecoder, seed: int = 0) -> Delimiters:
    return new_delimiters(model.embedded(torch.tensor([10]))[0], prefix=3, entry=2, noise=1.0, seed=seed)


def disturbed_adapter(model: MemoryDecoder):
    """An adapter as training leaves it: B is no longer 0."""
    adapter = add_adapter(model, rank=3, every_map=True)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3, generator=generator)
    return adapter.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with every part of a reader, and the logits of the model that it was saved from."""
    folder = tmp_path_factory.mktemp("reader")
    model = make_model()
    model.delimiters = random_delimiters(model)
    model.prompt = Prompt(model.tokenizer, worked_examples=False)
    save_reader(model, folder, adapter=disturbed_adapter(model), presets=TRAINED)
    return folder, read(model)


def read(model: MemoryDecoder) -> torch.Tensor:
    with torch.no_grad():
        return model(QUESTION, memory=model.make_memory([ENTRIES])).logits


def test_every_part_of_a_reader_comes_back(saved):
    folder, logits = saved
    plain, model = make_model(), make_model()
    reader = load_reader(model, folder)
    assert torch.allclose(read(model), logits, atol=1e-5)
    assert not torch.allclose(read(plain), logits, atol=1e-2)
    assert reader.presets == TRAINED
    assert not model.prompt.worked_examples and plain.prompt.worked_examples
    assert torch.equal(model.delimiters.entry, random_delimiters(plain).entry)
    assert model.prefix_tokens == 3 + 3 and model.entry_tokens(ENTRIES[0]) == 7 + 2
    assert model.entry_states(ENTRIES)[0].num_tokens == 7 + 2
    alone = model.without_reader()
    assert alone.prefix_ids == alone.prompt.prefix_ids and alone.reader is None and model.reader is reader
    alone.prefix_ids = plain.prefix_ids
    assert torch.equal(read(alone), read(plain))
    model.reader = None
    assert torch.equal(read(model), read(plain)), "without its reader the model is as it was pretrained"


def test_a_copy_is_the_same_reader(saved, tmp_path):
    """What is kept for a reader, by its digest, holds for a copy, and for one that is written over itself."""
    model = make_model()
    reader = load_reader(model, saved[0])
    save_reader(model, tmp_path, presets=reader.presets)
    for _ in range(2):
        copied = load_reader(model, tmp_path)
        assert (copied.digest, copied.presets, copied.declines) == (reader.digest, reader.presets, False)
        assert torch.allclose(read(model), saved[1], atol=1e-5)
        save_reader(model, tmp_path, presets=copied.presets)
    digests = {reader.digest}
    for change in (
        {"presets": {}},
        {"presets": {"compact": MemoryAttentionConfig(layers=(1, 3), score_bias=2.6)}},
        {"presets": TRAINED, "declines": True},
    ):
        save_reader(model, tmp_path / "changed", **change)
        digests.add(load_reader(make_model(), tmp_path / "changed").digest)
    model.delimiters = random_delimiters(model, seed=1)
    save_reader(model, tmp_path / "changed", presets=TRAINED)
    digests.add(load_reader(make_model(), tmp_path / "changed").digest)
    assert len(digests) == 5


def test_nothing_is_left_of_a_reader_that_another_is_written_over(saved, tmp_path):
    shutil.copytree(saved[0], tmp_path / "reader")
    plain = make_model()
    save_reader(plain, tmp_path / "reader", presets=TRAINED)
    assert [file.name for file in (tmp_path / "reader").iterdir() if file.suffix == ".safetensors"] == []
    model = make_model()
    reader = load_reader(model, tmp_path / "reader")
    assert (reader.adapter, reader.delimiters, reader.presets) == (None, None, TRAINED)
    assert torch.equal(read(model), read(plain))


def test_what_is_no_part_of_a_reader_stays_in_its_folder(saved, tmp_path):
    """An adapter of a user's own beside which presets are saved, and their notes."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(saved[0] / name, tmp_path / name)
    (tmp_path / "notes.txt").write_text("mine")
    save_reader(make_model(), tmp_path, presets=TRAINED)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "notes.txt",
        "reader.json",
    ]
    assert load_reader(make_model(), tmp_path).adapter is None


def test_a_reader_that_cannot_be_loaded_leaves_the_one_before(saved, tmp_path):
    model = make_model()
    reader = load_reader(model, saved[0])
    with pytest.raises(ModelError, match="holds no reader"):
        load_reader(model, tmp_path)
    assert model.reader is reader and torch.allclose(read(model), saved[1], atol=1e-5)


def test_a_reader_that_learned_to_decline_says_so_and_so_does_what_is_trained_from_it(saved, tmp_path):
    model = make_model()
    assert not load_reader(model, saved[0]).declines
    save_reader(model, tmp_path / "declining", declines=True)
    assert load_reader(model, tmp_path / "declining").declines
    save_reader(model, tmp_path / "further", adapter=disturbed_adapter(model))
    assert load_reader(make_model(), tmp_path / "further").declines
    rewrite(tmp_path / "further", declines=None)
    with pytest.raises(ModelError, match="declines is neither true nor false"):
        load_reader(make_model(), tmp_path / "further")
    for parts, learned in ((["adapter", "delimiters"], True), (["delimiters"], False)):
        rewrite(tmp_path / "declining", parts=parts)
        fields = json.loads((tmp_path / "declining" / "reader.json").read_text())
        fields.pop("declines", None)
        (tmp_path / "declining" / "reader.json").write_text(json.dumps(fields))
        assert load_reader(make_model(), tmp_path / "declining").declines is learned, "of an earlier release"


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, which peft asks by an old name
def test_peft_reads_the_adapter_of_a_reader_as_it_is_read_here(saved):
    from peft import PeftModel

    model = make_model()
    reader = load_reader(model, saved[0])
    assert reader.adapter is not None
    peft = PeftModel.from_pretrained(tiny_decoder("gemma3", vocabulary=256), str(saved[0])).eval()
    with torch.no_grad():
        mine, theirs = model.decoder(QUESTION).logits, peft(QUESTION).logits
        untrained = model.writer(QUESTION).logits
    torch.testing.assert_close(theirs, mine, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(mine, untrained, atol=1e-2)


def test_delimiters_alone_are_a_reader_that_leaves_the_decoder_as_it_is(tmp_path):
    model = make_model()
    model.delimiters = random_delimiters(model)
    save_reader(model, tmp_path)
    other = make_model()
    reader = load_reader(other, tmp_path)
    assert reader.adapter is None and other.decoder is other.writer
    assert torch.equal(read(other), read(model))


def test_states_know_the_delimiters_that_they_were_computed_with(saved):
    plain, model = make_model(), make_model()
    load_reader(model, saved[0])
    mine, theirs = states_fingerprint(model), states_fingerprint(plain)
    assert mine.delimiters == model.delimiters.digest() and theirs.delimiters == ""
    assert StatesFingerprint.from_json(json.loads(json.dumps(mine.to_json()))) == mine
    # As earlier releases wrote it, who knew no delimiters.
    assert "delimiters" not in theirs.to_json()
    assert StatesFingerprint.from_json(json.loads(json.dumps(theirs.to_json()))) == theirs
    mine.require_match(states_fingerprint(model))
    for stored, reading in ((mine, theirs), (theirs, mine)):
        with pytest.raises(MismatchError, match=r"another reader \(.*no delimiters.*again with: memgpt-index states"):
            stored.require_match(reading)
    other = make_model()
    other.delimiters = random_delimiters(other, seed=1)
    with pytest.raises(MismatchError, match=r"another reader \(the delimiters \w{16} against the delimiters \w{16}\)"):
        mine.require_match(states_fingerprint(other))


def test_an_entry_with_delimiters_is_stored_with_their_states(saved):
    model = make_model()
    load_reader(model, saved[0])
    (states,) = model.entry_states(ENTRIES[:1])
    assert to_array(states, model).shape[0] == model.entry_tokens(ENTRIES[0])


def test_calibrated_numbers_belong_to_one_reader(saved, tmp_path):
    model = make_model()
    reader = load_reader(model, saved[0])
    config = model.decoder.config
    assert calibrated_preset("compact", tmp_path, config, reader) == TRAINED["compact"]
    assert calibrated_preset("quality", tmp_path, config, reader) == general_preset("quality")
    assert calibrated_preset("compact", tmp_path, config) == general_preset("compact")
    mine = MemoryAttentionConfig(layers=(0,), score_bias=1.0)
    save_calibrated("compact", mine, tmp_path, reader)
    assert calibrated_preset("compact", tmp_path, config, reader) == mine
    assert calibrated_preset("compact", tmp_path, config) == general_preset("compact")
    another = replace(reader, digest="0" * 16)
    assert calibrated_preset("compact", tmp_path, config, another) == TRAINED["compact"]
    assert calibrated_file(tmp_path, reader) != calibrated_file(tmp_path, another)


def test_names_of_readers(tmp_path, monkeypatch):
    assert reader_folder("none", "gemma-3-270m-4bit") is None and reader_folder(None, "gemma-3-270m-4bit") is None
    assert reader_folder("auto", "gemma-3-270m-4bit") == SHIPPED / "gemma-3-270m-4bit"
    assert reader_folder("auto", tmp_path) is None and reader_folder("auto", "../readers/gemma-3-270m-4bit") is None
    assert reader_folder(str(tmp_path), "any") == tmp_path
    assert reader_folder("no-such-folder", "any").name == "no-such-folder"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelError, match="no reader 'no-one/at-home': no such folder, and the Hugging Face hub gives none .*'none'"
    ):
        reader_folder("no-one/at-home", "any")


@pytest.mark.parametrize("folder", sorted(SHIPPED.iterdir()), ids=lambda folder: folder.name)
def test_a_reader_that_ships_is_for_the_model_that_it_is_named_after_and_has_a_card(folder):
    assert folder.name in GENERATORS and reader_model(folder) == folder.name
    weights = load_file(folder / "adapter_model.safetensors")
    assert {one.dtype for one in weights.values()} == {torch.bfloat16}
    assert all(torch.isfinite(one.float()).all() for one in weights.values())
    assert any(one.abs().max() > 0 for name, one in weights.items() if "lora_B" in name)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: ") and "base_model: " in card.split("---")[1]
    for part in ("**How it was made**", "**What it reached**", "**Data**", "**Limits**", "provided under"):
        assert part in card


def rewrite(folder, **changes) -> None:
    file = folder / "reader.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def resave(folder, change) -> None:
    file = folder / "delimiters.safetensors"
    tensors = load_file(file)
    save_file(change(tensors), file)


SPOILT = {
    "presets of another name": (lambda f: rewrite(f, presets={"fast": {}}), "reader.json: presets are not an object with"),
    "presets that are none": (lambda f: rewrite(f, presets=[1]), "reader.json: presets are not an object with"),
    "examples neither true nor false": (lambda f: rewrite(f, worked_examples="no"), "worked_examples is neither"),
    "no object": (lambda f: (f / "reader.json").write_text("[]"), "reader.json: "),
    "vectors of another width": (
        lambda f: resave(f, lambda old: {**old, "entry": torch.zeros(2, 3)}), "entry has 2×3 numbers; expected 1 to 256",
    ),
    "too many vectors": (
        lambda f: resave(f, lambda old: {**old, "prefix": torch.zeros(257, old["entry"].shape[1])}), "prefix has 257×",
    ),
    "a vector missing": (lambda f: resave(f, lambda old: {"entry": old["entry"]}), "other tensors than prefix and entry"),
    "no number": (lambda f: resave(f, lambda old: {**old, "entry": old["entry"] * torch.nan}), "what is no number"),
    "half a file": (
        lambda f: (f / "delimiters.safetensors").write_bytes((f / "delimiters.safetensors").read_bytes()[:99]),
        "delimiters.safetensors: ",
    ),
    "weights missing": (lambda f: (f / "adapter_model.safetensors").unlink(), "adapter_model.safetensors is missing"),
}  # fmt: skip


@pytest.mark.parametrize("spoil, why", SPOILT.values(), ids=SPOILT)
def test_a_damaged_reader_is_refused_and_leaves_the_model_as_it_is(saved, spoil, why, tmp_path):
    for file in saved[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    spoil(tmp_path)
    plain, model = make_model(), make_model()
    with pytest.raises(ModelError, match=rf"is damaged \(.*{why}.*; train it again"):
        load_reader(model, tmp_path)
    assert model.reader is None and torch.equal(read(model), read(plain))


def test_a_reader_of_another_model_is_refused(saved):
    with pytest.raises(MismatchError, match=r"was trained for .* reads the same text otherwise \(cosine"):
        load_reader(make_model("qwen3"), saved[0])


def test_training_goes_on_from_a_reader(saved, tmp_path):
    """An adapter that starts from one reads as it does, and is saved with the same delimiters."""
    model = make_model()
    reader = load_reader(model, saved[0])
    merged = read(model)
    adapter = add_adapter(model, start=reader.adapter, dropout=0.0)
    assert torch.allclose(read(model), merged, atol=1e-5)
    save_reader(model, tmp_path, adapter=adapter, presets=reader.presets)
    again = make_model()
    copied = load_reader(again, tmp_path)
    assert torch.allclose(read(again), merged, atol=1e-5)
    assert (copied.presets, copied.worked_examples) == (reader.presets, reader.worked_examples)
