"""Decoders that read pictures, of real architectures with few random weights, and their processors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForImageTextToText, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.picture_inputs import Pictures
from memgpt_rag.model.picture_reader import PictureReader
from memgpt_rag.model.tokenizer import byte_tokenizer

PREFIX = (5, 6, 7)
_TEXT = {
    "vocab_size": 270,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
}
_VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_ROTARY = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
# As that of Gemma, which takes text or parts, and as that of SmolVLM, which takes parts.
_PARTS = "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
_TEXT_OR_PARTS = "{% if message['content'] is string %}{{ message['content'] }}{% else %}" + _PARTS + "{% endif %}"
_MARKS = {"image_token_index": 258, "boi_token_index": 256, "eoi_token_index": 257}
_QWEN = {"image_token_id": 258, "video_token_id": 259, "vision_start_token_id": 256, "vision_end_token_id": 257}


class _WithoutVideos(Qwen2VLProcessor):
    """One whose processor of videos, which needs torchvision, is left out."""

    def check_argument_for_proper_class(self, *given: Any) -> None:
        pass


def _tokenizer(*control: str, template: str | None = None, **named: str) -> PreTrainedTokenizerFast:
    """One token per byte, and control tokens from 256 on; some by the names that a processor looks for."""
    tokens = byte_tokenizer()
    tokens.add_special_tokens({"additional_special_tokens": [*control, *named.values()]})
    found = PreTrainedTokenizerFast(tokenizer_object=tokens.backend_tokenizer, extra_special_tokens=named)
    if template is not None:
        found.chat_template = "{% for message in messages %}user: " + template + " model: {% endfor %}"
    return found


def _gemma3() -> tuple[Any, Any]:
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    seen = Gemma3ImageProcessorPil(size={"height": 28, "width": 28})
    text = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2, "query_pre_attn_scalar": 8}
    config = transformers.Gemma3Config(
        text_config=_TEXT | text,
        vision_config=_VISION | {"image_size": 28, "patch_size": 7},
        mm_tokens_per_image=4,
        **_MARKS,
    )
    tokenizer = _tokenizer(template=_TEXT_OR_PARTS.replace("IMAGE", "<start_of_image>"), **named)
    return config, Gemma3Processor(seen, tokenizer, chat_template=tokenizer.chat_template, image_seq_length=4)


def _qwen(kind: str, text: dict[str, Any], vision: dict[str, Any], patch: int = 14) -> tuple[Any, Any]:
    config = getattr(transformers, f"{kind}Config")(
        text_config=_TEXT | {"rope_parameters": _ROTARY | text},
        vision_config={"depth": 3, "num_heads": 2, "patch_size": patch} | vision,
        **_QWEN,
    )
    side = 2 * patch
    seen = Qwen2VLImageProcessorPil(min_pixels=4 * side**2, max_pixels=9 * side**2, patch_size=patch)
    control = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    return config, _WithoutVideos(image_processor=seen, tokenizer=_tokenizer(*control))


def _qwen2_vl() -> tuple[Any, Any]:
    return _qwen("Qwen2VL", {}, {"embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2})


def _qwen2_5_vl() -> tuple[Any, Any]:
    sizes = {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 32}
    return _qwen("Qwen2_5_VL", {}, sizes | {"fullatt_block_indexes": [1], "window_size": 56})


def _qwen3_vl() -> tuple[Any, Any]:
    sizes = {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 32, "num_position_embeddings": 64}
    return _qwen("Qwen3VL", {"mrope_interleaved": True}, sizes | {"deepstack_visual_indexes": [0, 1]}, 16)


def _idefics3() -> tuple[Any, Any]:
    seen = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    config = transformers.Idefics3Config(
        text_config=_TEXT | {"model_type": "llama"},
        vision_config=_VISION | {"image_size": 32, "patch_size": 8},
        image_token_id=256,
        scale_factor=2,
    )
    control = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    tokenizer = _tokenizer(*control, template=_PARTS.replace("IMAGE", "<image>"))
    return config, Idefics3Processor(seen, tokenizer, chat_template=tokenizer.chat_template, image_seq_len=4)


def _shown(count: int, *kinds: str) -> Pictures:
    """A picture's tokens between those of its beginning and its end."""
    types = torch.tensor([[0, *[1] * count, 0]])
    return Pictures((256, *[258] * count, 257), dict.fromkeys(kinds, types), {})


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def _llama4() -> tuple[Any, Pictures]:
    layers = {"layer_types": ["chunked_attention", "full_attention"] * 2, "no_rope_layers": [1, 0] * 2}
    config = transformers.Llama4Config(
        text_config=_TEXT | layers | {"intermediate_size_mlp": 64, "num_local_experts": 2, "attention_chunk_size": 16},
        vision_config=_VISION
        | {"intermediate_size": 64, "image_size": 28, "patch_size": 7, "pixel_shuffle_ratio": 0.5}
        | dict.fromkeys(["vision_output_dim", "projector_input_dim", "projector_output_dim"], 16),
        **_MARKS,
    )
    return config, replace(_shown(4), pixels={"pixel_values": _random(1, 3, 28, 28)})


