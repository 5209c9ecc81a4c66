"""multilingual-e5-small (Wang et al. 2024, "Multilingual E5 Text Embeddings") as a folder that sentence-transformers loads.

The tokenizer is that of XLM-RoBERTa (Conneau et al. 2020): NFKC, but for a few characters, and the most probable pieces of each
word. Weights are written in fp32, twice the size of fp16, because such a file is mapped and not read: the model then
takes 370 MB of memory less than in fp16, and loads faster.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memgpt_rag.hub.e5_weights import E5Weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TOKENS = 512
PROMPTS = {"query": "query: ", "document": "passage: "}
# NFKC would map it to "~"; the model was trained without that. A noncharacter stands for it during NFKC.
_KEPT, _MEANWHILE = "\uff5e", "\ufdd0"
_SPACE_MARK = "\u2581"
_NETWORK = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_act": "gelu",
    "attention_probs_dropout_prob": 0.1,
    "hidden_dropout_prob": 0.1,
    "dtype": "float32",
}
_MARKS = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
}


def write_e5_folder(weights: E5Weights, folder: Path) -> None:
    """Write the model into an empty folder."""
    from safetensors.numpy import save_file

    width, modules = weights.sizes["hidden_size"], "sentence_transformers.models"
    # transformers' class has a pooler, which is not used; without its weights, the folder would look damaged.
    pooler = {
        "pooler.dense.weight": np.zeros((width, width), np.float32),
        "pooler.dense.bias": np.zeros(width, np.float32),
    }
    save_file({**weights.tensors, **pooler}, folder / "model.safetensors", metadata={"format": "pt"})
    make_tokenizer(weights).save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    described: dict[str, Any] = {
        "config.json": {**_NETWORK, **weights.sizes, "pad_token_id": weights.special["<pad>"]},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": MAX_TOKENS,
            **_MARKS,
        },
        "sentence_bert_config.json": {"max_seq_length": MAX_TOKENS, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True},
        "config_sentence_transformers.json": {"prompts": PROMPTS, "similarity_fn_name": "cosine"},
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": f"{modules}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{modules}.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{modules}.Normalize"},
        ],
    }
    for name, fields in described.items():
        (folder / name).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def make_tokenizer(weights: E5Weights) -> Tokenizer:
    """Build the tokenizer from the vocabulary and the character map of the weights file."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    def character_class(characters: list[str]) -> Regex:
        return Regex("[" + "".join(f"\\x{{{ord(character):X}}}" for character in characters) + "]")

    rewritten = weights.rewritten.items()
    nothing = ["\0", *(character for character, by in rewritten if not by)]
    spaces = [character for character, by in rewritten if by == " "]
    tokenizer = Tokenizer(models.Unigram(weights.pieces, unk_id=weights.special["<unk>"], byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(character_class(nothing), ""),
            normalizers.Replace(character_class(spaces), " "),
            normalizers.Replace(_KEPT, _MEANWHILE),
            normalizers.NFKC(),
            normalizers.Replace(_MEANWHILE, _KEPT),
        ]
    )
    marked: dict[str, Any] = {"replacement": _SPACE_MARK, "prepend_scheme": "always"}
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(**marked)]
    )
    tokenizer.decoder = decoders.Metaspace(**marked)
    ends = [(mark, weights.special[mark]) for mark in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends
    )
    tokenizer.add_special_tokens(list(weights.special))
    return tokenizer
