"""Tiny Qwen2.5-Omni and Qwen3-Omni: the thinker, which answers in words; vLLM leaves talker and vocoder alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.vllm_server.tiny_files import (
    chat_template,
    encoder_sizes,
    text_sizes,
    write_json,
    write_tokenizer,
    write_whisper_front_end,
)

OLD: Mapping[str, str] = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
NEW: Mapping[str, str] = {
    "image_token": "<|image_pad|>",
    "audio_token": "<|audio_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}


def _write_shared(
    folder: Path, names: Mapping[str, str], processor: str, pixels: Mapping[str, int]
) -> dict[str, int]:
    template = chat_template(names["audio_bos_token"] + names["audio_token"] + names["audio_eos_token"])
    ids = write_tokenizer(folder, list(names.values()), template, named=names)
    image = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": 3136,
        "max_pixels": 12_845_056,
        **pixels,
    }
    write_whisper_front_end(folder, processor, **image)
    write_json(
        folder, "video_preprocessor_config.json", {"video_processor_type": "Qwen2VLVideoProcessor", **pixels}
    )
    return ids


def write_qwen2_5_omni(folder: Path) -> None:
    """Write a Qwen2.5-Omni."""
    pixels = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    ids = _write_shared(folder, OLD, "Qwen2_5OmniProcessor", pixels)
    rope = {"rope_type": "default", "type": "default", "mrope_section": [8, 12, 12]}
    vision = {
        "depth": 1,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_heads": 2,
        "out_hidden_size": 128,
    }
    thinker = {
        "model_type": "qwen2_5_omni_thinker",
        "architectures": ["Qwen2_5OmniThinkerForConditionalGeneration"],
        "audio_config": {"model_type": "qwen2_5_omni_audio_encoder", **encoder_sizes(output_dim=128)},
        "vision_config": {
            "model_type": "qwen2_5_omni_vision_encoder",
            "fullatt_block_indexes": [0],
            **vision,
        },
        "text_config": text_sizes(
            ids, model_type="qwen2_5_omni_text", rope_scaling=rope, tie_word_embeddings=False
        ),
        "audio_token_index": ids[OLD["audio_token"]],
        "image_token_index": ids[OLD["image_token"]],
        "video_token_index": ids[OLD["video_token"]],
        "audio_start_token_id": ids[OLD["audio_bos_token"]],
        "audio_end_token_id": ids[OLD["audio_eos_token"]],
    }
    _write_config(folder, "qwen2_5_omni", "Qwen2_5OmniModel", thinker)


def write_qwen3_omni(folder: Path) -> None:
    """Write a Qwen3-Omni with a mixture of four experts."""
    pixels = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    ids = _write_shared(folder, NEW, "Qwen3OmniMoeProcessor", pixels)
    rope = {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [12, 10, 10]}
    experts = {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 128,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }
    vision = {
        "depth": 2,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_heads": 2,
        "out_hidden_size": 128,
        "deepstack_visual_indexes": [0],
        "image_size": 768,
        "apply_vit_abs_pos_embed": True,
    }
    text = text_sizes(
        ids,
        model_type="qwen3_omni_moe_text",
        head_dim=64,
        rope_scaling=rope,
        tie_word_embeddings=False,
        **experts,
    )
    audio = encoder_sizes(output_dim=128, downsample_hidden_size=32)
    thinker = {
        "model_type": "qwen3_omni_moe_thinker",
        "architectures": ["Qwen3OmniMoeThinkerForConditionalGeneration"],
        "audio_config": {"model_type": "qwen3_omni_moe_audio_encoder", **audio},
        "vision_config": {"model_type": "qwen3_omni_moe_vision_encoder", **vision},
        "text_config": text,
        "audio_token_id": ids[NEW["audio_token"]],
        "image_token_id": ids[NEW["image_token"]],
        "video_token_id": ids[NEW["video_token"]],
        "audio_start_token_id": ids[NEW["audio_bos_token"]],
        "audio_end_token_id": ids[NEW["audio_eos_token"]],
        "vision_start_token_id": ids[NEW["vision_bos_token"]],
        "vision_end_token_id": ids[NEW["vision_eos_token"]],
    }
    _write_config(folder, "qwen3_omni_moe", "Qwen3OmniMoeForConditionalGeneration", thinker)


def _write_config(folder: Path, kind: str, architecture: str, thinker: dict[str, Any]) -> None:
    config = {
        "model_type": kind,
        "architectures": [architecture],
        "thinker_config": thinker,
        "enable_audio_output": False,
        "dtype": "bfloat16",
    }
    write_json(folder, "config.json", config)
