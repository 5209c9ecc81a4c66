"""Models of real architectures with few random weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    BertTokenizerFast,
    PreTrainedModel,
)

from memgpt_rag.encoders.base import PAIRS
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.tokenizer import byte_tokenizer

VOCABULARY = 97
WINDOW = 8

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 8192,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_MIXED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 2}
_GROUPED = {"num_key_value_heads": 2}

ARCHITECTURES = {
    "llama": ("LlamaConfig", _GROUPED),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", _GROUPED | {"head_dim": 16}),
    "mistral": ("MistralConfig", _GROUPED | {"sliding_window": WINDOW}),
    "gemma2": ("Gemma2Config", _MIXED | {"num_key_value_heads": 1, "head_dim": 16, "attn_logit_softcapping": 2.0}),
    "gemma3": ("Gemma3TextConfig", _MIXED | {"num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16}),
    "phi": ("PhiConfig", {}),
    "phi3": ("Phi3Config", _GROUPED | {"sliding_window": WINDOW}),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "gpt2": ("GPT2Config", {"max_position_embeddings": 256}),  # it has weights for each
    "gpt_oss": (
        "GptOssConfig",
        _MIXED
        | _GROUPED
        | {
            "head_dim": 16,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
    ),
}
# Architectures whose attention is global in every layer, so that one mask serves all layers.
GLOBAL = ("llama", "qwen2", "qwen3", "phi", "gpt_neox", "gpt2")
# Architectures that mix sliding and global layers.
MIXED = ("gemma2", "gemma3", "gpt_oss")


def tiny_decoder(
    architecture: str, vocabulary: int = VOCABULARY, sizes: dict[str, Any] | None = None, **loading: Any
) -> PreTrainedModel:
    """A decoder whose random weights are large enough that attention is far from uniform."""
    name, own = ARCHITECTURES[architecture]
    config = getattr(transformers, name)(**_COMMON | own | {"vocab_size": vocabulary} | (sizes or {}))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        decoder = AutoModelForCausalLM.from_config(config, dtype=torch.float32, **loading).eval()
        for parameter in decoder.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    return decoder


def tiny_bert(folder: Path, kind: Any = AutoModel, labels: int = 1, seed: int = 0) -> Path:
    """A BERT of random weights over characters, saved as a user's folder is: an embedding model, or one with a head."""
    letters = sorted(
        {character for passages in PAIRS.values() for pair in passages for one in pair for character in one.lower()}
    )
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=labels,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind.from_config(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, 0, 0.3)
    model.save_pretrained(folder)
    return folder


def tiny_splade(folder: Path, seed: int = 0, **settings: Any) -> Path:
    """A SPLADE over characters: of random weights, but each token is its own most likely one."""
    from sentence_transformers import SparseEncoder

    bert = tiny_bert(folder.with_name(f"{folder.name}-bert"), AutoModelForMaskedLM, seed=seed)
    model = AutoModelForMaskedLM.from_pretrained(bert)
    with torch.no_grad():
        for parameter in model.bert.encoder.parameters():
            parameter *= 0.3
        model.cls.predictions.transform.dense.weight.copy_(torch.eye(model.config.hidden_size))
        model.cls.predictions.bias.fill_(-1.0)
    model.save_pretrained(bert)
    SparseEncoder(str(bert), device="cpu", **settings).save(str(folder))
    return folder


def random_ids(count: int, seed: int) -> list[int]:
    """Token ids that are neither padding nor marks."""
    return torch.randint(3, VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


@dataclass(frozen=True)
class TinyReader:
    """How to make a small language model that reads memory."""

    def __call__(self) -> MemoryDecoder:
        tokenizer = byte_tokenizer()
        return MemoryDecoder(tiny_decoder("qwen3", len(tokenizer)), tokenizer, config="quality")


def tiny_clip(folder: Path, seed: int = 1) -> Path:
    """A CLIP of random weights over characters, as a folder of sentence-transformers."""
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    letters = sorted(
        {character for passages in PAIRS.values() for pair in passages for one in pair for character in one.lower()}
        | set("aredsquare一个红色的正方形蓝绿黄")
    )
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={token: place for place, token in enumerate(tokens)}, merges=[], model_max_length=40
    )
    end = len(tokens) - 1
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {
        "vocab_size": len(tokens),
        "max_position_embeddings": 40,
        "bos_token_id": end - 1,
        "eos_token_id": end,
        "pad_token_id": end,
    }
    config = CLIPConfig(
        text_config=sizes | ids, vision_config=sizes | {"image_size": 32, "patch_size": 8}, projection_dim=16
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIPModel(config)
    side = {"height": 32, "width": 32}
    CLIPProcessor(CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=side), tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(folder), device="cpu").save(str(folder))
    return folder
