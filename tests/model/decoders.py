"""Tiny decoders with random weights, one per architecture: small enough to run in milliseconds, real in every part."""

from __future__ import annotations

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 97
WINDOW = 8

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}

CONFIGS = {
    "llama": ("LlamaConfig", {"num_key_value_heads": 2}),
    "qwen2": ("Qwen2Config", {"num_key_value_heads": 2}),
    "qwen3": ("Qwen3Config", {"num_key_value_heads": 2, "head_dim": 16}),
    "mistral": ("MistralConfig", {"num_key_value_heads": 2, "sliding_window": WINDOW}),
    "gemma2": ("Gemma2Config", {"num_key_value_heads": 1, "head_dim": 16, "sliding_window": WINDOW, "attn_logit_softcapping": 2.0}),
    "gemma3": ("Gemma3TextConfig", {"num_key_value_heads": 1, "head_dim": 16, "sliding_window": WINDOW, "query_pre_attn_scalar": 16,
                                    "layer_types": ["sliding_attention", "full_attention"] * 2}),
    "phi": ("PhiConfig", {}),
    "phi3": ("Phi3Config", {"num_key_value_heads": 2, "sliding_window": WINDOW}),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "gpt2": ("GPT2Config", {}),
    "gpt_oss": ("GptOssConfig", {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": WINDOW, "num_local_experts": 2,
                                 "num_experts_per_tok": 1, "layer_types": ["sliding_attention", "full_attention"] * 2}),
}


def tiny_decoder(architecture: str, seed: int = 0) -> PreTrainedModel:
    """A decoder with weights large enough that attention is far from uniform."""
    name, own = CONFIGS[architecture]
    config = getattr(transformers, name)(**_COMMON | {"rope_theta": 10000.0} | own)
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    decoder = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    torch.random.set_rng_state(generator_state)
    return decoder