def _gemma4() -> tuple[Any, Pictures]:
    layers = {"layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 8}
    sharing = {"num_kv_shared_layers": 2, "vocab_size_per_layer_input": 270, "hidden_size_per_layer_input": 8}
    config = transformers.Gemma4Config(
        text_config=_TEXT | layers | sharing | {"use_bidirectional_attention": "vision", "global_head_dim": 8},
        vision_config=_VISION
        | {
            "num_key_value_heads": 2,
            "head_dim": 8,
            "patch_size": 4,
            "pooling_kernel_size": 2,
            "position_embedding_size": 64,
        },
        audio_config=None,
        image_token_id=258,
        boi_token_id=256,
        eoi_token_id=257,
    )
    place = torch.cartesian_prod(torch.arange(4), torch.arange(4)).flip(-1)[None]
    seen = _shown(4, "mm_token_type_ids")
    return config, replace(seen, pixels={"pixel_values": _random(1, 16, 48).sigmoid(), "image_position_ids": place})


def _qwen3_5() -> tuple[Any, Pictures]:
    recurrent = {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    }
    rotary = {"rope_parameters": _ROTARY | {"mrope_interleaved": True, "partial_rotary_factor": 1.0}}
    vision = {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 32, "num_position_embeddings": 64}
    config = transformers.Qwen3_5Config(
        text_config=_TEXT | recurrent | rotary | {"layer_types": ["linear_attention", "full_attention"] * 2},
        vision_config=vision | {"depth": 2, "num_heads": 2, "patch_size": 16},
        **_QWEN,
    )
    grid = torch.tensor([[1, 4, 6]])
    seen = _shown(6, "mm_token_type_ids")
    return config, replace(seen, pixels={"pixel_values": _random(24, 1536), "image_grid_thw": grid})


def _glm4v() -> tuple[Any, Pictures]:
    vision = {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 32, "image_size": 56}
    config = transformers.Glm4vConfig(
        text_config=_TEXT | {"rope_parameters": _ROTARY | {"partial_rotary_factor": 1.0}},
        vision_config=vision | {"depth": 2, "num_heads": 2, "patch_size": 14},
        image_token_id=258,
        image_start_token_id=256,
        image_end_token_id=257,
        video_token_id=259,
    )
    grid = torch.tensor([[1, 4, 6]])
    seen = _shown(6, "mm_token_type_ids")
    return config, replace(seen, pixels={"pixel_values": _random(24, 1176), "image_grid_thw": grid})


def _smolvlm() -> tuple[Any, Pictures]:
    config = transformers.SmolVLMConfig(
        text_config=_TEXT | {"model_type": "llama"},
        vision_config=_VISION | {"image_size": 32, "patch_size": 8},
        image_token_id=258,
        scale_factor=2,
    )
    whole = torch.ones(1, 1, 32, 32, dtype=torch.long)
    return config, replace(_shown(4), pixels={"pixel_values": _random(1, 1, 3, 32, 32), "pixel_attention_mask": whole})


def _llava() -> tuple[Any, Pictures]:
    config = transformers.LlavaConfig(
        text_config=_TEXT | {"model_type": "llama"},
        vision_config=_VISION | {"model_type": "clip_vision_model", "image_size": 28, "patch_size": 7},
        image_token_index=258,
    )
    return config, replace(_shown(16), pixels={"pixel_values": _random(1, 3, 28, 28)})


def _mistral3() -> tuple[Any, Pictures]:
    config = transformers.Mistral3Config(
        text_config=_TEXT | {"model_type": "mistral"},
        vision_config=_VISION | {"model_type": "pixtral", "image_size": 28, "patch_size": 7, "head_dim": 8},
        image_token_index=258,
        spatial_merge_size=2,
    )
    size = torch.tensor([[28, 28]])
    return config, replace(_shown(4), pixels={"pixel_values": _random(1, 3, 28, 28), "image_sizes": size})


def _internvl() -> tuple[Any, Pictures]:
    config = transformers.InternVLConfig(
        text_config=_TEXT | {"model_type": "qwen2"},
        vision_config=_VISION | {"image_size": (28, 28), "patch_size": (7, 7)},
        image_token_id=258,
    )
    return config, replace(_shown(4), pixels={"pixel_values": _random(1, 3, 28, 28)})


# Kinds without their processors, each with what it takes for one picture.
GIVEN = {
    "llama4": _llama4,
    "gemma4": _gemma4,
    "qwen3_5": _qwen3_5,
    "glm4v": _glm4v,
    "smolvlm": _smolvlm,
    "llava": _llava,
    "mistral3": _mistral3,
    "internvl": _internvl,
}
KINDS = {
    "gemma3": _gemma3,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "idefics3": _idefics3,
}


def with_random_weights(config: Any) -> PreTrainedModel:
    """A decoder whose random weights are large enough that attention is far from uniform."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        decoder = AutoModelForImageTextToText.from_config(config, dtype=torch.float32, trust_remote_code=False).eval()
        for parameter in decoder.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    decoder.generation_config.eos_token_id = None
    return decoder


def picture_decoder(kind: str) -> tuple[PreTrainedModel, Any]:
    """A decoder and its processor."""
    config, processor = KINDS[kind]()
    return with_random_weights(config), processor


def picture_model(kind: str) -> MemoryDecoder:
    """The same with a memory in its attention."""
    decoder, processor = picture_decoder(kind)
    model = MemoryDecoder(decoder, processor.tokenizer, config=MemoryAttentionConfig(), prefix_ids=PREFIX)
    model.picture_reader = PictureReader(model, processor)
    return model


def saved_picture_decoder(folder: Path, kind: str = "gemma3") -> Path:
    """A folder as a checkpoint of such a decoder is."""
    decoder, processor = picture_decoder(kind)
    decoder.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
