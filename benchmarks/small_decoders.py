"""A configuration with few weights for every causal language model of transformers.

Sizes go by the names that configurations use; what a type needs apart from that stands in OWN.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

TYPES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
HEADS, WIDTH, LAYERS = 4, 32, 4
MOST_WEIGHTS = 20_000_000

_SIZES: dict[str, Any] = {
    **dict.fromkeys(["hidden_size", "n_embd", "d_model", "embed_dim"], WIDTH),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"], LAYERS),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"], HEADS),
    **dict.fromkeys(["intermediate_size", "n_inner", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim"], 2 * WIDTH),
    **dict.fromkeys(["max_position_embeddings", "n_positions"], 512),
    "num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    # Mixtures of experts.
    **dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts"], 4),
    **dict.fromkeys(["moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"], WIDTH),
    **dict.fromkeys(["n_group", "topk_group", "n_shared_experts", "first_k_dense_replace"], 1),
    "num_experts_per_tok": 2,
    # Latent attention.
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12,
    # Recurrent layers.
    "mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_n_heads": 8, "mamba_d_head": 8,
    "mamba_n_groups": 1, "mamba_chunk_size": 16, "mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip

_LATENT = {"num_key_value_heads": HEADS}
_CAUSAL = {"is_decoder": True}
_MIXED = ["linear_attention", "full_attention"] * 2
_SHARING = {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 8,
            "vocab_size_per_layer_input": 97, "hidden_size_per_layer_input": 8}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ["axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "minicpm3", "youtu",
         "longcat_flash"],
        _LATENT,
    ),
    **dict.fromkeys(
        ["bert", "bert-generation", "camembert", "data2vec-text", "electra", "ernie", "roberta", "roberta-prelayernorm",
         "roc_bert", "xlm-roberta", "xlm-roberta-xl", "big_bird", "megatron-bert", "rembert", "roformer"],
        _CAUSAL,
    ),
    "bailing_hybrid": _LATENT | {"layer_types": _MIXED, "n_group": 1, "topk_group": 1},
    "bamba": {"attn_layer_indices": [1, 3]},
    "codegen": {"rotary_dim": 8},
    "cohere_compass_text": {"layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 16},
    "dots3_note_text": _LATENT | {"layer_types": ["full_attention"] * 4},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3n_text": _SHARING | {"laurel_rank": 4, "activation_sparsity_pattern": [0.0] * 4},
    "gemma4_text": _SHARING,
    "gemma4_unified_text": _SHARING,
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 16},
    "gptj": {"rotary_dim": 8},
    "granitemoehybrid": {"layer_types": _MIXED},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": _LATENT | {"layer_types": _MIXED, "linear_head_dim": 8, "linear_num_heads": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "llama4_text": {"attention_chunk_size": 64, "layer_types": ["chunked_attention", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 16},
    "qwen3_5_text": {"layer_types": _MIXED},
    "reformer": _CAUSAL | {"axial_pos_embds_dim": (8, 24), "axial_pos_shape": (16, 32), "attn_layers": ["local"] * 4},
    "xlstm": {"num_heads": 4},
    "xmod": _CAUSAL | {"default_language": "en_XX"},
    "zamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_key_value_heads": HEADS, "mamba_dt_rank": 4},
    "zamba2": {"layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "num_mem_blocks": 1, "n_mamba_heads": 8,
               "mamba_headdim": 8, "mamba_ngroups": 1, "chunk_size": 16},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 8},
}  # fmt: skip


def small_config(model_type: str, **sizes: Any) -> PreTrainedConfig:
    """Return a configuration of a type whose model has few weights."""
    kind = CONFIG_MAPPING[model_type]
    names = set(inspect.signature(kind.__init__).parameters)
    for parent in kind.__mro__:
        names |= set(getattr(parent, "__annotations__", {}))
    given = {name: size for name, size in (_SIZES | {"vocab_size": 97} | sizes).items() if name in names}
    for name, sub in (getattr(kind, "sub_configs", None) or {}).items():
        if (sub_type := getattr(sub, "model_type", "")) in CONFIG_MAPPING:
            given[name] = small_config(sub_type, **sizes).to_dict()
    own = OWN.get(model_type, {})
    if "vocab_size_per_layer_input" in own:
        own = own | {"vocab_size_per_layer_input": given["vocab_size"]}
    return kind(**given | own)


def small_decoder(model_type: str, **sizes: Any) -> PreTrainedModel:
    """Return a model of random weights, large enough that attention is far from uniform.

    Raises:
        ValueError: it would have many weights.
    """
    config = small_config(model_type, **sizes)
    with torch.device("meta"):
        weights = sum(
            one.numel() for one in AutoModelForCausalLM.from_config(config, trust_remote_code=False).parameters()
        )
    if weights > MOST_WEIGHTS:
        raise ValueError(f"{model_type} would have {weights:,} weights")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        decoder: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=False
        ).eval()
        for parameter in decoder.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    return decoder
